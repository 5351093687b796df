"""Fit what a churn model forecasts beside its probability: when what is awaited happens, and how much is ordered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from serving.calibration import sigmoid, softplus
from serving.conditional_quantity import ConditionalQuantity
from serving.timing import Timing, log_odds_of_share
from serving.value import Value
from training.boosting import BinnedRows
from training.calibration import fit_calibrator
from training.churn_settings import ChurnSettings
from training.conditional_quantity import fit_locations, with_residuals
from training.labels import VALUE_DAYS
from training.margin import FittedMargin, Part
from training.training_set import TrainingSet

__all__ = ["ForecastData", "fit_timing", "fit_value_windows"]

Array = npt.NDArray[np.float64]
_LEAST_FITTING = 200
_LEAST_UNSEEN = 50
_LEAST_SLOPE = 0.05
_PRIOR_ROWS = 20.0


@dataclass(frozen=True, eq=False)
class ForecastData:
    """What the forecasts are fitted on.

    part: the customers of the training rows who fit, and those who tell when to stop. log_odds: from margins and the
    instants of their rows to calibrated log-odds of churning.
    """

    training: TrainingSet
    binned: BinnedRows
    part: Part
    margin: FittedMargin
    calibration: TrainingSet
    calibration_margins: Array
    log_odds: Callable[[Array, npt.NDArray[np.int64]], Array]
    settings: ChurnSettings


def fit_timing(data: ForecastData) -> Timing | None:
    """The timing of the awaited event; None where too few happened, or where it is not known when."""
    horizons = data.settings.problem.horizons_days
    longest = float(horizons[-1])

    def known(rows: TrainingSet) -> npt.NDArray[np.bool_]:
        return np.asarray(rows.event_days < longest)

    unseen = known(data.calibration)
    happened = known(data.training)
    if unseen.sum() < _LEAST_UNSEEN or happened[data.part.fitting].sum() < _LEAST_FITTING:
        return None
    values, days = data.calibration.values[unseen], data.calibration.event_days[unseen]
    quantity = _quantity(
        data, happened, log_odds_of_share(data.training.event_days, longest), values, log_odds_of_share(days, longest)
    )
    if quantity is None:
        return None
    plain = Timing(horizons, quantity, tuple((1.0, 0.0) for _ in horizons[1:]))
    links = plain.link_log_odds(quantity.locations(values))
    chain = []
    for step, shorter in enumerate(horizons[-2::-1]):
        reached = days < horizons[len(horizons) - 1 - step]
        chain.append(_fit_link(links[reached, step], days[reached] < shorter))
    return Timing(horizons, quantity, tuple(chain))


def fit_value_windows(data: ForecastData) -> tuple[Value, ...]:
    """The amount ordered in each window of which enough is known."""
    found = (_fit_value(data, place, days) for place, days in enumerate(VALUE_DAYS))
    return tuple(window for window in found if window is not None)


def _fit_value(data: ForecastData, place: int, days: int) -> Value | None:
    amounts = data.training.value_minor[:, place]
    unseen, margins = _unseen_rows(data, place)
    paid = unseen.value_minor[:, place]
    some = paid > 0
    if min(some.sum(), (~some).sum()) < 1 or some.sum() < _LEAST_UNSEEN:
        return None
    positive = amounts > 0  # NaN, not yet known, is not above 0
    logs = np.log(np.where(positive, amounts, 1.0))
    quantity = _quantity(data, positive, logs, unseen.values[some], np.log(paid[some]))
    if quantity is None:
        return None
    window = Value(days, quantity, fit_calibrator(margins, ~some))
    if not window.takes_season:
        return window
    return Value(days, quantity, fit_calibrator(data.log_odds(margins, unseen.as_of_us), ~some))


def _unseen_rows(data: ForecastData, place: int) -> tuple[TrainingSet, Array]:
    """Rows that took no part in fitting, of which the window is known, and their margins.

    The calibration slice, the latest, where its window is known; else those of the customers held out of fitting.
    """
    later = ~np.isnan(data.calibration.value_minor[:, place])
    if later.sum() >= _LEAST_UNSEEN:
        return data.calibration.take(later), data.calibration_margins[later]
    held_out = data.part.held_out
    held_out = held_out[~np.isnan(data.training.value_minor[held_out, place])]
    where = np.searchsorted(data.margin.held_out, held_out)
    return data.training.take(held_out), data.margin.held_out_margins[where]


def _quantity(
    data: ForecastData, usable: npt.NDArray[np.bool_], numbers: Array, values: Array, unseen: Array
) -> ConditionalQuantity | None:
    """Locations from the usable training rows' numbers, residuals from unseen ones."""
    part, settings = data.part, data.settings
    fitting, stopping = part.fitting[usable[part.fitting]], part.held_out[usable[part.held_out]]
    if fitting.size < _LEAST_FITTING or stopping.size < 1:
        return None
    kept = np.where(usable, numbers, 0.0)
    trees = fit_locations(data.binned, fitting, stopping, kept, settings.trees, seed=settings.seed)
    return with_residuals(trees, values, unseen)


def _fit_link(log_odds: Array, happened: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope, at least .05, and intercept by maximum likelihood, drawn to 1 and 0 as by 20 rows.

    Source: Platt 1999, Probabilistic outputs for support vector machines.
    """
    truth = happened.astype(np.float64)
    design = np.column_stack([log_odds, np.ones(log_odds.size)])
    identity = np.array([1.0, 0.0])
    pull = _PRIOR_ROWS / (4.0 * max(log_odds.size, 1))

    def loss(link: Array) -> tuple[float, Array]:
        logits = design @ link
        away = link - identity
        value = float(np.mean(softplus(logits) - truth * logits) + 0.5 * pull * float(away @ away))
        return value, design.T @ (sigmoid(logits) - truth) / log_odds.size + pull * away

    if log_odds.size == 0:
        return 1.0, 0.0
    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=[(_LEAST_SLOPE, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
