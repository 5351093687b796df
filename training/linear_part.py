"""Fit linear parts: L2 regression, logistic or of a number, on transformed features, or on some of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from serving.linear_part import Basis, LinearPart, signed_log1p
from training.thinning import evenly

__all__ = ["LINEAR_ROWS", "fit_linear_numbers", "fit_linear_part"]

Array = npt.NDArray[np.float64]
_C = 0.03
_RIDGE = 30.0
LINEAR_ROWS = 100_000
"""Of more rows only so many, evenly taken, fit a linear part."""

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
    """L2 logistic regression on transformed features: margins are log-odds of a True label.

    A number enters as signed `ln(1 + |x|)`, standardised and clipped at 5 deviations, 0 where it is missing, with an
    indicator of that for each feature that has any missing. A category has an indicator for each code seen. A feature
    that does not vary is left out. Of many rows 100,000, evenly taken, are enough: the few hundred coefficients then
    lose less than .001 of log-loss.

    Args:
        values: float64 (n, f), NaN is missing.
        labels: bool (n,), True is churned.
        weights: float64 (n,), positive.
        categories: for each categorical feature, by its place, how many codes it has.
        features: the places of the features to use; all by default.
        c: the inverse of the L2 penalty, above 0.
    """
    taken = evenly(np.arange(labels.size), LINEAR_ROWS)
    values, labels, weights = values[taken], labels[taken], weights[taken]
    bases, design = _designed(values, categories, features)
    if not bases or labels.all() or not labels.any():
        share = float(np.clip(np.average(labels, weights=weights), 1e-6, 1 - 1e-6))
        return LinearPart(values.shape[1], float(np.log(share / (1 - share))), ())
    with warnings.catch_warnings():
        # a fit that stops early ranks as well; what matters is judged on held-out rows
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=c, solver="newton-cholesky").fit(design, labels, sample_weight=weights)
    return _part(values.shape[1], bases, fitted.coef_[0], float(fitted.intercept_[0]))


def fit_linear_numbers(
    values: Array,
    numbers: Array,
    *,
    categories: Mapping[int, int] | None = None,
    features: Sequence[int] | None = None,
) -> LinearPart:
    """Ridge regression of `numbers`, float64 (n,), on the same transformed features as `fit_linear_part`."""
    bases, design = _designed(values, categories, features)
    if not bases:
        return LinearPart(values.shape[1], float(numbers.mean()), ())
    fitted = Ridge(alpha=_RIDGE).fit(design, numbers)
    return _part(values.shape[1], bases, fitted.coef_, float(fitted.intercept_))


def _part(n_features: int, bases: list[Basis], coefficients: Array, intercept: float) -> LinearPart:
    found = (replace(basis, coefficient=float(c)) for basis, c in zip(bases, coefficients, strict=True))
    return LinearPart(n_features, intercept, tuple(found))


def _designed(
    values: Array, categories: Mapping[int, int] | None, features: Sequence[int] | None
) -> tuple[list[Basis], Array]:
    """The bases of all features used, and the matrix of what each is for every row, float64 (n, b)."""
    coded = categories or {}
    bases: list[Basis] = []
    columns: list[Array] = []
    for feature in range(values.shape[1]) if features is None else sorted(features):
        for basis, column in _design(np.ascontiguousarray(values[:, feature]), feature, coded.get(feature)):
            bases.append(basis)
            columns.append(column)
    return bases, np.column_stack(columns) if columns else np.empty((values.shape[0], 0))


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
