"""Keeping vectors of baskets to compare with, without whose they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.errors import ConfigurationError
from serving.sources.histories import PURCHASE, Histories
from serving.sources.next_basket import BasketDecay, NextBasketSource
from training.sources.settings import check_positive

__all__ = ["NextBasketSettings", "fit_next_basket"]


@dataclass(frozen=True)
class NextBasketSettings:
    """How baskets are weighed and whom a customer is compared with.

    Attributes:
        group_size, within, between, last: see `BasketDecay`.
        neighbours: so many customers are near; 0: the customer's own goods alone.
        own_share: what the customer's own vector counts, the nearest customers' the rest; in (0, 1].
        most_customers: so many vectors are kept, evenly spread over the customers who bought twice or more.

    Raises:
        ConfigurationError: a number is not above 0 (neighbours may be), or a share is above 1.
    """

    group_size: int = 3
    within: float = 0.9
    between: float = 0.7
    last: int = 100
    neighbours: int = 150
    own_share: float = 0.1
    most_customers: int = 20_000

    def __post_init__(self) -> None:
        check_positive(self, "recommender.next_basket", zero=("neighbours",))
        for name in ("within", "between", "own_share"):
            share = getattr(self, name)
            if share > 1:
                raise ConfigurationError(f"recommender.next_basket.{name} is {share}; write a number in (0, 1]")


def fit_next_basket(histories: Histories, n_items: int, settings: NextBasketSettings) -> NextBasketSource:
    """The vectors of the customers who bought at two instants or more, and how often each item was bought.

    Source: see `NextBasketSource`; nothing is estimated.
    """
    decay = BasketDecay(settings.group_size, settings.within, settings.between, settings.last)
    steps = histories.steps
    customers, bought = steps.customers, steps.kinds == PURCHASE
    whose, times = customers[bought], steps.times_us[bought]
    again = (np.diff(whose, prepend=-1) == 0) & (np.diff(times, prepend=0) > 0)
    chosen = np.unique(whose[again])
    if len(chosen) > settings.most_customers:
        chosen = chosen[np.linspace(0, len(chosen) - 1, settings.most_customers).astype(np.int64)]
    vectors = [decay.of(histories, int(row)) for row in chosen] if settings.neighbours else []
    vectors.sort(key=lambda one: (one[0].tolist(), one[1].tolist()))  # the order says nothing of whose they are
    offsets = np.concatenate(([0], np.cumsum([len(items) for items, _ in vectors]))).astype(np.int64)
    items = np.concatenate([np.empty(0, np.int64), *(items for items, _ in vectors)]).astype(np.int32)
    weights = np.concatenate([np.empty(0), *(own for _, own in vectors)]).astype(np.float32)
    kept = weights > 0  # a decay of many groups may come to nothing
    counts = np.bincount(histories.bought.items, histories.bought.counts, minlength=n_items)
    return NextBasketSource(
        np.concatenate(([0], np.cumsum(kept)))[offsets].astype(np.int64),
        items[kept],
        weights[kept],
        counts / max(counts.sum(), 1.0),
        settings.neighbours,
        settings.own_share,
        decay,
    )
