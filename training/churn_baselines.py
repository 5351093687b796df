"""What a churn model must beat: silence alone, and a logistic model on the same features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from features.errors import DataError
from serving.calibration import BetaCalibrator
from training.calibration import fit_calibrator
from training.linear_part import fit_linear_part
from training.training_set import TrainingSet

__all__ = ["Baseline", "fit_baselines", "fit_logistic_model", "fit_recency_rule"]

Array = npt.NDArray[np.float64]
RECENCY = "orders_recency_days"


@dataclass(frozen=True, eq=False)
class Baseline:
    """A fitted baseline, calibrated on the same slice as the model it is compared with.

    `margins` maps feature values, float64 (n, f), to log-odds, float64 (n,).
    """

    name: str
    meaning: str
    margins: Callable[[Array], Array]
    calibrator: BetaCalibrator

    def probabilities(self, values: Array) -> Array:
        """Calibrated probability of churning, float64 (n,)."""
        return self.calibrator.probabilities(self.margins(values))


def fit_baselines(training_set: TrainingSet, calibration_set: TrainingSet) -> tuple[Baseline, ...]:
    """The recency rule and the logistic model, always both."""
    return (fit_recency_rule(training_set, calibration_set), fit_logistic_model(training_set, calibration_set))


def fit_recency_rule(training_set: TrainingSet, calibration_set: TrainingSet) -> Baseline:
    """The longer since the last order, the likelier gone: ranks by days since the last order and nothing else.

    A logistic curve in `ln(1 + days)`, its slope kept positive, makes a probability of it; the ranking stays.

    Raises:
        DataError: the feature set has no `orders_recency_days`.
    """
    if RECENCY not in training_set.feature_names:
        raise DataError(f"the recency rule needs the feature {RECENCY}; the feature set lacks it")
    column = training_set.feature_names.index(RECENCY)
    silence = np.log1p(_filled(training_set.values[:, column]))
    centre, spread = float(silence.mean()), float(silence.std()) or 1.0
    curve = LogisticRegression(C=0.1).fit(
        ((silence - centre) / spread)[:, None], training_set.labels, sample_weight=training_set.weights
    )
    slope, intercept = max(float(curve.coef_[0, 0]), 1e-3), float(curve.intercept_[0])

    def margins(values: Array) -> Array:
        return intercept + slope * (np.log1p(_filled(values[:, column])) - centre) / spread

    return _calibrated("recency", "days since the last order alone", margins, calibration_set)


def fit_logistic_model(training_set: TrainingSet, calibration_set: TrainingSet) -> Baseline:
    """L2 logistic regression on all features: signed `ln(1 + |x|)`, standardised, clipped at 5 deviations.

    A missing value is the mean, with an indicator column for each feature that has any missing in training.
    """
    fitted = fit_linear_part(training_set.values, training_set.labels, training_set.weights)
    return _calibrated("logistic", "logistic regression on all features", fitted.margins, calibration_set)


def _calibrated(name: str, meaning: str, margins: Callable[[Array], Array], calibration_set: TrainingSet) -> Baseline:
    calibrator = fit_calibrator(margins(calibration_set.values), calibration_set.labels, calibration_set.weights)
    return Baseline(name, meaning, margins, calibrator)


def _filled(days: Array) -> Array:
    """Eligible customers have ordered; should one not have, the silence counts as ten years."""
    return np.where(np.isnan(days), 3_650.0, np.maximum(days, 0.0))
