"""Fit the churn model on several cut-offs, calibrate it on a later slice; complete and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError, DataError, NotEnoughDataError
from serving.bands import Bands
from serving.calibration import BetaCalibrator
from serving.churn_model import ChurnModel
from serving.season import Season
from training.boosting import BinnedRows, bin_rows
from training.calibration import fit_calibrator
from training.churn_baselines import RECENCY
from training.churn_settings import ChurnSettings
from training.forecasting import ForecastData, fit_timing, fit_value_windows
from training.log_data import Progress, silent
from training.margin import FittedMargin, Part, calendar_columns, customer_parts, fit_margin, fit_rule
from training.season import fit_season
from training.table_margin import fit_table_margin
from training.thinning import evenly
from training.training_set import TrainingSet

__all__ = ["choose_bands", "fit_churn", "fit_margins"]

Array = npt.NDArray[np.float64]
_REFERENCE_POINTS = 1_001
_USUAL_ROWS = 100_000
_SEASON_ROWS = 200_000


def fit_churn(
    training_set: TrainingSet,
    calibration_set: TrainingSet | None,
    settings: ChurnSettings,
    *,
    categories: Mapping[str, tuple[str, ...]] | None = None,
    baseline: bool = False,
    progress: Progress = silent,
) -> ChurnModel:
    """Fit, stop early, calibrate; equal input gives equal bits.

    Training customers held out of it stop boosting and weigh the parts of the margin; the calibration set is not looked
    at. Columns that can only name a cut-off are not learnt from (see `calendar_columns`).

    Args:
        training_set: rows of one or more cut-offs.
        calibration_set: later rows, or rows of other customers. None calibrates on the latest training cut-off, each
            customer by what the same recipe says when fitted without them, so that no customer is lost to fitting.
        settings: how to fit.
        categories: for each categorical feature the texts of its codes; its values are these codes.
        baseline: fit the rule on days since the last order (on all features where there is no such feature) without
            trees, for data that do not suffice for more, and mark the model as such.
        progress: told what is done next.

    Raises:
        NotEnoughDataError: a set has too few rows or outcomes.
        DataError: the two sets have different features.
    """
    _check_sets(training_set, calibration_set, settings)
    texts = dict(categories or {})
    fitted = _fit_rows(training_set, settings, texts, baseline=baseline, progress=progress)
    progress("calibrating")
    level = _calibrate(training_set, calibration_set, fitted)
    data = ForecastData(
        training_set, fitted.binned, fitted.part, fitted.margin, calibration_set, level.log_odds, settings
    )
    progress("learning when customers return or leave")
    timing = fit_timing(data)
    progress("learning how much they order")
    value_windows = fit_value_windows(data)
    return ChurnModel(
        feature_names=training_set.feature_names,
        fingerprint=training_set.fingerprint,
        horizons_days=settings.problem.horizons_days,
        gap_days=settings.gap_days,
        base_rate=level.base_rate,
        linear=fitted.margin.linear,
        attrition=fitted.margin.attrition,
        trees=fitted.margin.trees,
        tree_weight=fitted.margin.tree_weight,
        calibrator=level.calibrator,
        reference=level.reference,
        medians=_usual(training_set, texts),
        awaits=settings.problem.awaits,
        categories=texts,
        season=level.season,
        timing=timing,
        value_windows=value_windows,
        baseline=baseline,
    )


def fit_margins(
    rows: TrainingSet, settings: ChurnSettings, *, categories: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[Array], Array]:
    """Fit the margin alone; the function from values, float64 (n, f), to log-odds before calibration, float64 (n,).

    Raises:
        NotEnoughDataError: rows held out have one outcome only.
    """
    return _fit_rows(rows, settings, dict(categories or {})).margin.margins


def choose_bands(probabilities: Array, *, high_share: float = 0.1, medium_share: float = 0.2) -> Bands:
    """Cut-offs that put about `high_share` of the customers in high and the next `medium_share` in medium.

    Customers with a probability equal to a cut-off fall into the upper band, so ties can make a band larger.

    Raises:
        ConfigurationError: a share is not above 0, or the two make 1 or more.

    >>> choose_bands(np.arange(10) / 10, high_share=0.1, medium_share=0.2)
    Bands(medium=0.7, high=0.9)
    """
    if not (high_share > 0 and medium_share > 0 and high_share + medium_share < 1):
        raise ConfigurationError(f"band shares {high_share} and {medium_share} must be above 0 and together below 1")
    high, medium = np.quantile(probabilities, [1 - high_share, 1 - high_share - medium_share], method="higher")
    return Bands(medium=float(medium), high=float(high))


@dataclass(frozen=True, eq=False)
class _FittedRows:
    """The margin, and what the forecasts are fitted on as well."""

    margin: FittedMargin
    binned: BinnedRows
    part: Part


def _fit_rows(
    rows: TrainingSet,
    settings: ChurnSettings,
    texts: Mapping[str, tuple[str, ...]],
    *,
    baseline: bool = False,
    progress: Progress = silent,
) -> _FittedRows:
    coded = {rows.feature_names.index(name): len(codes) for name, codes in texts.items()}
    parts = customer_parts(rows, settings)
    unused = calendar_columns(rows)
    progress("sorting rows into bins")
    binned = bin_rows(
        rows.values,
        rows.feature_names,
        max_bins=settings.trees.max_bins,
        num_threads=settings.num_threads,
        categories=coded,
        unused=unused,
    )
    progress("fitting the parts of the margin")
    if baseline:
        margin = fit_rule(rows, parts, settings, _rule_features(rows.feature_names, unused), categories=coded)
    elif settings.problem.kind == "label":
        margin = fit_table_margin(rows, binned, parts, settings, categories=coded, unused=unused)
    else:
        margin = fit_margin(rows, binned, parts, settings, categories=coded, unused=unused)
    return _FittedRows(margin, binned, parts[0])


def _check_sets(training_set: TrainingSet, calibration_set: TrainingSet | None, settings: ChurnSettings) -> None:
    if calibration_set is not None and training_set.fingerprint != calibration_set.fingerprint:
        raise DataError("training and calibration rows were computed with different feature sets; compute them again")
    training_set.require(settings, "the training set")
    if calibration_set is not None and calibration_set.n_rows == 0:
        raise NotEnoughDataError("the calibration set has 0 rows; at least both outcomes are needed")


@dataclass(frozen=True, eq=False)
class _Level:
    """From margins to log-odds: the curve, the season, and the probabilities and share of those calibrated on."""

    calibrator: BetaCalibrator
    season: Season | None
    reference: Array
    base_rate: float

    def log_odds(self, margins: Array, as_of_us: npt.NDArray[np.int64]) -> Array:
        """Calibrated, float64 (n,), each row in the season of its own instant."""
        found = self.calibrator.log_odds(margins)
        if self.season is not None:
            for instant in np.unique(as_of_us):
                found[as_of_us == instant] += self.season.at(int(instant))
        return found


def _calibrate(training_set: TrainingSet, calibration_set: TrainingSet | None, fitted: _FittedRows) -> _Level:
    unseen, margins = _unseen(training_set, calibration_set, fitted)
    calibrator = fit_calibrator(margins, unseen.labels, unseen.weights)
    reference = np.quantile(calibrator.probabilities(margins), np.linspace(0.0, 1.0, _REFERENCE_POINTS))
    season = _fit_season(training_set, calibration_set, fitted.margin, calibrator)
    return _Level(calibrator, season, np.maximum.accumulate(reference), unseen.base_rate)


def _unseen(
    training_set: TrainingSet, calibration_set: TrainingSet | None, fitted: _FittedRows
) -> tuple[TrainingSet, Array]:
    """The rows to calibrate on, and margins of them from fits that did not see their customers."""
    if calibration_set is not None:
        return calibration_set, fitted.margin.margins(calibration_set.values)
    held_out = fitted.margin.held_out
    latest = training_set.as_of_us[held_out] == training_set.cutoffs[-1]
    return training_set.take(held_out[latest]), fitted.margin.held_out_margins[latest]


def _rule_features(names: tuple[str, ...], unused: npt.NDArray[np.bool_]) -> list[int]:
    """Days since the last order alone; all features of a table that has no such column."""
    return [names.index(RECENCY)] if RECENCY in names else np.flatnonzero(~unused).tolist()


def _fit_season(
    training_set: TrainingSet, calibration_set: TrainingSet | None, margin: FittedMargin, calibrator: BetaCalibrator
) -> Season | None:
    """Only where training ends before the calibration slice or holds it: all label windows have been observed.

    Of many training rows 200,000, evenly taken, tell it.
    """
    if calibration_set is None:
        rows = training_set.take(margin.held_out)
        log_odds = calibrator.log_odds(margin.held_out_margins)
        return fit_season(log_odds, rows.labels, rows.as_of_us, anchor_us=training_set.cutoffs[-1])
    both = (training_set.take(evenly(np.arange(training_set.n_rows), _SEASON_ROWS)), calibration_set)
    return fit_season(
        calibrator.log_odds(np.concatenate([margin.margins(rows.values) for rows in both])),
        np.concatenate([rows.labels for rows in both]),
        np.concatenate([rows.as_of_us for rows in both]),
        anchor_us=calibration_set.cutoffs[-1],
    )


def _usual(rows: TrainingSet, texts: Mapping[str, tuple[str, ...]]) -> Array:
    """The median of each feature, the commonest code of a categorical one; NaN where there is no value.

    Of many rows 100,000, evenly taken, tell it.
    """
    values = np.asfortranarray(rows.values[evenly(np.arange(rows.n_rows), _USUAL_ROWS)])
    found = np.full(len(rows.feature_names), np.nan)
    for column, name in enumerate(rows.feature_names):
        present = values[:, column][~np.isnan(values[:, column])]
        if present.size and name in texts:
            found[column] = np.bincount(present.astype(np.int64)).argmax()
        elif present.size:
            found[column] = np.median(present)
    return found
