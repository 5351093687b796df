"""The items whose vectors answer a customer's best, found without a look at all of them.

An inner product is at most the product of the two lengths. The items are looked at in blocks, the longest vectors
first, and no further once the next length times the customer's is below the worst of the best found. Nothing is
estimated: what is found is what a look at every item finds, but that of items with the very score of the last one
others may come. A few long vectors end the search soon, as popular items have them; vectors all of one length are all
looked at.

Source: Teflioudi, Gemulla, Mykytiuk (2015), LEMP: fast retrieval of large entries in a matrix product, SIGMOD, section
3.2, length-based pruning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.sources.best_first import NOTHING, best_keys, of_keys, worst_of
from serving.sources.source import Bools, Excluded, Ints, Proposals, Scores, best_of

__all__ = ["LongestFirst"]

_FIRST_BLOCK = 4_096
_HEAD = 65_536
_ROUNDING = np.float32(1.0001)
_FEW = 8_192
"""So many allowed items are looked at by themselves."""


@dataclass(frozen=True, eq=False)
class LongestFirst:
    """Vectors in the order of their lengths.

    Attributes:
        vectors: float32 (n_items, n_factors), as they lie.
        order: int64 (n_items,), places, the longest vector first, ties by place.
        rank: int64 (n_items,), where each place is in `order`.
        lengths: float32 (n_items,), descending.
        head: float32 (at most 65,536, n_factors), the first vectors, one after the other.
    """

    vectors: Scores
    order: Ints
    rank: Ints
    lengths: Scores
    head: Scores

    @classmethod
    def of(cls, vectors: Scores) -> LongestFirst:
        """Ready to look up; one pass over the vectors and a sort."""
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        order = np.argsort(-lengths, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return cls(vectors, order, rank, lengths[order], np.ascontiguousarray(vectors[order[:_HEAD]]))

    def propose(
        self, customers: Scores, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """As `CandidateSource.propose` for the vectors of customers, float32 (n, n_factors); NaN gets nothing."""
        if allowed is not None and np.count_nonzero(allowed) <= _FEW:
            return self._of_few(customers, limit, np.flatnonzero(allowed), excluded)
        search = _Search(self, customers, limit, allowed, excluded)
        start, stop = 0, _FIRST_BLOCK
        while start < len(self.order) and len(search.rows):
            search.look(start, min(stop, len(self.order)))
            start, stop = stop, min(2 * stop, stop + _HEAD)
        return search.found

    def _of_few(self, customers: Scores, limit: int, places: Ints, excluded: Excluded | None) -> Proposals:
        best = self.propose(customers, 1).best
        dense = customers @ self.vectors[places].T
        for row in range(0 if excluded is None else len(dense)):
            dense[row, np.isin(places, excluded.of(row))] = np.nan  # type: ignore[union-attr]
        found = best_of(dense, limit)
        chosen = np.append(places, -1)[found.places]
        return Proposals(chosen, found.scores, best)

    def block(self, start: int, stop: int) -> Scores:
        """float32 (stop - start, n_factors): the vectors of these ranks."""
        return self.head[start:stop] if stop <= len(self.head) else self.vectors[self.order[start:stop]]


class _Search:
    """What is found so far, and for which customers (`rows`) the search goes on."""

    def __init__(
        self, among: LongestFirst, customers: Scores, limit: int, allowed: Bools | None, excluded: Excluded | None
    ) -> None:
        n = len(customers)
        self.rows = np.flatnonzero(~np.isnan(customers).any(axis=1))
        self._keys = np.full((n, limit), NOTHING)
        self._best = np.full(n, -1, np.int64)
        self._most = np.full(n, -np.inf, np.float32)
        self._among = among
        self._customers = customers
        self._reach = np.sqrt(np.einsum("ij,ij->i", customers, customers)) * _ROUNDING
        self._barred = None if allowed is None else ~allowed
        self._struck = None if excluded is None else (excluded.rows, among.rank[excluded.items])

    @property
    def found(self) -> Proposals:
        """The best so far."""
        return Proposals(*of_keys(self._keys), self._best)

    def look(self, start: int, stop: int) -> None:
        """Look at the items of some ranks."""
        rows, places = self.rows, self._among.order[start:stop]
        dense = self._customers[rows] @ self._among.block(start, stop).T
        top = dense.argmax(axis=1)
        most = dense[np.arange(len(rows)), top]
        higher = most > self._most[rows]
        self._most[rows[higher]], self._best[rows[higher]] = most[higher], places[top[higher]]
        if self._barred is not None:
            dense[:, self._barred[places]] = np.nan
        if self._struck is not None:
            numbers = np.full(len(self._customers), -1, np.int64)
            numbers[rows] = np.arange(len(rows))
            owners, ranks = self._struck
            here = (ranks >= start) & (ranks < stop) & (numbers[owners] >= 0)
            dense[numbers[owners[here]], ranks[here] - start] = np.nan
        keys = best_keys(dense, places, self._keys[rows])
        self._keys[rows] = keys
        if stop < len(self._among.lengths):
            self.rows = rows[self._among.lengths[stop] * self._reach[rows] > worst_of(keys)]
        else:
            self.rows = rows[:0]
