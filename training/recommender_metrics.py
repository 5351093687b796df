"""How good slates are: functions of which places hit, and of how many items were relevant. All items are ranked.

A customer without relevant items has no value (NaN) and must be left out, not counted as 0. Lists may be shorter than
k: a place that is empty (-1) is a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.interactions import ItemIndex
from serving.sources.histories import Histories

__all__ = [
    "Relevant",
    "average_precision",
    "bootstrap_means",
    "coverage",
    "hit_rate",
    "hits",
    "ndcg",
    "recall",
    "repeats",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Relevant:
    """The items that n customers turned to: distinct pairs, sorted by (customer, item).

    Attributes:
        customers: int64 (m,), rows 0..n-1.
        items: int64 (m,), catalogue positions.
        n_customers: n.
        n_items: size of the catalogue.
        n_outside: pairs with items that the catalogue did not hold at the cut-off; not among the others.
    """

    customers: Ints
    items: Ints
    n_customers: int
    n_items: int
    n_outside: int = 0

    @classmethod
    def read(
        cls, view: CustomerView, start_us: int, end_us: int, index: ItemIndex, *, recorded_before_us: int | None = None
    ) -> Relevant:
        """Items purchased in `[start, end)`, by `occurred_at`; where a limit is given, recorded before it."""
        track = view.track("purchase")
        inside = (track.occurred_us >= start_us) & (track.occurred_us < end_us)
        if recorded_before_us is not None:
            inside &= track.recorded_us < recorded_before_us
        return cls.of_lines(view, inside, index)

    @classmethod
    def of_lines(cls, view: CustomerView, inside: Bools, index: ItemIndex) -> Relevant:
        """Items of some of the view's purchases: bool over the track."""
        track = view.track("purchase")
        customers = track.customer_rows[inside]
        n_view_items = max(len(view.item_ids), 1)
        pairs = np.unique(customers * n_view_items + track.item[inside])
        items = index.of_view_items(view, pairs % n_view_items)
        customers, kept = pairs // n_view_items, items >= 0
        order = np.lexsort((items[kept], customers[kept]))
        n_outside = int(np.sum(~kept))
        return cls(customers[kept][order], items[kept][order], view.n_customers, len(index.item_ids), n_outside)

    @classmethod
    def together(cls, parts: Sequence[Relevant]) -> Relevant:
        """Those of several groups of customers (at least one), one after the other, of the same catalogue."""
        starts = np.cumsum([0, *(part.n_customers for part in parts)])
        customers = np.concatenate([part.customers + start for part, start in zip(parts, starts, strict=False)])
        items = np.concatenate([part.items for part in parts])
        return cls(customers, items, int(starts[-1]), parts[0].n_items, sum(part.n_outside for part in parts))

    @property
    def counts(self) -> Ints:
        """int64 (n,): relevant items of each customer."""
        return np.bincount(self.customers, minlength=self.n_customers).astype(np.int64)

    @property
    def keys(self) -> Ints:
        """int64 (m,): one ascending number for each pair."""
        return self.customers * max(self.n_items, 1) + self.items

    def select(self, rows: Ints) -> Relevant:
        """Those of some customers, ascending, numbered anew."""
        place = np.full(self.n_customers, -1, np.int64)
        place[rows] = np.arange(len(rows))
        return self._kept(place[self.customers] >= 0, place, len(rows))

    def only(self, kept: Bools) -> Relevant:
        """Those pairs (bool (m,)) alone, of the same customers."""
        return self._kept(kept, np.arange(self.n_customers), self.n_customers)

    def _kept(self, kept: Bools, place: Ints, n_customers: int) -> Relevant:
        return Relevant(place[self.customers[kept]], self.items[kept], n_customers, self.n_items, self.n_outside)


def hits(slates: Ints, relevant: Relevant) -> Bools:
    """Which places hold a relevant item: bool (n, k) of slates int64 (n, k) of catalogue positions, -1 for empty."""
    keys = np.arange(len(slates))[:, None] * max(relevant.n_items, 1) + slates
    return np.isin(keys, relevant.keys) & (slates >= 0)


def repeats(histories: Histories, relevant: Relevant) -> Bools:
    """Which relevant pairs (bool (m,)) the customer had bought before."""
    bought = histories.bought
    return np.isin(relevant.keys, bought.customers * max(relevant.n_items, 1) + bought.items)


def recall(hit: Bools, n_relevant: Ints) -> Floats:
    """Recall@k, float64 (n,) in [0, 1]: hits over relevant items; NaN where nothing is relevant.

    >>> recall(np.array([[True, False], [False, False]]), np.array([4, 0])).tolist()
    [0.25, nan]
    """
    return _ratio(hit.sum(axis=1), n_relevant)


def hit_rate(hit: Bools, n_relevant: Ints) -> Floats:
    """1.0 where any place hits, 0.0 where none does, float64 (n,); NaN where nothing is relevant.

    >>> hit_rate(np.array([[True, True], [False, False]]), np.array([2, 1])).tolist()
    [1.0, 0.0]
    """
    return _ratio(np.asarray(hit.any(axis=1)), np.minimum(n_relevant, 1))


def ndcg(hit: Bools, n_relevant: Ints) -> Floats:
    """NDCG@k with gains 0 or 1, float64 (n,) in [0, 1]; NaN where nothing is relevant.

    The discounted gain `sum hit_i / log2(i + 1)` over the one of `min(k, n_relevant)` hits in front.
    Source: Jarvelin, Kekalainen (2002), Cumulated gain-based evaluation of IR techniques.

    >>> ndcg(np.array([[False, True]]), np.array([1])).round(4).tolist()
    [0.6309]
    """
    discounts = 1.0 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))
    return _ratio((hit * discounts).sum(axis=1), ideal[np.minimum(n_relevant, hit.shape[1])])


def average_precision(hit: Bools, n_relevant: Ints) -> Floats:
    """AP@k, float64 (n,) in [0, 1]: mean precision at the hits, over `min(k, n_relevant)`; its mean is MAP@k.

    >>> average_precision(np.array([[True, False, True]]), np.array([2])).round(4).tolist()
    [0.8333]
    """
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return _ratio((hit * precision).sum(axis=1), np.minimum(n_relevant, hit.shape[1]))


def coverage(slates: Ints, n_items: int) -> float:
    """Share of the catalogue, in [0, 1], that is on at least one slate; NaN for an empty catalogue.

    >>> coverage(np.array([[0, 2], [2, -1]]), 4)
    0.5
    """
    return len(np.unique(slates[slates >= 0])) / n_items if n_items else float("nan")


def bootstrap_means(values: Floats, rng: np.random.Generator, n_replicates: int = 300) -> Floats:
    """Means of customers' values (n, m) and their 95% percentile intervals, customers drawn with replacement.

    Returns:
        float64 (m, 3): mean, lower and upper end. Customers with a NaN are left out; all NaN where none is left.

    Source: Efron, Tibshirani (1993), An introduction to the bootstrap, chapter 13.
    """
    kept = values[~np.isnan(values).any(axis=1)]
    n = len(kept)
    if not n:
        return np.full((values.shape[1], 3), np.nan)
    drawn = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(n_replicates)])
    low, high = np.quantile(drawn @ kept / n, (0.025, 0.975), axis=0)
    return np.column_stack((kept.mean(axis=0), low, high))


def _ratio(above: npt.NDArray[np.generic], below: npt.NDArray[np.generic]) -> Floats:
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) > 0)
    return out
