"""Everything that one slate could show, and what is struck off it for which reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["REASONS", "Pool", "Shortlist", "Struck"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

REASONS = (
    "filter",
    "out_of_stock",
    "seed",
    "owned",
    "bought_recently",
    "seen",
    "low_relevance",
    "earlier_page",
)
"""Why an item is not shown, in the order asked; each is counted under the first that holds."""


@dataclass(frozen=True, eq=False)
class Shortlist:
    """What one customer may be shown.

    Attributes:
        places: int64 (m,), positions in the catalogue; -1 is nobody.
        scores: float (m,), larger is better; where it is not finite, the place is not proposed.
    """

    places: Ints
    scores: npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Pool:
    """Distinct places: candidates, best first (ties by place), then the pins and sponsored items that are none.

    Attributes:
        places: int64 (m,), positions in the catalogue.
        scores: float64 (m,), NaN for what is no candidate.
        by_place: int64 (m,), the rows in the order of their places.
    """

    places: Ints
    scores: Floats
    by_place: Ints

    @classmethod
    def of(cls, shortlist: Shortlist, special: list[int]) -> Pool:
        """Shortlist in any order (one that comes twice counts with its best score), and further places behind them."""
        scores = shortlist.scores.astype(np.float64)
        proposed = (shortlist.places >= 0) & np.isfinite(scores)
        places, scores = shortlist.places[proposed], scores[proposed]
        order = np.lexsort((places, -scores))
        places, scores = places[order], scores[order]
        by_place = np.argsort(places, kind="stable")
        repeated = by_place[1:][np.diff(places[by_place]) == 0]
        if len(repeated):
            places, scores = np.delete(places, repeated), np.delete(scores, repeated)
            by_place = np.argsort(places, kind="stable")
        if special:
            known = set(places.tolist())
            added = [place for place in dict.fromkeys(special) if place not in known]
            places = np.concatenate([places, np.array(added, np.int64)])
            scores = np.concatenate([scores, np.full(len(added), np.nan)])
            by_place = np.argsort(places, kind="stable")
        return cls(places, scores, by_place)

    def find(self, places: Ints) -> tuple[Ints, Bools]:
        """The rows (f,) of those places that are in the pool, and which places (bool (m,)) those are."""
        if not len(places) or not len(self.places):
            return np.empty(0, np.int64), np.zeros(len(places), np.bool_)
        ascending = self.places[self.by_place]
        at = np.minimum(np.searchsorted(ascending, places), len(ascending) - 1)
        found = ascending[at] == places
        return self.by_place[at[found]], found


class Struck:
    """Which rows of a pool are still open, and how many were struck off for what."""

    def __init__(self, pool: Pool) -> None:
        self.open: Bools = np.ones(len(pool.places), np.bool_)
        self.counts: dict[str, int] = dict.fromkeys(REASONS, 0)
        self._pool = pool

    def by_mask(self, reason: str, mask: Bools | None) -> None:
        """Strike off what a mask over the catalogue does not let through; None lets everything through."""
        if mask is not None:
            self.by_row(reason, ~mask[self._pool.places])

    def by_place(self, reason: str, places: Ints) -> None:
        """Strike off some places of the catalogue."""
        if len(places):
            hit = np.zeros(len(self.open), np.bool_)
            hit[self._pool.find(places)[0]] = True
            self.by_row(reason, hit)

    def by_row(self, reason: str, hit: Bools) -> None:
        """Strike off rows of the pool; those that are struck already do not count again."""
        hit = hit & self.open
        self.counts[reason] += int(np.count_nonzero(hit))
        self.open ^= hit
