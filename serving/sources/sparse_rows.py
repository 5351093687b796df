"""Sources that reach a few items a customer: proposals and scores from those items and their sums alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.sorting import run_starts, stable_order
from serving.sources.best_first import best_ragged, of_keys
from serving.sources.histories import Histories
from serving.sources.source import Bools, Excluded, Ints, Proposals, Scores

__all__ = ["Reached", "ReachingSource", "summed_cells"]

Floats = npt.NDArray[np.float64]

_DENSE_ITEMS = 200_000
_SPARSE = 8
"""Where fewer entries than one item in so many are met, sorting them costs less than an array of all items."""
_CUSTOMERS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Reached:
    """The items that each of n customers is led to.

    Attributes:
        n_items: length of the catalogue.
        offsets: int64 (n + 1,); those of customer i are `items[offsets[i]:offsets[i + 1]]`.
        items: int64 (r,), catalogue positions, ascending and distinct within a customer.
        sums: float64 (r,), what speaks for each.
    """

    n_items: int
    offsets: Ints
    items: Ints
    sums: Floats

    @classmethod
    def of_rows(cls, n_items: int, rows: Sequence[tuple[Ints, Floats]]) -> Reached:
        """From the items and sums of each customer."""
        offsets = np.concatenate(([0], np.cumsum([len(items) for items, _ in rows], dtype=np.int64)))
        items = np.concatenate([np.empty(0, np.int64), *(items for items, _ in rows)])
        return cls(n_items, offsets, items, np.concatenate([np.empty(0), *(sums for _, sums in rows)]))

    @classmethod
    def of_cells(cls, n_items: int, n: int, cells: Ints, sums: Floats) -> Reached:
        """From `customer * n_items + item`, int64 (r,), ascending and distinct, and sums."""
        offsets = np.searchsorted(cells, np.arange(n + 1) * n_items)
        return cls(n_items, offsets, cells - np.repeat(np.arange(n) * n_items, np.diff(offsets)), sums)

    @cached_property
    def _cells(self) -> Ints:
        return np.repeat(np.arange(len(self.offsets) - 1) * self.n_items, np.diff(self.offsets)) + self.items

    def propose(self, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None) -> Proposals:
        """The best `limit` items of each customer, best first, ties by place; see `CandidateSource.propose`."""
        scores, items, offsets = self.sums.astype(np.float32), self.items, self.offsets
        best = of_keys(best_ragged(scores, items, offsets, 1))[0][:, 0]
        kept = None if allowed is None else allowed[self.items]
        if excluded is not None and len(excluded.items):
            kept = np.ones(len(items), np.bool_) if kept is None else kept
            at = self._places(excluded.rows * self.n_items + excluded.items)
            kept[at[at >= 0]] = False
        if kept is not None:
            scores, items, offsets = scores[kept], items[kept], np.concatenate(([0], np.cumsum(kept)))[offsets]
        return Proposals(*of_keys(best_ragged(scores, items, offsets, limit)), best)

    def scores(self, places: Ints) -> Scores:
        """float32 (n, m): the sums of given places int64 (n, m); NaN at place -1 and where nothing is reached."""
        wanted = np.arange(len(places))[:, None] * self.n_items + places
        at = np.where(places >= 0, self._places(wanted), -1)
        return np.append(self.sums.astype(np.float32), np.float32(np.nan))[at]

    def _places(self, wanted: Ints) -> Ints:
        """Where each of some cells is; -1 where it is not reached."""
        if not len(self._cells):
            return np.full(wanted.shape, -1, np.int64)
        at = np.minimum(np.searchsorted(self._cells, wanted), len(self._cells) - 1)
        return np.where(self._cells[at] == wanted, at, -1)


class ReachingSource(ABC):
    """A candidate source that follows what the customer did to a few items; work goes with their number."""

    @abstractmethod
    def reached(self, histories: Histories) -> Reached:
        """The items that each customer is led to."""

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The best of what each customer is led to; see `CandidateSource`."""
        parts = [
            found.propose(limit, allowed, None if excluded is None else excluded.part(start, stop))
            for start, stop, found in self._parts(histories)
        ]
        return Proposals.together(parts, limit)

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """The sums of given items; NaN at place -1 and for an item that nothing leads to."""
        parts = [found.scores(places[start:stop]) for start, stop, found in self._parts(histories)]
        return np.concatenate([np.empty((0, places.shape[1]), np.float32), *parts])

    def _parts(self, histories: Histories) -> Iterator[tuple[int, int, Reached]]:
        """What few customers reach is worked out once; of many nothing is kept, to bound the memory.

        What is kept does not hold the histories, so it goes at once when they go.
        """
        n = histories.n_customers
        if n <= _CUSTOMERS_AT_ONCE:
            yield 0, n, histories.once((self, "reached"), lambda: self.reached(histories))
            return
        for start in range(0, n, _CUSTOMERS_AT_ONCE):
            stop = min(start + _CUSTOMERS_AT_ONCE, n)
            yield start, stop, self.reached(histories.part(start, stop))


def summed_cells(reached: npt.NDArray[np.integer], added: Floats, n_items: int) -> tuple[Ints, Floats]:
    """Each distinct position of `reached` (m,), ascending, and the sum of `added` (m,) there, in the order given.

    >>> places, sums = summed_cells(np.array([4, 1, 4]), np.array([1.0, 2.0, 0.5]), 6)
    >>> places.tolist(), sums.tolist()
    ([1, 4], [2.0, 1.5])
    """
    if n_items <= _DENSE_ITEMS and len(reached) * _SPARSE > n_items:
        met = np.zeros(n_items, np.bool_)
        met[reached] = True
        places = np.flatnonzero(met).astype(np.int64, copy=False)
        return places, np.asarray(np.bincount(reached, added, minlength=n_items), np.float64)[places]
    if not len(reached):
        return np.empty(0, np.int64), np.empty(0)
    given = reached.astype(np.int64, copy=False)
    order = stable_order(given, n_items)
    ascending = given[order]
    starts = run_starts(ascending)
    new = np.zeros(len(ascending), np.int64)
    new[starts[1:]] = 1
    return ascending[starts], np.asarray(np.bincount(np.cumsum(new), added[order]), np.float64)
