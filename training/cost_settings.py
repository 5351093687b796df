"""What keeping a customer is worth and what trying costs: the settings that bands and profits are reckoned from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError

__all__ = ["CostSettings"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CostSettings:
    """`[churn.costs]`: the shop's own figures; none of them can be learnt from the log of orders.

    margin_share: part of a customer's future orders that stays with the shop, in (0, 1].
    offer_minor: cost of one offer, minor units, also where the customer would have stayed.
    save_rate: share of those about to leave whom the offer keeps, in (0, 1]; an assumption until an experiment has
        measured it.
    weekly_capacity, total_capacity: how many customers can be contacted in a week, and within the horizon; None is no
        limit.
    medium_cost_share: the medium band is for a cheaper contact, of this share of the cost of an offer, in (0, 1].
    """

    margin_share: float
    offer_minor: int
    save_rate: float
    weekly_capacity: int | None = None
    total_capacity: int | None = None
    medium_cost_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("margin_share", "save_rate", "medium_cost_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(
                    f"setting churn.costs.{name} is {getattr(self, name)}; it is a share above 0 and at most 1"
                )
        if self.offer_minor < 1:
            raise ConfigurationError(
                f"setting churn.costs.offer_minor is {self.offer_minor}; it must be at least 1 minor unit"
            )
        for name in ("weekly_capacity", "total_capacity"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigurationError(
                    f"setting churn.costs.{name} is {getattr(self, name)}; leave it out for no limit"
                )

    def kept_minor(self, value_minor: Array) -> Array:
        """What an offer to somebody about to leave keeps on average, before its cost; of the value if they stay.

        >>> CostSettings(margin_share=0.5, offer_minor=300, save_rate=0.2).kept_minor(np.array([10_000.0])).tolist()
        [1000.0]
        """
        return np.asarray(self.save_rate * self.margin_share * value_minor, dtype=np.float64)

    def capacity(self, horizon_days: int) -> float:
        """How many customers can be contacted within a horizon; infinite without a limit."""
        weekly = math.inf if self.weekly_capacity is None else self.weekly_capacity * horizon_days / 7
        return min(weekly, math.inf if self.total_capacity is None else float(self.total_capacity))
