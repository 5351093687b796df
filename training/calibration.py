"""Fit the calibrator that serving applies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from features.errors import DataError, NotEnoughDataError
from serving.calibration import BetaCalibrator, sigmoid, softplus

__all__ = ["fit_calibrator"]

Array = npt.NDArray[np.float64]
_SMALLEST_SLOPE = 0.05
_PRIOR_ROWS = 20.0


def fit_calibrator(margins: Array, labels: npt.NDArray[np.bool_], weights: Array | None = None) -> BetaCalibrator:
    """Maximum likelihood with a weak pull to the identity, worth about 20 rows.

    Args:
        margins: log-odds before calibration, float64 (n,).
        labels: bool (n,), True is churned.
        weights: positive, float64 (n,); None is 1 for each.

    Raises:
        DataError: a margin is not finite.
        NotEnoughDataError: there is no row of one outcome.

    Source: Kull, Silva Filho and Flach 2017, Beta calibration, AISTATS, equation 4; slopes bounded below by 0.05.
    """
    if not np.isfinite(margins).all():
        raise DataError("a margin to calibrate is not finite; check the model")
    n_churned = int(labels.sum())
    if n_churned in (0, labels.shape[0]):
        raise NotEnoughDataError(
            f"calibration has {n_churned} churned of {labels.shape[0]} rows; both outcomes are needed"
        )
    weight = np.ones(labels.shape[0]) if weights is None else weights
    total = float(weight.sum())
    design = np.column_stack([-softplus(-margins), softplus(margins), np.ones_like(margins)])
    truth = labels.astype(np.float64)
    identity = np.array([1.0, 1.0, 0.0])
    pull = _PRIOR_ROWS / total

    def loss(parameters: Array) -> tuple[float, Array]:
        logits = design @ parameters
        away = parameters - identity
        away[2] = 0.0  # the base rate is free
        value = float(np.sum(weight * (softplus(logits) - truth * logits)) / total + 0.5 * pull * float(away @ away))
        gradient = design.T @ (weight * (sigmoid(logits) - truth)) / total + pull * away
        return value, gradient

    bounds = [(_SMALLEST_SLOPE, None), (_SMALLEST_SLOPE, None), (None, None)]
    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    a, b, c = (float(v) for v in found.x)
    return BetaCalibrator(a, b, c)
