"""Try settings inside the training rows alone: fit on some, measure on others, later ones where there are any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.instants import DAY_US
from serving.calibration import softplus
from training.calibration import fit_calibrator
from training.churn_settings import ChurnSettings
from training.training_set import TrainingSet
from training.tuned import TuningSettings

__all__ = ["FitMargins", "Validation", "validation_of"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FitMargins = Callable[[TrainingSet, ChurnSettings], Callable[[Array], Array]]
"""Fit on rows with settings; give the function from values, float64 (n, f), to margins, float64 (n,)."""

_LEAST_OF_EACH = 50


@dataclass(frozen=True, eq=False)
class Validation:
    """Pairs of rows to fit on and rows to measure on; nothing outside of the training rows is looked at.

    by: "later_cutoff" - fitted where label windows end at or before the latest cut-off, and measured at that one;
    "customers" - folds of customers, where the cut-offs lie too close together for that.
    """

    pairs: tuple[tuple[TrainingSet, TrainingSet], ...]
    by: str

    @property
    def customers(self) -> npt.NDArray[np.int64]:
        """int64: the customer of each row measured on, in the order of `losses`."""
        return np.concatenate([measured.customer_rows for _, measured in self.pairs])

    def losses(self, fit: FitMargins, settings: ChurnSettings) -> Array:
        """Log-loss of each row measured on, float64; the mean is the figure.

        Margins are calibrated as a model's are, each half of the measured customers by the other half: what another
        season moves is no fault of the settings.
        """
        found = []
        for fitting, measured in self.pairs:
            margins = fit(fitting, settings)(measured.values)
            found.append(_calibrated_losses(margins, measured, settings.seed))
        return np.concatenate(found)


def validation_of(rows: TrainingSet, settings: ChurnSettings, tuning: TuningSettings) -> Validation:
    """How settings are tried on these training rows."""
    rows = _drawn(rows, settings.seed, tuning.max_rows)
    latest = rows.cutoffs[-1]
    before = rows.as_of_us <= latest - settings.horizon_us - settings.embargo_days * DAY_US
    n_before = np.unique(rows.as_of_us[before]).size
    if n_before >= settings.min_train_cutoffs:
        fitting, measured = rows.take(before), rows.take(rows.as_of_us == latest)
        if min(_fewest(fitting), _fewest(measured)) >= _LEAST_OF_EACH:
            return Validation(((fitting, measured),), "later_cutoff")
    fold = _fold_of(rows.customer_rows, tuning.folds, settings.seed)
    pairs = tuple((rows.take(fold != place), rows.take(fold == place)) for place in range(tuning.folds))
    return Validation(pairs, "customers")


def _drawn(rows: TrainingSet, seed: int, limit: int) -> TrainingSet:
    if rows.n_rows <= limit:
        return rows
    kept, _ = rows.split_customers(1.0 - limit / rows.n_rows, np.random.default_rng([seed, 5]))
    return kept


def _fold_of(customers: npt.NDArray[np.int64], folds: int, seed: int) -> npt.NDArray[np.int64]:
    distinct, place = np.unique(customers, return_inverse=True)
    fold: npt.NDArray[np.int64] = np.random.default_rng([seed, 6]).permutation(distinct.size)[place] % folds
    return fold


def _fewest(rows: TrainingSet) -> int:
    churned = int(rows.labels.sum())
    return min(churned, rows.n_rows - churned)


def _calibrated_losses(margins: Array, measured: TrainingSet, seed: int) -> Array:
    half = _fold_of(measured.customer_rows, 2, seed) == 0
    log_odds = np.empty(measured.n_rows)
    for learnt in (half, ~half):
        calibrator = fit_calibrator(margins[learnt], measured.labels[learnt], measured.weights[learnt])
        log_odds[~learnt] = calibrator.log_odds(margins[~learnt])
    losses: Array = softplus(np.where(measured.labels, -log_odds, log_odds))
    return losses
