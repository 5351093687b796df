"""Fit what a churn model forecasts beside its probability: when what is awaited happens, and how much is ordered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from serving.calibration import BetaCalibrator, sigmoid, softplus
from serving.conditional_quantity import Location
from serving.season import Season
from serving.timing import Link, Timing, log_odds_of_share
from serving.value import YEAR_DAYS, Value
from training.boosting import BinnedRows
from training.calibration import fit_calibrator
from training.churn_settings import ChurnSettings
from training.conditional_quantity import fit_location, with_residuals
from training.labels import VALUE_DAYS
from training.margin import FittedMargin, Part
from training.season import fit_season, season_through
from training.thinning import evenly
from training.training_set import TrainingSet

__all__ = ["ForecastData", "fit_timing", "fit_value_windows"]

Array = npt.NDArray[np.float64]
_LEAST_FITTING = 200
_LEAST_UNSEEN = 50
_LEAST_SLOPE = 0.05
_PRIOR_ROWS = 20.0
_SEASON_ROWS = 50_000


@dataclass(frozen=True, eq=False)
class ForecastData:
    """What the forecasts are fitted on.

    part: the customers of the training rows who fit, and those who tell when to stop. later: the calibration slice,
    where there is one. log_odds: from margins and the instants of their rows to calibrated log-odds of churning.
    """

    training: TrainingSet
    binned: BinnedRows
    part: Part
    margin: FittedMargin
    later: TrainingSet | None
    log_odds: Callable[[Array, npt.NDArray[np.int64]], Array]
    settings: ChurnSettings

    @property
    def latest(self) -> TrainingSet:
        """Rows that the parts' fitting never saw: the calibration slice, or else the held-out customers' rows."""
        return self.training.take(self.part.held_out) if self.later is None else self.later


def fit_timing(data: ForecastData) -> Timing | None:
    """The timing of the awaited event; None where too few happened, or where it is not known when."""
    horizons = data.settings.problem.horizons_days
    longest = float(horizons[-1])

    def known(rows: TrainingSet) -> npt.NDArray[np.bool_]:
        return np.asarray(rows.event_days < longest)

    latest = data.latest
    happened, unseen = known(data.training), known(latest)
    if unseen.sum() < _LEAST_UNSEEN:
        return None
    location = _location(data, happened, log_odds_of_share(data.training.event_days, longest))
    if location is None:
        return None
    quantity = with_residuals(location, latest.values[unseen], log_odds_of_share(latest.event_days[unseen], longest))
    plain = Timing(horizons, quantity, tuple(Link(1.0, 0.0) for _ in horizons[1:]))
    both = (_some(data.training, happened), latest.take(unseen))
    odds = [plain.link_log_odds(plain.raw_shares(quantity.locations(rows.values))) for rows in both]
    links = [
        _fit_link(both, [found[:, step] for found in odds], horizons[len(horizons) - 1 - step], shorter)
        for step, shorter in enumerate(horizons[-2::-1])
    ]
    return Timing(horizons, quantity, tuple(links))


def fit_value_windows(data: ForecastData) -> tuple[Value, ...]:
    """The amount ordered in each window of which enough is known."""
    found = (_fit_value(data, place, days) for place, days in enumerate(VALUE_DAYS))
    return tuple(window for window in found if window is not None)


def _fit_value(data: ForecastData, place: int, days: int) -> Value | None:
    amounts = data.training.value_minor[:, place]
    positive = amounts > 0  # NaN, not yet known, is not above 0
    later = _known_later(data, place)
    unseen = data.training.take(data.part.held_out) if later is None else later
    bought = unseen.take(unseen.value_minor[:, place] > 0)
    none = _fit_none(data, later, place, seasonal=days < YEAR_DAYS)
    location = _location(data, positive, np.log(np.where(positive, amounts, 1.0)))
    if none is None or location is None or bought.n_rows < _LEAST_UNSEEN:
        return None
    season = _season_of_amounts(data, location, place) if days < YEAR_DAYS else None
    logs = np.log(bought.value_minor[:, place]) - _shifts(season, bought.as_of_us)
    return Value(days, with_residuals(location, bought.values, logs), none, season)


def _known_later(data: ForecastData, place: int) -> TrainingSet | None:
    """The rows of the calibration slice of which the window is known; None where they are few."""
    if data.later is None:
        return None
    found = data.later.take(~np.isnan(data.later.value_minor[:, place]))
    return found if found.n_rows >= _LEAST_UNSEEN else None


def _fit_none(data: ForecastData, later: TrainingSet | None, place: int, *, seasonal: bool) -> BetaCalibrator | None:
    """P(nothing ordered): from the later rows, or else from all training rows by fits that left them out."""
    if later is None:
        known = ~np.isnan(data.training.value_minor[data.margin.held_out, place])
        rows, margins = data.training.take(data.margin.held_out[known]), data.margin.held_out_margins[known]
    else:
        rows, margins = later, data.margin.margins(later.values)
    nothing = rows.value_minor[:, place] <= 0
    if not nothing.any() or nothing.all():
        return None
    return fit_calibrator(data.log_odds(margins, rows.as_of_us) if seasonal else margins, nothing)


def _season_of_amounts(data: ForecastData, location: Location, place: int) -> Season | None:
    """Through the mean residual of the logarithm at each cut-off, relative to the latest rows."""
    residuals, cutoffs = [], []
    for rows in (data.training, data.latest):
        bought = _some(rows, rows.value_minor[:, place] > 0)
        residuals.append(np.log(bought.value_minor[:, place]) - location.of(bought.values))
        cutoffs.append(bought.as_of_us)
    distinct, which = np.unique(np.concatenate(cutoffs), return_inverse=True)
    anchor_us = data.latest.cutoffs[-1]
    if anchor_us not in distinct:
        return None
    means = np.bincount(which, weights=np.concatenate(residuals)) / np.bincount(which)
    return season_through(means, distinct, anchor_us)


def _some(rows: TrainingSet, mask: npt.NDArray[np.bool_]) -> TrainingSet:
    """The rows of a mask; of many 50,000, evenly taken: a season has but few numbers."""
    return rows.take(evenly(np.flatnonzero(mask), _SEASON_ROWS))


def _shifts(season: Season | None, as_of_us: npt.NDArray[np.int64]) -> Array:
    """What the season adds at each instant, float64 (n,)."""
    if season is None:
        return np.zeros(as_of_us.size)
    cutoffs, which = np.unique(as_of_us, return_inverse=True)
    return np.array([season.at(int(cutoff)) for cutoff in cutoffs])[which]


def _location(data: ForecastData, usable: npt.NDArray[np.bool_], numbers: Array) -> Location | None:
    """Where the usable training rows' numbers, float64 (n,), lie; None where they are too few."""
    part, settings = data.part, data.settings
    fitting, stopping = part.fitting[usable[part.fitting]], part.held_out[usable[part.held_out]]
    if fitting.size < _LEAST_FITTING or stopping.size < 1:
        return None
    kept = np.where(usable, numbers, 0.0)
    return fit_location(data.binned, data.training.values, kept, fitting, stopping, settings.trees, seed=settings.seed)


def _fit_link(both: tuple[TrainingSet, TrainingSet], log_odds: list[Array], longer: int, shorter: int) -> Link:
    """P(T < shorter | T < longer): the season from all rows, the curve from the latest ones, the second."""
    reached = [rows.event_days < longer for rows in both]
    early = [rows.event_days[there] < shorter for rows, there in zip(both, reached, strict=True)]
    as_of_us = [rows.as_of_us[there] for rows, there in zip(both, reached, strict=True)]
    odds = [found[there] for found, there in zip(log_odds, reached, strict=True)]
    season = fit_season(
        np.concatenate(odds), np.concatenate(early), np.concatenate(as_of_us), int(both[1].as_of_us.max())
    )
    slope, intercept = _curve(odds[1], _shifts(season, as_of_us[1]), early[1])
    return Link(slope, intercept, season)


def _curve(log_odds: Array, shifts: Array, happened: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope, at least .05, and intercept by maximum likelihood, drawn to 1 and 0 as by 20 rows.

    Source: Platt 1999, Probabilistic outputs for support vector machines.
    """
    if log_odds.size == 0:
        return 1.0, 0.0
    truth = happened.astype(np.float64)
    design = np.column_stack([log_odds, np.ones(log_odds.size)])
    identity = np.array([1.0, 0.0])
    pull = _PRIOR_ROWS / (4.0 * log_odds.size)

    def loss(link: Array) -> tuple[float, Array]:
        logits = design @ link + shifts
        away = link - identity
        value = float(np.mean(softplus(logits) - truth * logits) + 0.5 * pull * float(away @ away))
        return value, design.T @ (sigmoid(logits) - truth) / log_odds.size + pull * away

    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=[(_LEAST_SLOPE, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
