"""What is to be expected of customers beside the headline probability: by horizon, when, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.calibration import sigmoid
from serving.timing import Timing
from serving.value import Value

__all__ = ["QUANTILES", "VALUE_DAYS", "Forecast", "assemble_forecast"]

Array = npt.NDArray[np.float64]

QUANTILES = (0.1, 0.5, 0.9)
"""The levels of every p10, p50, p90."""

VALUE_DAYS = (90, 365)
"""The windows, in days from `as_of + gap`, of predicted value."""

_LIKELY = 0.5


@dataclass(frozen=True, eq=False)
class Forecast:
    """Forecasts of n customers at one instant; T is days from `as_of + gap` to the event that the question waits for.

    horizons_days: ascending; the last is the headline.
    churn_probability_by_horizon: float64 (n, h) in [0, 1]; the last column is the headline probability. For a question
        that waits for a return (the next order) it never rises with the horizon, for one that waits for the churn
        itself it never falls. NaN in a shorter horizon's column where the model learnt none.
    next_event_days: float64 (n, 3), p10, p50 and p90 of T given T < the longest horizon, in [0, longest horizon]; NaN
        for a row whose event is less likely than not within that horizon, and where the model learnt no timing.
    value_minor: float64 (n, 2, 3), p10, p50 and p90 of the amount ordered in `[as_of + gap, as_of + gap + d)` for each
        d of VALUE_DAYS, minor units; the point mass at 0 of those who order nothing is within. NaN where not learnt.
    value_mean_minor: float64 (n, 2), the means of the same.
    value_none_probability: float64 (n, 2), the point mass at 0: P(nothing ordered in the window); NaN where not learnt.
    value_if_stays_minor: float64 (n,), mean amount over the longest learnt value window of who orders in it at all.
    expected_loss_minor: float64 (n,), churn probability times value_if_stays_minor.
    """

    horizons_days: tuple[int, ...]
    churn_probability_by_horizon: Array
    next_event_days: Array
    value_minor: Array
    value_mean_minor: Array
    value_none_probability: Array
    value_if_stays_minor: Array
    expected_loss_minor: Array

    def __len__(self) -> int:
        return int(self.churn_probability_by_horizon.shape[0])

    def columns(self) -> tuple[Array, ...]:
        """Every array."""
        return (
            self.churn_probability_by_horizon,
            self.next_event_days,
            self.value_minor,
            self.value_mean_minor,
            self.value_none_probability,
            self.value_if_stays_minor,
            self.expected_loss_minor,
        )

    def select(self, rows: npt.NDArray[np.int64]) -> Forecast:
        """The forecasts of some of the customers."""
        return Forecast(self.horizons_days, *(column[rows] for column in self.columns()))


def assemble_forecast(
    values: Array,
    margins: Array,
    log_odds: Array,
    *,
    horizons_days: tuple[int, ...],
    returns: bool,
    as_of_us: int | None,
    timing: Timing | None,
    value_windows: tuple[Value, ...],
) -> Forecast:
    """The forecast of n customers.

    Args:
        values: float64 (n, f), checked.
        margins: of churning, float64 (n,), before calibration.
        log_odds: of churning within the longest horizon, float64 (n,), calibrated, with the season of as_of.
        horizons_days: ascending; the last is the longest.
        returns: whether what is awaited is a return, that is, the opposite of churning.
        as_of_us: when the values were computed; None for the season of the calibration slice.
        timing: when; None where not learnt.
        value_windows: how much; () where not learnt.
    """
    churn = sigmoid(log_odds)
    by_horizon = np.full((churn.size, len(horizons_days)), np.nan)
    days = np.full((churn.size, len(QUANTILES)), np.nan)
    if timing is not None:
        event = 1.0 - churn if returns else churn
        locations = timing.quantity.locations(values)
        raw = timing.raw_shares(locations)
        shares = timing.shares(raw, as_of_us)
        happens = event[:, None] * shares
        # rounding in 1 - (1 - churn) must not put a shorter horizon below the longest
        by_horizon[:] = np.maximum(1.0 - happens, churn[:, None]) if returns else happens
        likely = event >= _LIKELY
        days[likely] = timing.days(locations[likely], raw[likely], shares[likely], QUANTILES)
    by_horizon[:, -1] = churn
    return Forecast(horizons_days, by_horizon, days, *_values(values, margins, log_odds, value_windows, as_of_us))


def _values(
    values: Array, margins: Array, log_odds: Array, windows: tuple[Value, ...], as_of_us: int | None
) -> tuple[Array, Array, Array, Array, Array]:
    n = log_odds.size
    quantiles = np.full((n, len(VALUE_DAYS), len(QUANTILES)), np.nan)
    means, nothing = np.full((2, n, len(VALUE_DAYS)), np.nan)
    if_stays = np.full(n, np.nan)
    for window in windows:
        place = VALUE_DAYS.index(window.days)
        found = window.forecast(values, log_odds if window.takes_season else margins, QUANTILES, as_of_us)
        quantiles[:, place], means[:, place] = found.quantiles_minor, found.mean_minor
        nothing[:, place], if_stays = found.none_probability, found.mean_if_any_minor
    return quantiles, means, nothing, if_stays, sigmoid(log_odds) * if_stays
