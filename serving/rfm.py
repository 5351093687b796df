"""RFM: how lately, how often and for how much a customer buys, in fifths of all customers, and a name for each cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import ArtefactError
from serving import strict_json

__all__ = ["RFM_CELLS", "RFM_FEATURES", "Rfm", "RfmScale"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]

RFM_CELLS = (
    "no_order",
    "champions",
    "loyal",
    "promising",
    "needs_attention",
    "about_to_sleep",
    "at_risk",
    "cannot_lose",
    "lost",
)
"""Keys of the cells, by code; what each means stands in segment_words.toml. Code 0 is who never ordered."""

RFM_FEATURES = ("orders_recency_days", "orders_count_365d", "spend_minor_365d")
"""What the three scales read, in the order recency, frequency, money."""

# Rows: recency fifth 1 (longest ago) to 5; columns: the mean of frequency and money fifths, rounded up, 1 to 5.
_GRID = (
    ("lost", "lost", "at_risk", "cannot_lose", "cannot_lose"),
    ("about_to_sleep", "about_to_sleep", "at_risk", "at_risk", "cannot_lose"),
    ("about_to_sleep", "needs_attention", "needs_attention", "loyal", "loyal"),
    ("promising", "promising", "loyal", "loyal", "champions"),
    ("promising", "promising", "loyal", "champions", "champions"),
)
_CELLS = np.array([[RFM_CELLS.index(name) for name in row] for row in _GRID], dtype=np.int8)


@dataclass(frozen=True, eq=False)
class Rfm:
    """Fifths and cell of n customers, int8 (n,) each.

    recency, frequency, money: 1 to 5, 5 is best (latest, most often, most money); 0 where there is no order yet.
    cell: index into RFM_CELLS.
    """

    recency: Codes
    frequency: Codes
    money: Codes
    cell: Codes


@dataclass(frozen=True, eq=False)
class RfmScale:
    """The inner cuts of the fifths, ascending float64 (4,) each: days, orders in 365 days, minor units in 365 days.

    A value `>= cut` lies above it. With few distinct values cuts coincide and a fifth may stay empty: then equal
    customers stay together, rather than being told apart by chance.
    """

    recency_days: Array
    orders_365d: Array
    spend_minor_365d: Array

    def __post_init__(self) -> None:
        for cuts in (self.recency_days, self.orders_365d, self.spend_minor_365d):
            if cuts.shape != (4,) or not np.isfinite(cuts).all() or (np.diff(cuts) < 0).any():
                raise ArtefactError("an RFM scale needs four finite cuts that do not fall, for each of its three parts")
            cuts.setflags(write=False)

    def of(self, table: FeatureTable) -> Rfm:
        """The fifths and the cell of every customer of a table with the columns RFM_FEATURES."""
        recency, orders, spend = (table.column(name) for name in RFM_FEATURES)
        ordered = ~np.isnan(recency)
        late = np.searchsorted(self.recency_days, recency, side="right")
        fifths = (
            5 - late,
            1 + np.searchsorted(self.orders_365d, orders, side="right"),
            1 + np.searchsorted(self.spend_minor_365d, spend, side="right"),
        )
        r, f, m = (np.where(ordered, fifth, 0).astype(np.int8) for fifth in fifths)
        worth = (f + m + 1) // 2
        cell = np.where(ordered, _CELLS[np.maximum(r, 1) - 1, np.maximum(worth, 1) - 1], 0).astype(np.int8)
        return Rfm(r, f, m, cell)

    def to_manifest(self) -> dict[str, object]:
        """The cuts as JSON values."""
        return {
            "recency_days": self.recency_days.tolist(),
            "orders_365d": self.orders_365d.tolist(),
            "spend_minor_365d": self.spend_minor_365d.tolist(),
        }

    @classmethod
    def from_manifest(cls, content: dict[str, object], what: str) -> RfmScale:
        """The scale that `to_manifest` wrote.

        Raises:
            ArtefactError: cuts are missing, not finite, or fall.
        """
        return cls(*(strict_json.numbers(content, key, what) for key in _KEYS))


_KEYS = ("recency_days", "orders_365d", "spend_minor_365d")
