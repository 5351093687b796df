"""Candidate sources: each scores every item of the catalogue for each customer, by one contract.

`scores(histories)` gives float64 (n, n_items), where NaN says that the source does not propose the item. A larger
score is better; scales differ between sources and are made alike by `serving.ranking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.instants import DAY_US
from serving.sources.histories import Histories

__all__ = ["AlsSource", "BuyAgainSource", "CandidateSource", "PopularitySource"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class CandidateSource(Protocol):
    """Whatever can propose items."""

    @property
    def name(self) -> str:
        """The word for the source in answers and reports."""

    def scores(self, histories: Histories) -> Floats:
        """float64 (n, n_items); NaN where the source does not propose the item."""


@dataclass(frozen=True)
class AlsSource:
    """Implicit-feedback matrix factorisation: the customer is folded in from the whole history, so is never stale.

    Attributes:
        item_factors: float64 (n_items, n_factors).
        alpha: confidence of an interaction of weight w is `1 + alpha * |w|`.
        regularization: lambda of the ridge term.

    Source: Hu, Koren, Volinsky (2008), Collaborative filtering for implicit feedback datasets, eq. 4.
    """

    item_factors: Floats
    alpha: float
    regularization: float
    name: str = "als"

    @cached_property
    def _gram(self) -> Floats:
        n_factors = self.item_factors.shape[1]
        return self.item_factors.T @ self.item_factors + self.regularization * np.eye(n_factors)

    def fold_in(self, items: Ints, weights: Floats) -> Floats:
        """float64 (n_factors,): x of `(YtY + Yt (C - I) Y + lambda I) x = Yt C p`.

        Args:
            items: catalogue positions, distinct.
            weights: confidence is `1 + alpha * |weight|`; p is 1 above 0 and 0 below.
        """
        factors = self.item_factors[items]
        extra = self.alpha * np.abs(weights)
        left = self._gram + (factors.T * extra) @ factors
        right = factors.T @ np.where(weights > 0, 1.0 + extra, 0.0)
        return np.asarray(np.linalg.solve(left, right), np.float64)

    def scores(self, histories: Histories) -> Floats:
        """Predicted preference, about 0 to 1; NaN in the rows of cold customers."""
        vectors = np.full((histories.n_customers, self.item_factors.shape[1]), np.nan)
        for row in np.flatnonzero(~histories.cold):
            cells = slice(histories.offsets[row], histories.offsets[row + 1])
            vectors[row] = self.fold_in(histories.items[cells], histories.weights[cells])
        return vectors @ self.item_factors.T


@dataclass(frozen=True)
class PopularitySource:
    """The same for everybody: distinct customers who bought the item lately.

    Attributes:
        popularity: float64 (n_items,), decayed customers, at least 0; an item with 0 is not proposed.
    """

    popularity: Floats
    name: str = "popularity"

    def scores(self, histories: Histories) -> Floats:
        """Decayed number of distinct customers who bought the item."""
        proposed = np.where(self.popularity > 0, self.popularity, np.nan)
        return np.broadcast_to(proposed, (histories.n_customers, len(proposed)))


@dataclass(frozen=True)
class BuyAgainSource:
    """Items that this customer has bought, by how often and by how due they are.

    The rate of buying the item again is a Gamma-Poisson mean: own repeats over own time, drawn towards the item's rate
    as if `prior_days` of watching it had been seen. What was bought a moment ago is not due: with r the time since the
    last purchase over the typical gap (again own drawn towards the item's), the rate counts `1 - 2 ** -(2 r)`.

    Attributes:
        rate_per_day: float64 (n_items,), how often a customer who bought the item buys it again, above 0.
        gap_days: float64 (n_items,), typical time between two purchases of one customer, above 0.
        prior_days: strength of the item's rate against the customer's own.
        horizon_days: the score is the probability of at least one purchase within it.

    Source: after Bhagat et al. (2018), Buy it again: modeling repeat purchase recommendations, KDD, section 4.
    """

    rate_per_day: Floats
    gap_days: Floats
    prior_days: float
    horizon_days: float
    name: str = "buy_again"

    def scores(self, histories: Histories) -> Floats:
        """Probability in [0, 1] of buying again within the horizon; NaN for items never bought by the customer."""
        bought = histories.bought
        watched = (histories.as_of_us - bought.first_us) / DAY_US
        rate = (bought.counts - 1 + self.prior_days * self.rate_per_day[bought.items]) / (watched + self.prior_days)
        readiness = 1.0 - np.exp2(-2.0 * self.due(histories))
        scores = np.full((histories.n_customers, len(self.rate_per_day)), np.nan)
        scores[bought.customers, bought.items] = -np.expm1(-rate * readiness * self.horizon_days)
        return scores

    def due(self, histories: Histories) -> Floats:
        """float64 (m,) per entry of `histories.bought`: time since the last purchase over the typical gap; 1 is due."""
        bought = histories.bought
        own_total = (bought.last_us - bought.first_us) / DAY_US
        gap = (own_total + self.gap_days[bought.items]) / bought.counts  # counts - 1 own gaps and the item's one
        return (histories.as_of_us - bought.last_us) / DAY_US / gap
