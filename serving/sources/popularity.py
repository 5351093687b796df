"""Popularity: the same for everybody, or within the categories that a customer likes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from serving.sources.histories import Histories
from serving.sources.parts import Shape, arrays_of
from serving.sources.source import Arrays, Bools, Excluded, Ints, Proposals, Scores, picked

__all__ = ["CategoryPopularitySource", "PopularitySource"]

_HEAD = 4_096
_HEAD_OF_CATEGORY = 512


@dataclass(frozen=True, eq=False)
class PopularitySource:
    """The same for everybody: distinct customers who bought the item lately.

    Attributes:
        popularity: float32 (n_items,), decayed customers, at least 0; an item with 0 is not proposed.
    """

    kind: ClassVar[str] = "popularity"

    popularity: npt.NDArray[np.float32]
    name: str = "popularity"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.popularity)

    @cached_property
    def _known(self) -> npt.NDArray[np.float32]:
        return np.where(self.popularity > 0, self.popularity, np.float32(np.nan))

    @cached_property
    def _ordered(self) -> Ints:
        """The items with a popularity, best first, ties by place."""
        order = np.argsort(-self.popularity, kind="stable")
        return order[: int(np.sum(self.popularity > 0))]

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The most popular items that are allowed; one walk down the list for each customer."""
        places = np.full((histories.n_customers, limit), -1, np.int64)
        scores = np.full((histories.n_customers, limit), np.nan, np.float32)
        shared = self._head(limit if excluded is None else limit + _most(excluded), allowed)
        for row in range(histories.n_customers):
            own = shared if excluded is None else shared[~np.isin(shared, excluded.of(row))]
            own = own[:limit]
            places[row, : len(own)], scores[row, : len(own)] = own, self.popularity[own]
        best = np.full(histories.n_customers, self._ordered[:1].max(initial=-1), np.int64)
        return Proposals(places, scores, best)

    def _head(self, length: int, allowed: Bools | None) -> Ints:
        """The first `length` of the ordered items that are allowed; looks no further down than it must."""
        if allowed is None:
            return self._ordered[:length]
        head = self._ordered[: max(_HEAD, 2 * length)]
        found = head[allowed[head]]
        if len(found) < length and len(head) < len(self._ordered):
            found = self._ordered[allowed[self._ordered]]
        return found[:length]

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """Decayed number of distinct customers who bought the item."""
        return picked(np.broadcast_to(self._known, (len(places), self.n_items)), places)

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        return {}, {"popularity": self.popularity}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        (popularity,) = arrays_of(arrays, {"popularity": Shape(np.float32, 1, least=0)})
        return cls(popularity)


@dataclass(frozen=True, eq=False)
class CategoryPopularitySource:
    """Popular in the categories that the customer is drawn to.

    The score of an item is its popularity as a share of the most popular of its category, times the share that the
    category has in the positive weights of the customer's history.

    Attributes:
        share_in_category: float32 (n_items,) in [0, 1]; an item with 0 is not proposed.
        category: int32 (n_items,), code of the item's category, -1 where it has none.
    """

    kind: ClassVar[str] = "category_popularity"

    share_in_category: npt.NDArray[np.float32]
    category: npt.NDArray[np.int32]
    name: str = "category_popularity"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.category)

    @cached_property
    def _n_categories(self) -> int:
        return int(self.category.max(initial=-1)) + 1

    def affinity(self, histories: Histories) -> npt.NDArray[np.float32]:
        """float32 (n, n_categories): the share of each category in the customer's positive weights; 0 for none."""
        rows = np.repeat(np.arange(histories.n_customers), np.diff(histories.offsets))
        codes = self.category[histories.items]
        drawn = (histories.weights > 0) & (codes >= 0)
        cells = rows[drawn] * max(self._n_categories, 1) + codes[drawn]
        size = histories.n_customers * max(self._n_categories, 1)
        sums = np.bincount(cells, histories.weights[drawn], minlength=size).astype(np.float64)
        sums = sums.reshape(histories.n_customers, -1)
        totals = sums.sum(axis=1, keepdims=True)
        shares: Scores = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0).astype(np.float32)
        return shares

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The best of the categories in the customer's history."""
        found = Proposals(
            np.full((histories.n_customers, limit), -1, np.int64),
            np.full((histories.n_customers, limit), np.nan, np.float32),
            np.full(histories.n_customers, -1, np.int64),
        )
        for row, share in enumerate(self.affinity(histories)):
            own = np.empty(0, np.int64) if excluded is None else excluded.of(row)
            liked = np.flatnonzero(share)
            first = self._leaders[liked]
            best = self._best_of(share, first[first >= 0], 1)[1]
            found.best[row] = best[0] if len(best) else -1
            heads = [self._head(code, limit + len(own), allowed) for code in liked.tolist()]
            places = np.concatenate([np.empty(0, np.int64), *heads])
            if len(own):
                places = places[~np.isin(places, own)]
            scores, places = self._best_of(share, places, limit)
            found.scores[row, : len(places)], found.places[row, : len(places)] = scores, places
        return found

    def _best_of(self, share: npt.NDArray[np.float32], places: Ints, limit: int) -> tuple[Scores, Ints]:
        """Scores and places of the best of some distinct items for one customer, ties by place."""
        scores = self._of(share[None], places[None])[0]
        if limit < len(scores):
            bound = -np.partition(-scores, limit - 1)[limit - 1]
            kept = scores >= bound if not np.isnan(bound) else ~np.isnan(scores)
        else:
            kept = ~np.isnan(scores)
        scores, places = scores[kept], places[kept]
        order = np.lexsort((places, -scores))[:limit]
        return scores[order], places[order]

    @cached_property
    def _ordered(self) -> tuple[Ints, Ints]:
        """The items with a share, by category, the best first, ties by place; and where each category begins."""
        shown = np.flatnonzero((self.category >= 0) & (self.share_in_category > 0))
        order = shown[np.lexsort((-self.share_in_category[shown], self.category[shown]))]
        return order, np.searchsorted(self.category[order], np.arange(self._n_categories + 1))

    @cached_property
    def _leaders(self) -> Ints:
        """int64 (n_categories,): the best item of each; -1 where there is none."""
        order, starts = self._ordered
        padded = np.append(order, -1)
        return np.where(np.diff(starts) > 0, padded[starts[:-1]], -1)

    def _head(self, category: int, length: int, allowed: Bools | None) -> Ints:
        """The first `length` of a category that are allowed; looks no further down than it must."""
        order, starts = self._ordered
        own = order[starts[category] : starts[category + 1]]
        if allowed is None:
            return own[:length]
        head = own[: max(_HEAD_OF_CATEGORY, 2 * length)]
        found = head[allowed[head]]
        if len(found) < length and len(head) < len(own):
            found = own[allowed[own]]
        return found[:length]

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """The item's share of its category, times the category's share of the customer."""
        return np.where(places >= 0, self._of(self.affinity(histories), np.maximum(places, 0)), np.float32(np.nan))

    def _of(self, affinity: npt.NDArray[np.float32], places: Ints) -> Scores:
        """float32 (n, m); NaN where the category or the popularity is nothing."""
        if not self.n_items or not affinity.shape[1]:
            return np.full(places.shape, np.nan, np.float32)
        codes = self.category[places]
        liked = np.where(codes >= 0, np.take_along_axis(affinity, np.maximum(codes, 0), axis=1), 0)
        found: Scores = (liked * self.share_in_category[places]).astype(np.float32)
        shown: Scores = np.where(found > 0, found, np.float32(np.nan))
        return shown

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        return {}, {"share_in_category": self.share_in_category, "category": self.category}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        wanted = {"share_in_category": Shape(np.float32, 1, least=0), "category": Shape(np.int32, 1, least=-1)}
        share, category = arrays_of(arrays, wanted, same_length=True)
        return cls(share, category)


def _most(excluded: Excluded) -> int:
    return int(np.diff(excluded.offsets).max(initial=0))
