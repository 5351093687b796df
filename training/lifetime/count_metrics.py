"""How good a forecast of counts is: do its intervals hold what they say, and how far is the whole of it off."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.errors import DataError

__all__ = ["randomised_coverage", "ranked_probability_scores"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def randomised_coverage(probabilities: Floats, counts: Ints, low: float = 0.1, high: float = 0.9) -> Floats:
    """For each customer the chance that a count, made continuous at random, lies between two quantiles, float64 (n,).

    A count has no exact tenth or nine tenths: with P(0) = .85, p10 and p90 are 0 and 1 and would cover far more than
    80%. So a count k counts as a draw from `[F(k - 1), F(k)]`; the share of that stretch inside `[low, high]` is taken
    in place of a draw. If the forecast is right the mean is `high - low`.

    Args:
        probabilities: float64 (n, m + 1), P(k) for k = 0 .. m - 1, and last P(m or more).
        counts: int64 (n,), what happened.
        low: share below the interval.
        high: share below the interval's upper end.

    Raises:
        DataError: there are not as many counts as forecasts.

    Source: Czado, Gneiting and Held 2009, Predictive model assessment for count data, Biometrics 65, equation 2.

    >>> randomised_coverage(np.array([[0.85, 0.1, 0.05]] * 3), np.array([0, 1, 2])).round(3).tolist()
    [0.882, 0.5, 0.0]
    """
    _same_length(probabilities, counts)
    reached = np.cumsum(probabilities, axis=1)
    rows, column = np.arange(counts.size), np.minimum(counts, probabilities.shape[1] - 1)
    upper, mass = reached[rows, column], np.maximum(probabilities[rows, column], np.finfo(np.float64).tiny)
    inside = np.minimum(upper, high) - np.maximum(upper - mass, low)
    found: Floats = np.clip(inside / mass, 0.0, 1.0)
    return found


def ranked_probability_scores(probabilities: Floats, counts: Ints) -> Floats:
    """`sum over k of (F(k) - [count <= k])^2` for each customer, float64 (n,); lower is better, in orders.

    For a forecast that names one number for certain it is the absolute error.

    Args:
        probabilities: float64 (n, m + 1), P(k) for k = 0 .. m - 1, and last P(m or more).
        counts: int64 (n,), what happened.

    Raises:
        DataError: there are not as many counts as forecasts.

    Source: Epstein 1969, A scoring system for probability forecasts of ranked categories, J. of Applied Meteorology 8.

    >>> ranked_probability_scores(np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]), np.array([0, 0])).tolist()
    [2.0, 0.25]
    """
    _same_length(probabilities, counts)
    happened = counts[:, None] <= np.arange(probabilities.shape[1])[None, :]
    found: Floats = ((np.cumsum(probabilities, axis=1) - happened) ** 2).sum(axis=1)
    return found


def _same_length(probabilities: Floats, counts: Ints) -> None:
    if probabilities.shape[0] != counts.shape[0]:
        raise DataError(f"{probabilities.shape[0]} forecasts and {counts.shape[0]} counts; give one of each a customer")
