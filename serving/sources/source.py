"""The one contract of candidate sources: propose items for customers, and say what is thought of given items.

Every source is a frozen set of arrays. It may propose by whatever is quick (an index, a short list); `scores` is the
exact figure that decides, worked out row by row, so that a customer alone and among others gets the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from serving.sources.best_first import NOTHING, best_keys, largest, of_keys
from serving.sources.histories import Histories

__all__ = [
    "Arrays",
    "Bools",
    "CandidateSource",
    "Excluded",
    "Explaining",
    "Ints",
    "Proposals",
    "Scores",
    "best_of",
    "open_to",
    "picked",
]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Proposals:
    """The items that a source proposes to n customers, best first, ties by place; no item twice in a row.

    Attributes:
        places: int64 (n, limit), catalogue positions, -1 behind the last.
        scores: float32 (n, limit), NaN behind the last.
        best: int64 (n,), the place of the best item of the whole catalogue, before anything was left out; -1 where the
            source has nothing to say. Its score sets the scale of the source, so that a filter takes items out and
            moves no other.
    """

    places: Ints
    scores: Scores
    best: Ints

    @classmethod
    def together(cls, parts: Sequence[Proposals], limit: int) -> Proposals:
        """The proposals of several groups of customers, one after the other."""
        return cls(
            np.concatenate([np.empty((0, limit), np.int64), *(part.places for part in parts)]),
            np.concatenate([np.empty((0, limit), np.float32), *(part.scores for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.best for part in parts)]),
        )


@dataclass(frozen=True)
class Excluded:
    """Items that are not to be proposed to each customer, such as what they own.

    Attributes:
        offsets: int64 (n + 1,); those of customer i are `items[offsets[i]:offsets[i + 1]]`.
        items: int64 (m,), catalogue positions.
    """

    offsets: Ints
    items: Ints

    def of(self, row: int) -> Ints:
        """The positions excluded for one customer."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    @property
    def rows(self) -> Ints:
        """int64 (m,): the customer of each item."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def part(self, start: int, stop: int) -> Excluded:
        """Those of the customers `start:stop`, counted from 0 again."""
        offsets = self.offsets[start : stop + 1]
        return Excluded(offsets - offsets[0], self.items[offsets[0] : offsets[-1]])


class CandidateSource(Protocol):
    """Whatever can propose items.

    `kind` names the class in files; `name` is the word for the source in answers, recipes and reports.
    """

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """The word for the source in answers, recipes and reports."""

    @property
    def n_items(self) -> int:
        """Length of the catalogue that `places` are positions of."""

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The best `limit` items for each customer, of the mask `allowed`, bool (n_items,), and none excluded."""

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """float32 (n, m) for places int64 (n, m); NaN at place -1 and where the source has nothing to say."""

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """Settings that JSON can hold, and arrays without objects: all that `from_parts` needs."""

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The source of `to_parts`.

        Raises:
            ArtefactError: something is missing, or an array has another shape or type, or is not finite.
        """


@runtime_checkable
class Explaining(Protocol):
    """A source that can tell which item of the history speaks most for what it proposes."""

    def leading(self, histories: Histories, row: int, places: Ints) -> Ints:
        """int64 (m,): for places int64 (m,) shown to the customer of a row, an item of the history; -1 for none."""


def open_to(places: Ints, row: int, allowed: Bools | None, excluded: Excluded | None) -> Bools:
    """Which of some items, int64 (m,), may be proposed to the customer of a row: bool (m,)."""
    kept = np.ones(len(places), np.bool_) if allowed is None else allowed[places]
    struck = () if excluded is None else excluded.of(row)
    if len(struck):
        kept &= ~np.isin(places, struck)
    return kept


def best_of(
    dense: npt.NDArray[np.floating], limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
) -> Proposals:
    """The best `limit` of scores (n, n_items) for the whole catalogue; NaN is not proposed.

    >>> found = best_of(np.array([[1.0, 3.0, np.nan, 3.0]]), 3)
    >>> found.places.tolist(), found.scores.tolist()
    ([[1, 3, 0]], [[3.0, 3.0, 1.0]])
    """
    n, everything = len(dense), np.arange(dense.shape[1])
    keys, best = np.full((n, limit), NOTHING), np.empty(n, np.int64)
    barred = None if allowed is None else ~allowed
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        values = dense[rows].astype(np.float32)
        best[rows] = largest(values)
        if barred is not None:
            values[:, barred] = np.nan
        if excluded is not None:
            struck = excluded.part(start, start + len(values))
            values[struck.rows, struck.items] = np.nan
        keys[rows] = best_keys(values, everything, keys[rows])
    return Proposals(*of_keys(keys), best)


def picked(dense: npt.NDArray[np.floating], places: Ints) -> Scores:
    """float32 (n, m): the scores (n, n_items) of given places; NaN at place -1."""
    if not dense.shape[1]:
        return np.full(places.shape, np.nan, np.float32)
    found = np.take_along_axis(dense, np.maximum(places, 0), axis=1).astype(np.float32)
    return np.where(places >= 0, found, np.float32(np.nan))
