"""Items that this customer has bought, by how often and by how due they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.instants import DAY_US
from serving.sources.histories import Histories
from serving.sources.parts import Shape, arrays_of, positive_numbers
from serving.sources.source import Arrays, Bools, Excluded, Ints, Proposals, Scores, open_to

__all__ = ["BuyAgainSource"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
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

    kind: ClassVar[str] = "buy_again"

    rate_per_day: Floats
    gap_days: Floats
    prior_days: float
    horizon_days: float
    name: str = "buy_again"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.rate_per_day)

    def own(self, histories: Histories) -> Floats:
        """float64 (m,) per entry of `histories.bought`: probability in [0, 1] of buying again within the horizon."""
        return histories.once((self, "own"), lambda: self._own(histories))

    def _own(self, histories: Histories) -> Floats:
        bought = histories.bought
        watched = (histories.as_of_us - bought.first_us) / DAY_US
        rate = (bought.counts - 1 + self.prior_days * self.rate_per_day[bought.items]) / (watched + self.prior_days)
        readiness = 1.0 - np.exp2(-2.0 * self.due(histories))
        return np.asarray(-np.expm1(-rate * readiness * self.horizon_days), np.float64)

    def due(self, histories: Histories) -> Floats:
        """float64 (m,) per entry of `histories.bought`: time since the last purchase over the typical gap; 1 is due."""
        return histories.once((self, "due"), lambda: self._due(histories))

    def _due(self, histories: Histories) -> Floats:
        bought = histories.bought
        own_total = (bought.last_us - bought.first_us) / DAY_US
        gap = (own_total + self.gap_days[bought.items]) / bought.counts  # counts - 1 own gaps and the item's one
        return (histories.as_of_us - bought.last_us) / DAY_US / gap

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The customer's own items, the likeliest first."""
        places = np.full((histories.n_customers, limit), -1, np.int64)
        scores = np.full((histories.n_customers, limit), np.nan, np.float32)
        best = np.full(histories.n_customers, -1, np.int64)
        own = self.own(histories).astype(np.float32)
        for row in range(histories.n_customers):
            cells = slice(histories.bought_offsets[row], histories.bought_offsets[row + 1])
            items, chances = histories.bought.items[cells], own[cells]
            if not len(items):
                continue
            best[row] = items[np.argmax(chances)]
            kept = open_to(items, row, allowed, excluded)
            items, chances = items[kept], chances[kept]
            order = np.argsort(-chances, kind="stable")[:limit]
            places[row, : len(order)], scores[row, : len(order)] = items[order], chances[order]
        return Proposals(places, scores, best)

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """Probability in [0, 1] of buying again within the horizon; NaN for items never bought by the customer."""
        return self.of_bought(histories, self.own(histories), places).astype(np.float32)

    def of_bought(self, histories: Histories, values: Floats, places: Ints) -> Floats:
        """float64 (n, m): of values per entry of `histories.bought`, those of given places; NaN where not bought."""
        bought = histories.bought
        if not len(bought.items):
            return np.full(places.shape, np.nan)
        keys = bought.customers * self.n_items + bought.items
        wanted = np.arange(len(places))[:, None] * self.n_items + places
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((keys[found] == wanted) & (places >= 0), values[found], np.nan)

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        settings = {"prior_days": self.prior_days, "horizon_days": self.horizon_days}
        return settings, {"rate_per_day": self.rate_per_day, "gap_days": self.gap_days}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        positive = Shape(np.float64, 1, above=0)
        rates, gaps = arrays_of(arrays, {"rate_per_day": positive, "gap_days": positive}, same_length=True)
        prior_days, horizon_days = positive_numbers(settings, "prior_days", "horizon_days")
        return cls(rates, gaps, prior_days, horizon_days)
