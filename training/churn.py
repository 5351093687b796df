"""Fit the churn model on several cut-offs, calibrate it on a later slice; complete and frozen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError, DataError, NotEnoughDataError
from features.instants import DAY_US
from serving.bands import Bands
from serving.calibration import BetaCalibrator
from serving.churn_model import ChurnModel
from serving.linear_part import LinearPart
from serving.season import Season
from serving.trees import Trees
from training.boosting import Rows, fit_trees
from training.calibration import fit_calibrator
from training.churn_settings import ChurnSettings
from training.season import fit_season
from training.training_set import TrainingSet

__all__ = ["choose_bands", "fit_churn"]

Array = npt.NDArray[np.float64]
_REFERENCE_POINTS = 1_001
_SEASON_CYCLES = 2


def fit_churn(training_set: TrainingSet, calibration_set: TrainingSet, settings: ChurnSettings) -> ChurnModel:
    """Fit, stop early, calibrate; equal input gives equal bits.

    Boosting stops by the log-loss of `validation_share` of the training customers, who take no other part; the
    calibration set and any later slice are not looked at. Columns that can only name a cut-off are blanked (see
    `_blank_calendar`).

    Raises:
        NotEnoughDataError: a set has too few rows or outcomes.
        DataError: the two sets have different features.
    """
    if training_set.fingerprint != calibration_set.fingerprint:
        raise DataError("training and calibration rows were computed with different feature sets; compute them again")
    training_set.require(settings, "the training set")
    if calibration_set.n_rows == 0:
        raise NotEnoughDataError("the calibration set has 0 rows; at least both outcomes are needed")
    linear, trees = _fit_margin(training_set, settings)
    part = _Margin(linear, trees)
    margins = part.margins(calibration_set.values)
    calibrator = fit_calibrator(margins, calibration_set.labels, calibration_set.weights)
    season = _fit_season(training_set, calibration_set, part, calibrator)
    reference = np.quantile(calibrator.probabilities(margins), np.linspace(0.0, 1.0, _REFERENCE_POINTS))
    return ChurnModel(
        feature_names=training_set.feature_names,
        fingerprint=training_set.fingerprint,
        horizons_days=(settings.label_window_days,),
        gap_days=settings.gap_days,
        base_rate=calibration_set.base_rate,
        linear=linear,
        trees=trees,
        calibrator=calibrator,
        reference=np.maximum.accumulate(reference),
        medians=_medians(training_set.values),
        season=season,
    )


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


@dataclass(frozen=True)
class _Margin:
    """The two parts of the margin, before there is a model."""

    linear: LinearPart
    trees: Trees

    def margins(self, values: Array) -> Array:
        """Log-odds, float64 (n,)."""
        return self.linear.margins(values) + self.trees.margins(values)


def _fit_season(
    training_set: TrainingSet, calibration_set: TrainingSet, part: _Margin, calibrator: BetaCalibrator
) -> Season | None:
    """Only where training ends before the calibration slice or holds it: all label windows have been observed."""
    return fit_season(
        calibrator.log_odds(np.concatenate([part.margins(rows.values) for rows in (training_set, calibration_set)])),
        np.concatenate([training_set.labels, calibration_set.labels]),
        np.concatenate([training_set.as_of_us, calibration_set.as_of_us]),
        anchor_us=calibration_set.cutoffs[-1],
    )


def _fit_margin(training_set: TrainingSet, settings: ChurnSettings) -> tuple[LinearPart, Trees]:
    """The trees; the linear part is still empty."""
    rng = np.random.default_rng(settings.seed)
    fitting, stopping = training_set.split_customers(settings.validation_share, rng)
    if len(set(stopping.labels.tolist())) < 2:
        raise NotEnoughDataError(
            f"{stopping.n_rows} rows decide when boosting stops, all of one outcome; raise validation_share, or "
            "import more"
        )
    blank = _blank_calendar(training_set)
    linear = LinearPart(len(training_set.feature_names), 0.0, ())

    def rows(part: TrainingSet) -> Rows:
        values = np.where(blank, np.nan, part.values) if blank.any() else part.values
        return Rows(values, part.labels.astype(np.float64), part.weights)

    trees = fit_trees(
        rows(fitting),
        rows(stopping),
        training_set.feature_names,
        settings.trees,
        seed=settings.seed,
        num_threads=settings.num_threads,
    )
    return linear, trees


def _blank_calendar(training_set: TrainingSet) -> npt.NDArray[np.bool_]:
    """Mask, bool (f,), of the columns equal for all customers of each cut-off, where less than two seasons were seen.

    Such a column is the calendar. Over fewer than two turns of the year it can only memorise the base rate of each
    training cut-off, which the next cut-off does not share.
    """
    cutoffs = training_set.cutoffs
    if cutoffs[-1] - cutoffs[0] >= _SEASON_CYCLES * 365 * DAY_US:
        return np.zeros(len(training_set.feature_names), dtype=np.bool_)
    constant = np.ones(len(training_set.feature_names), dtype=np.bool_)
    for cutoff in cutoffs:
        values = training_set.values[training_set.as_of_us == cutoff]
        constant &= (values == values[:1]).all(axis=0) | np.isnan(values).all(axis=0)
    return constant


def _medians(values: Array) -> Array:
    found = np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        present = values[:, column][~np.isnan(values[:, column])]
        if present.size:
            found[column] = np.median(present)
    return found
