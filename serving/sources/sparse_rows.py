"""Proposals and scores of sources that reach a few items a customer, from those items and their sums alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from features.sorting import stable_order
from serving.sources.histories import Histories
from serving.sources.source import Bools, Excluded, Ints, Proposals, Scores, open_to

__all__ = ["Reach", "propose_reached", "remembered", "score_reached", "summed_cells"]

Floats = npt.NDArray[np.float64]
Reach = Callable[[int], tuple[Ints, Floats]]
"""The row of a customer -> the items reached, int64 (r,), ascending and distinct, and their sums, float64 (r,)."""

_DENSE_ITEMS = 200_000
_SPARSE = 8
"""Where fewer entries than one item in so many are met, sorting them costs less than an array of all items."""
_MOST_REMEMBERED = 512


def remembered(reach: Reach, histories: Histories, source: object) -> Reach:
    """The same, each row of these histories worked out once; of many customers nothing is kept, to bound the memory.

    What is kept does not hold the histories, so it goes at once when they go.
    """
    if histories.n_customers > _MOST_REMEMBERED:
        return reach
    kept: dict[int, tuple[Ints, Floats]] = histories.once((source, "reach"), dict)

    def of(row: int) -> tuple[Ints, Floats]:
        if row not in kept:
            kept[row] = reach(row)
        return kept[row]

    return of


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
    order = stable_order(reached.astype(np.int64), n_items)
    ascending = reached[order]
    new = np.concatenate(([True], ascending[1:] != ascending[:-1]))
    return ascending[new].astype(np.int64), np.asarray(np.bincount(np.cumsum(new) - 1, added[order]), np.float64)


def propose_reached(
    reach: Reach, n_customers: int, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
) -> Proposals:
    """The best `limit` items reached by each customer, best first, ties by place; see `CandidateSource.propose`."""
    places = np.full((n_customers, limit), -1, np.int64)
    scores = np.full((n_customers, limit), np.nan, np.float32)
    best = np.full(n_customers, -1, np.int64)
    for row in range(n_customers):
        reached, exact = reach(row)
        if not len(reached):
            continue
        sums = exact.astype(np.float32)
        best[row] = reached[np.argmax(sums)]
        kept = open_to(reached, row, allowed, excluded)
        reached, sums = reached[kept], sums[kept]
        order = _first(sums, limit)
        places[row, : len(order)], scores[row, : len(order)] = reached[order], sums[order]
    return Proposals(places, scores, best)


def score_reached(reach: Reach, places: Ints) -> Scores:
    """float32 (n, m): the sums of given places int64 (n, m); NaN at place -1 and where nothing is reached."""
    found = np.full(places.shape, np.nan, np.float32)
    for row, own in enumerate(places):
        reached, sums = reach(row)
        if len(reached):
            at = np.minimum(np.searchsorted(reached, own), len(reached) - 1)
            found[row] = np.where(reached[at] == own, sums[at].astype(np.float32), np.float32(np.nan))
    return found


def _first(sums: Scores, limit: int) -> Ints:
    """Places of the `limit` largest, best first, ties by place."""
    if limit < len(sums):
        worst = np.partition(sums, len(sums) - limit)[len(sums) - limit]
        kept = np.flatnonzero(sums >= worst)
        return kept[np.argsort(-sums[kept], kind="stable")][:limit]
    return np.argsort(-sums, kind="stable")
