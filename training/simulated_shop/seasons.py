"""The shop's calendar: season, week, promotion days and busy weeks. Known to the shop and to the oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.instants import DAY_US
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.settings import SimulationSettings

__all__ = ["DAYS_BEYOND_END", "Calendar", "make_calendar"]

DAYS_BEYOND_END = 500
"""The calendar goes on after the end, so that the oracle can look ahead from the last day."""

_MONTH_ORDERS = (0.94, 0.95, 0.99, 1.00, 1.00, 0.98, 0.95, 0.94, 1.00, 1.02, 1.06, 1.10)
_WEEKDAY_ORDERS = (1.08, 1.00, 0.97, 0.98, 1.05, 0.98, 0.94)


@dataclass(frozen=True)
class Calendar:
    """Arrays over days since the start, shape (days + DAYS_BEYOND_END,)."""

    month: Ints
    """0 is January."""
    order_factor: Floats
    """Season times weekday; multiplies everybody's order probability."""
    promotion: Flags
    busy: Floats
    """1 in quiet weeks; multiplies waiting for support and the chance of a late delivery."""


def make_calendar(settings: SimulationSettings, rng: np.random.Generator) -> Calendar:
    """The calendar of a shop; promotion days are two drawn days of each month and the last days of November."""
    n = settings.days + DAYS_BEYOND_END
    dates = np.datetime64(settings.start_us // DAY_US, "D") + np.arange(n)
    months = dates.astype("datetime64[M]")
    month = months.astype(np.int64) % 12
    day_of_month = (dates - months.astype("datetime64[D]")).astype(np.int64)
    weekday = (dates.astype(np.int64) + 3) % 7
    month_number = months.astype(np.int64) - months[0].astype(np.int64)
    drawn = rng.integers(0, 28, size=(int(month_number[-1]) + 1, 2))
    promotion = (day_of_month[:, None] == drawn[month_number]).any(axis=1)
    promotion |= (month == 10) & (day_of_month >= 25)
    busy = np.where(month == 11, 1.7, np.where(month == 10, 1.3, 1.0))
    order_factor = np.asarray(_MONTH_ORDERS)[month] * np.asarray(_WEEKDAY_ORDERS)[weekday]
    return Calendar(month=month, order_factor=order_factor, promotion=promotion, busy=busy)
