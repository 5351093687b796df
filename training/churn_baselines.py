"""What a churn model must beat: silence alone, a logistic model on the same features, and BG/NBD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from features.compute import FeatureTable, compute
from features.customer_view import CustomerView
from features.errors import DataError, NotEnoughDataError
from features.feature_set import FeatureSet
from serving.calibration import BetaCalibrator
from training.calibration import fit_calibrator
from training.churn_problem import ChurnProblem
from training.lifetime.bg_nbd import fit_bg_nbd
from training.lifetime.order_histories import WEEK_DAYS
from training.linear_part import fit_linear_part
from training.training_set import TrainingSet

__all__ = [
    "Baseline",
    "fit_baselines",
    "fit_bg_nbd_baselines",
    "fit_logistic_model",
    "fit_recency_rule",
    "repeat_buying",
]

Array = npt.NDArray[np.float64]
Margins = Callable[[Array], Array]
RECENCY = "orders_recency_days"
ORDERS, TENURE = "orders_count_all", "tenure_days"
_UNCHANGED = BetaCalibrator(1.0, 1.0, 0.0)
_SURE = 1e-9
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Baseline:
    """A fitted baseline, calibrated on the same slice as the model it is compared with unless its meaning says not.

    `margins` maps feature values, float64 (n, f), to log-odds, float64 (n,). `held_out` is what was said of the rows it
    was calibrated on by fits that left them out, float64 (n,) probabilities, for choices that fitted rows would
    flatter; None where it is not kept.
    """

    name: str
    meaning: str
    margins: Callable[[Array], Array]
    calibrator: BetaCalibrator
    held_out: Array | None = None

    def probabilities(self, values: Array) -> Array:
        """Probability of churning, float64 (n,)."""
        return self.calibrator.probabilities(self.margins(values))


def fit_baselines(
    training_set: TrainingSet,
    calibration_set: TrainingSet | None,
    everybody: FeatureTable | None = None,
    problem: ChurnProblem | None = None,
) -> tuple[Baseline, ...]:
    """The recency rule and the logistic model, always both; and BG/NBD where it is known when everybody ordered.

    Args:
        training_set: rows to fit on.
        calibration_set: rows to calibrate on; None for those of the latest training cut-off, each customer by a fit
            that left them out, as `fit_churn` does.
        everybody: of `repeat_buying`; None where the customers come without events.
        problem: the churn question.
    """
    found = (fit_recency_rule(training_set, calibration_set), fit_logistic_model(training_set, calibration_set))
    if everybody is None or problem is None:
        return found
    latest = _latest(training_set) if calibration_set is None else calibration_set
    return (*found, *fit_bg_nbd_baselines(everybody, latest, problem))


def repeat_buying(view: CustomerView, feature_set: FeatureSet, as_of_us: int) -> FeatureTable | None:
    """What BG/NBD reads of everybody known at an instant, of whoever is eligible or long gone.

    None if the feature set lacks the number of orders, or the days since the first or the last.
    """
    read = tuple(feature for feature in feature_set if feature.name in {ORDERS, TENURE, RECENCY})
    return compute(view, FeatureSet("repeat_buying", read), as_of_us) if len(read) == 3 else None


def fit_recency_rule(training_set: TrainingSet, calibration_set: TrainingSet | None) -> Baseline:
    """The longer since the last order, the likelier gone: ranks by days since the last order and nothing else.

    A logistic curve in `ln(1 + days)`, its slope kept positive, makes a probability of it; the ranking stays.

    Raises:
        DataError: the feature set has no `orders_recency_days`.
    """
    if RECENCY not in training_set.feature_names:
        raise DataError(f"the recency rule needs the feature {RECENCY}; the feature set lacks it")
    fit = partial(_recency_margins, training_set.feature_names.index(RECENCY))
    return _calibrated("recency", "days since the last order alone", fit, training_set, calibration_set)


def _recency_margins(column: int, rows: TrainingSet) -> Margins:
    silence = np.log1p(_filled(rows.values[:, column]))
    centre, spread = float(silence.mean()), float(silence.std()) or 1.0
    curve = LogisticRegression(C=0.1).fit(
        ((silence - centre) / spread)[:, None], rows.labels, sample_weight=rows.weights
    )
    slope, intercept = max(float(curve.coef_[0, 0]), 1e-3), float(curve.intercept_[0])

    def margins(values: Array) -> Array:
        return intercept + slope * (np.log1p(_filled(values[:, column])) - centre) / spread

    return margins


def fit_logistic_model(training_set: TrainingSet, calibration_set: TrainingSet | None) -> Baseline:
    """L2 logistic regression on all features: signed `ln(1 + |x|)`, standardised, clipped at 5 deviations.

    A missing value is the mean, with an indicator column for each feature that has any missing in training.
    """

    def fit(rows: TrainingSet) -> Margins:
        return fit_linear_part(rows.values, rows.labels, rows.weights).margins

    return _calibrated("logistic", "logistic regression on all features", fit, training_set, calibration_set)


def fit_bg_nbd_baselines(
    everybody: FeatureTable, calibration_set: TrainingSet, problem: ChurnProblem
) -> tuple[Baseline, ...]:
    """BG/NBD's probability of no order in the window: `bg_nbd`, calibrated, and `bg_nbd_published`, as it comes.

    It is fitted on all customers of the table who ever ordered, as the model wants it, and needs no labels. The second
    is left out where the question is another than silence, of which it gives no probability; both are where nobody
    ordered twice. Orders are told apart as the features do: two of one day are two.

    Source: Fader, Hardie and Lee 2005, see `training.lifetime.bg_nbd`.
    """
    try:
        model = fit_bg_nbd(*_histories(everybody.values[everybody.column(ORDERS) > 0], everybody.names))
    except NotEnoughDataError:
        return ()
    names = calibration_set.feature_names
    weeks, gap_weeks = problem.horizons_days[-1] / WEEK_DAYS, problem.gap_days / WEEK_DAYS

    def margins(values: Array) -> Array:
        silent = model.probability_silent(*_histories(values, names), weeks, gap_weeks)
        silent = np.clip(silent, _SURE, 1.0 - _SURE)
        found: Array = np.log(silent) - np.log1p(-silent)
        return found

    calibrator = fit_calibrator(margins(calibration_set.values), calibration_set.labels, calibration_set.weights)
    calibrated = Baseline("bg_nbd", "BG/NBD: orders at an own pace until one leaves", margins, calibrator)
    if problem.kind != "silence":
        return (calibrated,)
    return (calibrated, Baseline("bg_nbd_published", "BG/NBD as published, not calibrated", margins, _UNCHANGED))


def _histories(values: Array, names: tuple[str, ...]) -> tuple[Array, Array, Array]:
    """Repeat orders, weeks from first to last order, and weeks since the first; who never ordered as if just now."""
    orders, tenure, silence = (np.nan_to_num(values[:, names.index(name)]) for name in (ORDERS, TENURE, RECENCY))
    age = np.maximum(tenure, 0.0) / WEEK_DAYS
    recency = np.clip(age - silence / WEEK_DAYS, 0.0, age)
    again = (orders > 1) & (recency > 0)
    return np.where(again, orders - 1.0, 0.0), np.where(again, recency, 0.0), age


def _calibrated(
    name: str,
    meaning: str,
    fit: Callable[[TrainingSet], Margins],
    training_set: TrainingSet,
    calibration_set: TrainingSet | None,
) -> Baseline:
    margins = fit(training_set)
    if calibration_set is not None:
        unseen, said = calibration_set, margins(calibration_set.values)
    else:
        unseen = _latest(training_set)
        said = np.empty(unseen.n_rows)
        for fold in range(_FOLDS):
            left_out = unseen.customer_rows % _FOLDS == fold
            said[left_out] = fit(training_set.take(training_set.customer_rows % _FOLDS != fold))(
                unseen.values[left_out]
            )
    return Baseline(name, meaning, margins, fit_calibrator(said, unseen.labels, unseen.weights))


def _latest(rows: TrainingSet) -> TrainingSet:
    return rows.take(rows.as_of_us == rows.cutoffs[-1])


def _filled(days: Array) -> Array:
    """Eligible customers have ordered; should one not have, the silence counts as ten years."""
    return np.where(np.isnan(days), 3_650.0, np.maximum(days, 0.0))
