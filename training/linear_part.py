"""Fit the linear part of a churn model: L2 logistic regression on transformed features, or on some of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from serving.linear_part import Basis, LinearPart, signed_log1p

__all__ = ["fit_linear_part"]

Array = npt.NDArray[np.float64]
_C = 0.03
_MOST_ROWS = 100_000
_LEAST_SPREAD = 1e-9


def fit_linear_part(
    values: Array,
    labels: npt.NDArray[np.bool_],
    weights: Array,
    *,
    categories: Mapping[int, int] | None = None,
    features: Sequence[int] | None = None,
    c: float = _C,
) -> LinearPart:
    """L2 logistic regression: signed `ln(1 + |x|)`, standardised, clipped at 5 deviations; indicators beside.

    A missing number is the mean, with an indicator for each feature that has any missing. A category has an indicator
    for each code seen. A feature that does not vary is left out. Of many rows 100,000, evenly taken, are enough: the
    few hundred coefficients then lose less than .001 of log-loss.

    Args:
        values: float64 (n, f), NaN is missing.
        labels: bool (n,), True is churned; both outcomes.
        weights: float64 (n,), positive.
        categories: for each categorical feature, by its place, how many codes it has.
        features: the places of the features to use; all by default.
        c: the inverse of the L2 penalty, above 0.
    """
    taken = slice(None, None, max(1, -(-values.shape[0] // _MOST_ROWS)))
    values, labels, weights = values[taken], labels[taken], weights[taken]
    coded = categories or {}
    bases: list[Basis] = []
    columns: list[Array] = []
    for feature in range(values.shape[1]) if features is None else sorted(features):
        for basis, column in _design(np.ascontiguousarray(values[:, feature]), feature, coded.get(feature)):
            bases.append(basis)
            columns.append(column)
    if not columns or labels.all() or not labels.any():
        share = float(np.clip(np.average(labels, weights=weights), 1e-6, 1 - 1e-6))
        return LinearPart(values.shape[1], float(np.log(share / (1 - share))), ())
    with warnings.catch_warnings():
        # a fit that stops early ranks as well; what matters is judged on held-out rows
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=c, solver="newton-cholesky").fit(
            np.column_stack(columns), labels, sample_weight=weights
        )
    found = (replace(basis, coefficient=float(c)) for basis, c in zip(bases, fitted.coef_[0], strict=True))
    return LinearPart(values.shape[1], float(fitted.intercept_[0]), tuple(found))


def _design(column: Array, feature: int, n_codes: int | None) -> list[tuple[Basis, Array]]:
    """The bases of one feature, their coefficients not yet known, and what each is for every row."""
    missing = np.isnan(column)
    found: list[tuple[Basis, Array]] = []
    if n_codes is not None:
        for code in range(n_codes):
            there = (column == code).astype(np.float64)
            if 0 < there.sum() < column.size:
                found.append((Basis(feature, "category", 0.0, code=code), there))
    elif not missing.all():
        logs = signed_log1p(column)
        centre, scale = float(np.mean(logs[~missing])), float(np.std(logs[~missing]))
        if scale > _LEAST_SPREAD:
            basis = Basis(feature, "log", 0.0, centre, scale)
            standard = np.clip((logs - centre) / scale, -basis.clip, basis.clip)
            found.append((basis, np.where(missing, 0.0, standard)))
    if missing.any() and not missing.all():
        found.append((Basis(feature, "missing", 0.0), missing.astype(np.float64)))
    return found
