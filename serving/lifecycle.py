"""Where a customer stands in their life with the shop, by clear rules from the customer's own cycle."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import ArtefactError
from serving import strict_json

__all__ = ["LIFECYCLE_FEATURES", "STAGES", "Lifecycle"]

Array = npt.NDArray[np.float64]

STAGES = ("no_order", "new", "growing", "active", "slipping", "at_risk", "lost", "won_back")
"""Keys of the stages, by code; what each means stands in segment_words.toml. Code 0 is who never ordered."""

LIFECYCLE_FEATURES = (
    "orders_recency_days",
    "tenure_days",
    "orders_count_all",
    "order_gap_mean_days_all",
    "order_gap_last_ratio_all",
    "orders_count_90d",
    "orders_trend_90d",
)

_NO_ORDER, _NEW, _GROWING, _ACTIVE, _SLIPPING, _AT_RISK, _LOST, _WON_BACK = range(len(STAGES))
_TREND_DAYS = 90


@dataclass(frozen=True)
class Lifecycle:
    """The rules. Lateness is the days since the last order in own cycles; the first rule that holds decides.

    no_order: no order yet.
    lost, at_risk, slipping: lateness at least `lost_from`, `at_risk_from`, `slipping_from`.
    won_back: ordered again after a pause that by then was at least `at_risk_from` of the cycles before it.
    new: the first order is less than `new_cycles` usual cycles ago.
    growing: at least 3 orders in the last 90 days, and twice as many as in the 90 before (a trend of 1/3 or more), by
    a customer of more than 180 days.
    active: all others.

    The own cycle is the mean gap between orders with one gap of `usual_cycle_days` (the shop's) added, so that it is
    there after one order and the customer's own after several: (usual + sum of gaps) / (1 + number of gaps).
    Where orders come by chance, a lateness of 1.5, 2.5 and 5 cycles is passed in 22%, 8% and 0.7% of all gaps
    (exp of minus the lateness), by regular customers far more seldom: that is what the limits mean.
    """

    usual_cycle_days: float
    slipping_from: float = 1.5
    at_risk_from: float = 2.5
    lost_from: float = 5.0
    new_cycles: float = 1.5
    growing_trend: float = 1 / 3
    growing_orders: float = 3.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.usual_cycle_days) and self.usual_cycle_days > 0):
            raise ArtefactError(f"the usual cycle is {self.usual_cycle_days} days; it must be above 0")
        if not 0 < self.slipping_from <= self.at_risk_from <= self.lost_from:
            raise ArtefactError("the limits of slipping, at risk and lost must be above 0 and must not fall")

    def own_cycle_days(self, table: FeatureTable) -> Array:
        """float64 (n,): the own cycle of each customer; the usual one before the second order."""
        gaps, days = _gaps(table)
        return np.asarray((self.usual_cycle_days + days) / (1.0 + gaps), dtype=np.float64)

    def of(self, table: FeatureTable) -> npt.NDArray[np.int8]:
        """int8 (n,): index into STAGES for every customer of a table with the columns LIFECYCLE_FEATURES."""
        recency, tenure = table.column("orders_recency_days"), table.column("tenure_days")
        lateness = recency / self.own_cycle_days(table)
        growing = (
            (tenure > 2 * _TREND_DAYS)
            & (table.column("orders_count_90d") >= self.growing_orders)
            & (table.column("orders_trend_90d") >= self.growing_trend)
        )
        rules = (
            (np.isnan(recency), _NO_ORDER),
            (lateness >= self.lost_from, _LOST),
            (lateness >= self.at_risk_from, _AT_RISK),
            (lateness >= self.slipping_from, _SLIPPING),
            (self._came_back(table), _WON_BACK),
            (tenure < self.new_cycles * self.usual_cycle_days, _NEW),
            (growing, _GROWING),
        )
        return np.select([held for held, _ in rules], [stage for _, stage in rules], _ACTIVE).astype(np.int8)

    def _came_back(self, table: FeatureTable) -> npt.NDArray[np.bool_]:
        """Whether the pause before the last order was one of a customer at risk, by the gaps before it."""
        gaps, days = _gaps(table)
        last = np.nan_to_num(table.column("order_gap_last_ratio_all") * table.column("order_gap_mean_days_all"))
        before = (self.usual_cycle_days + days - last) / np.maximum(gaps, 1.0)  # one gap fewer, and the usual one
        return np.asarray((gaps > 0) & (last >= self.at_risk_from * before))

    def to_manifest(self) -> dict[str, float]:
        """The rules' numbers as JSON values."""
        return asdict(self)

    @classmethod
    def from_manifest(cls, content: dict[str, object], what: str) -> Lifecycle:
        """The rules that `to_manifest` wrote.

        Raises:
            ArtefactError: a number is missing, or the limits fall.
        """
        return cls(*(strict_json.number(content, part.name, what) for part in fields(cls)))


def _gaps(table: FeatureTable) -> tuple[Array, Array]:
    """float64 (n,) twice: how many gaps between orders a customer has, and the days of all of them."""
    gaps = np.maximum(table.column("orders_count_all") - 1.0, 0.0)
    return gaps, np.nan_to_num(table.column("order_gap_mean_days_all")) * gaps
