"""Items like those of the customer's history by what is said about them: also items that nobody has bought yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.parts import Shape, arrays_of
from serving.sources.source import Arrays, Ints
from serving.sources.sparse_rows import Reached, ReachingSource, summed_cells

__all__ = ["ContentSource"]

Floats = npt.NDArray[np.float64]

_SHAPES = {
    "offsets": Shape(np.int64, 1, least=0),
    "terms": Shape(np.int32, 1, least=0),
    "weights": Shape(np.float32, 1, above=0, most=1.0001),
}


@dataclass(frozen=True, eq=False)
class ContentSource(ReachingSource):
    """The score of item j is the sum over the customer's history of `weight of i * cosine of the vectors of i and j`.

    It has nothing to say of an item that shares no word with the history. The words themselves are not kept.

    Attributes:
        offsets: int64 (n_items + 1,); the vector of item i is `offsets[i]:offsets[i + 1]` of terms and weights.
        terms: int32, ascending within an item.
        weights: float32, in (0, 1]; a vector is of length 1.
        name: the word for the source.

    Source: Salton and Buckley (1988), Term-weighting approaches in automatic text retrieval, table 1 (tfc).
    """

    kind: ClassVar[str] = "content"

    offsets: Ints
    terms: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    name: str = "content"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.offsets) - 1

    @cached_property
    def _by_term(self) -> tuple[Ints, Ints, Floats]:
        """Offsets of each term, the items that have it, ascending, and its weights there."""
        whose = np.repeat(np.arange(self.n_items), np.diff(self.offsets))
        order = np.argsort(self.terms, kind="stable")
        n_terms = int(self.terms.max()) + 1 if len(self.terms) else 0
        starts = np.searchsorted(self.terms[order], np.arange(n_terms + 1))
        return starts, whose[order], self.weights[order].astype(np.float64)

    def _profile(self, items: Ints, weights: Floats) -> tuple[Ints, Floats]:
        """Terms int64 (t,), ascending, and how much the history is about each."""
        starts, sizes = self.offsets[items], self.offsets[items + 1] - self.offsets[items]
        cells = _cells(starts, sizes)
        terms, which = np.unique(self.terms[cells], return_inverse=True)
        added = self.weights[cells] * np.repeat(weights, sizes)
        return terms.astype(np.int64), np.asarray(np.bincount(which, added, minlength=len(terms)), np.float64)

    def reached(self, histories: Histories) -> Reached:
        """The items that share words with the history."""
        return Reached.of_rows(self.n_items, [self._alike(histories, row) for row in range(histories.n_customers)])

    def _alike(self, histories: Histories, row: int) -> tuple[Ints, Floats]:
        own = slice(histories.offsets[row], histories.offsets[row + 1])
        terms, about = self._profile(histories.items[own], histories.weights[own])
        starts, holders, weights = self._by_term
        sizes = starts[terms + 1] - starts[terms]
        cells = _cells(starts[terms], sizes)
        return summed_cells(holders[cells], weights[cells] * np.repeat(about, sizes), self.n_items)

    def leading(self, histories: Histories, row: int, places: Ints) -> Ints:
        """See `Explaining`: the item of the history that is most like each place, by its weight."""
        own = slice(histories.offsets[row], histories.offsets[row + 1])
        items, weights = histories.items[own], histories.weights[own]
        if not len(items):
            return np.full(len(places), -1, np.int64)
        alike = self._cosines(places, items) * weights
        best = np.argmax(alike, axis=1)
        return np.where(alike[np.arange(len(places)), best] > 0, items[best], -1)

    def _cosines(self, places: Ints, items: Ints) -> Floats:
        """float64 (p, h): of the vectors of places (p,) and items (h,), from the terms that they share."""
        here, own = self._described(places)
        there, owners = self._described(items)
        order = np.argsort(self.terms[there], kind="stable")
        ascending = self.terms[there][order]
        first = np.searchsorted(ascending, self.terms[here], side="left")
        sizes = np.searchsorted(ascending, self.terms[here], side="right") - first
        met = order[_cells(first, sizes)]
        products = np.repeat(self.weights[here].astype(np.float64), sizes) * self.weights[there][met]
        pairs = np.repeat(own, sizes) * len(items) + owners[met]
        found = np.bincount(pairs, products, minlength=len(places) * len(items))
        return np.asarray(found, np.float64).reshape(len(places), len(items))

    def _described(self, items: Ints) -> tuple[Ints, Ints]:
        """The places of the terms of some items, one item after the other, and the number of the item of each."""
        sizes = self.offsets[items + 1] - self.offsets[items]
        return _cells(self.offsets[items], sizes), np.repeat(np.arange(len(items)), sizes)

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        return {"name": self.name}, {name: getattr(self, name) for name in _SHAPES}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        offsets, terms, weights = arrays_of(arrays, _SHAPES)
        held = len(offsets) > 0 and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
        if not held or not offsets[-1] == len(terms) == len(weights):
            raise ArtefactError("the offsets do not go with terms and weights; fit and release anew")
        name = settings.get("name")
        if not isinstance(name, str) or set(settings) != {"name"}:
            raise ArtefactError("the settings must be a name; fit and release anew")
        return cls(offsets, terms, weights, name)


def _cells(starts: Ints, sizes: Ints) -> Ints:
    """The places of several runs, one after the other."""
    own = np.concatenate(([0], np.cumsum(sizes)))
    return np.repeat(starts - own[:-1], sizes) + np.arange(int(own[-1]))
