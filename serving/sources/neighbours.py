"""Items that go with items: for each item a short list of others with weights, summed over the customer's history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.parts import Shape, arrays_of
from serving.sources.source import Arrays, Ints
from serving.sources.sparse_rows import Reached, ReachingSource, summed_cells

__all__ = ["ItemNeighbours", "NeighbourSource"]

Floats = npt.NDArray[np.float64]

_ENTRIES_AT_ONCE = 1 << 16  # their sums stay in the cache
_SHAPES = {
    "offsets": Shape(np.int64, 1, least=0),
    "items": Shape(np.int32, 1, least=0),
    "weights": Shape(np.float32, 1),
}


@dataclass(frozen=True, eq=False)
class ItemNeighbours:
    """A sparse matrix item by item.

    Attributes:
        offsets: int64 (n_items + 1,); the neighbours of item i are `items[offsets[i]:offsets[i + 1]]`.
        items: int32 (m,), catalogue positions, ascending and distinct within an item.
        weights: float32 (m,), finite; what a history of item i of weight 1 adds to the score of the neighbour.
    """

    offsets: Ints
    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of_matrix(cls, matrix: csr_matrix) -> ItemNeighbours:
        """The entries of a square matrix; row i holds the neighbours of item i."""
        found = csr_matrix(matrix, dtype=np.float32, copy=True)
        found.sum_duplicates()
        found.eliminate_zeros()
        return cls(found.indptr.astype(np.int64), found.indices.astype(np.int32), found.data)

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.offsets) - 1

    def summed(self, items: Ints, weights: Floats) -> tuple[Ints, Floats]:
        """Each item j that some of the given ones lead to, and `sum over i of w_i S[i, j]`.

        Args:
            items: int64 (h,), catalogue positions.
            weights: float64 (h,).

        Returns:
            Catalogue positions int64 (r,), ascending, and sums float64 (r,), each added up in the order of `items`.
        """
        cells, sizes = self._cells(items)
        added = self.weights[cells] * np.repeat(weights, sizes)
        return summed_cells(self.items[cells], np.asarray(added, np.float64), self.n_items)

    def reached(self, offsets: Ints, items: Ints, weights: Floats) -> Reached:
        """`summed` for n customers at once: to the one of row i belong `offsets[i]:offsets[i + 1]` of both."""
        n = len(offsets) - 1
        entries = np.concatenate(([0], np.cumsum(self.offsets[items + 1] - self.offsets[items])))[offsets]
        parts, start = [(np.empty(0, np.int64), np.empty(0))], 0
        while start < n:  # as many customers as memory should hold, at least one
            stop = max(int(np.searchsorted(entries, entries[start] + _ENTRIES_AT_ONCE, side="right")) - 1, start + 1)
            own = slice(offsets[start], offsets[stop])
            found, sizes = self._cells(items[own])
            rows = np.repeat(np.arange(start, stop), np.diff(entries[start : stop + 1]))
            added = np.asarray(self.weights[found] * np.repeat(weights[own], sizes), np.float64)
            parts.append(summed_cells(rows * self.n_items + self.items[found], added, n * self.n_items))
            start = stop
        cells, sums = (np.concatenate(one) for one in zip(*parts, strict=True))
        return Reached.of_cells(self.n_items, n, cells, sums)

    def leading(self, items: Ints, weights: Floats, places: Ints) -> Ints:
        """int64 (m,): which of the given items of these weights adds most to the sum at each place; -1 for none."""
        if not len(items) or not len(places):
            return np.full(len(places), -1, np.int64)
        cells, sizes = self._cells(items)
        order = np.argsort(places)
        ascending = places[order]
        at = np.minimum(np.searchsorted(ascending, self.items[cells]), len(places) - 1)
        met = np.flatnonzero(ascending[at] == self.items[cells])
        added = np.zeros((len(places), len(items)))  # of each place, by each item
        numbers = np.repeat(np.arange(len(items)), sizes)[met]
        added[order[at[met]], numbers] = weights[numbers] * self.weights[cells[met]]
        best = np.argmax(added, axis=1)
        return np.where(added[np.arange(len(places)), best] > 0, items[best], -1)

    def _cells(self, items: Ints) -> tuple[Ints, Ints]:
        """The entries of some items, one item after the other, and how many each has."""
        starts = self.offsets[items]
        sizes = self.offsets[items + 1] - starts
        ends = np.cumsum(sizes)
        return np.repeat(starts - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0), sizes

    def to_arrays(self) -> Arrays:
        """By the names of the attributes."""
        return {"offsets": self.offsets, "items": self.items, "weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ItemNeighbours:
        """The neighbours of `to_arrays`.

        Raises:
            ArtefactError: an array is missing, or they do not go together.
        """
        offsets, items, weights = arrays_of(arrays, _SHAPES)
        held = len(offsets) > 0 and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
        if not held or not offsets[-1] == len(items) == len(weights):
            raise ArtefactError("the offsets do not go with items and weights; fit and release anew")
        if len(items):
            inner = np.ones(len(items), np.bool_)
            inner[offsets[:-1][offsets[:-1] < len(items)]] = False
            if items.max() >= len(offsets) - 1 or (np.diff(items) <= 0)[inner[1:]].any():
                raise ArtefactError("items must be catalogue positions, ascending within an item; fit and release anew")
        return cls(offsets, items, weights)


@dataclass(frozen=True, eq=False)
class NeighbourSource(ReachingSource):
    """The score of item j is the sum over the customer's history of weight times S[i, j].

    It has nothing to say of an item that no item of the history leads to. An item turned down counts against its
    neighbours.

    Attributes:
        neighbours: S.
        name: the word for the rule that S was fitted by.
    """

    kind: ClassVar[str] = "neighbours"

    neighbours: ItemNeighbours
    name: str

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return self.neighbours.n_items

    def reached(self, histories: Histories) -> Reached:
        """The neighbours of the history and their sums."""
        return self.neighbours.reached(histories.offsets, histories.items, histories.weights)

    def leading(self, histories: Histories, row: int, places: Ints) -> Ints:
        """See `Explaining`: the item of the history that adds most."""
        cells = slice(histories.offsets[row], histories.offsets[row + 1])
        items, weights = histories.items[cells], histories.weights[cells]
        return self.neighbours.leading(items, weights, places)

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        return {"name": self.name}, self.neighbours.to_arrays()

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        name = settings.get("name")
        if not isinstance(name, str) or set(settings) != {"name"}:
            raise ArtefactError("the settings must be a name; fit and release anew")
        return cls(ItemNeighbours.from_arrays(arrays), name)
