"""How often, and after how long, each item is bought again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.instants import DAY_US
from serving.sources.buy_again import BuyAgainSource
from serving.sources.histories import Histories
from training.sources.settings import check_positive

__all__ = ["BuyAgainSettings", "fit_buy_again"]

_MAX_REPEATS = 20  # of one customer and one item, so that one key cannot set an item's repeat rate


@dataclass(frozen=True)
class BuyAgainSettings:
    """How repeat rates are used.

    Attributes:
        prior_days: strength of the item's rate against the customer's own, in days of watching.
        horizon_days: scores are probabilities of a purchase within it.

    Raises:
        ConfigurationError: a number is not above 0.
    """

    prior_days: float = 60.0
    horizon_days: float = 30.0

    def __post_init__(self) -> None:
        check_positive(self, "recommender.buy_again")


def fit_buy_again(histories: Histories, n_items: int, settings: BuyAgainSettings) -> BuyAgainSource:
    """Repeat rate a day and typical gap in days of each item, both drawn towards the shop's where little is known."""
    bought = histories.bought
    repeats = np.minimum(bought.counts - 1, _MAX_REPEATS).astype(np.float64)
    watched = (histories.as_of_us - bought.first_us) / DAY_US
    spans = (bought.last_us - bought.first_us) / DAY_US * repeats / np.maximum(bought.counts - 1, 1)
    n_repeats = np.bincount(bought.items, repeats, minlength=n_items)
    shop_rate = (repeats.sum() + 0.5) / (watched.sum() + 365.0)
    shop_gap = (spans.sum() + 90.0) / (repeats.sum() + 1.0)
    known_days, known_gaps = 365.0, 5.0  # how much of the shop's rate and gap each item starts with
    rates = (n_repeats + known_days * shop_rate) / (np.bincount(bought.items, watched, minlength=n_items) + known_days)
    gaps = (np.bincount(bought.items, spans, minlength=n_items) + known_gaps * shop_gap) / (n_repeats + known_gaps)
    return BuyAgainSource(rates, np.maximum(gaps, 1.0 / 24), settings.prior_days, settings.horizon_days)
