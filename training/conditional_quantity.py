"""Fit the distribution of a number given features: small trees for where it lies, unseen rows for how far around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serving.conditional_quantity import ConditionalQuantity
from serving.trees import Trees
from training.boosting import BinnedRows, boost
from training.churn_settings import TreeSettings

__all__ = ["fit_locations", "with_residuals"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_MOST_ROWS = 100_000
_MOST_STOPPING = 20_000
_LEVELS = 101
_ROWS_A_BIN = 150
_MOST_BINS = 10


def fit_locations(
    rows: BinnedRows, fitting: Places, stopping: Places, numbers: Array, trees: TreeSettings, *, seed: int
) -> Trees:
    """Few small trees for the mean of `numbers`, float64 (n,); they are applied beside every score.

    Of many rows 100,000, evenly taken, fit them, and 20,000 tell when to stop.
    """
    few = replace(trees, leaves=8, max_rounds=60, early_stopping_rounds=15, learning_rate=0.1)
    return boost(
        rows,
        _some(fitting, _MOST_ROWS),
        _some(stopping, _MOST_STOPPING),
        numbers,
        np.ones(numbers.size),
        few,
        seed=seed,
        objective="regression",
    )


def _some(places: Places, most: int) -> Places:
    return places[:: max(1, -(-places.size // most))]


def with_residuals(trees: Trees, values: Array, numbers: Array) -> ConditionalQuantity:
    """The distribution around the trees' locations, from rows that they never saw.

    A quantile at level u of m residuals is the one at rank `u (m + 1)`, so that a new one lies below it with
    probability u.

    Args:
        trees: the locations.
        values: float64 (m, f), at least one row.
        numbers: what is to be told of them, float64 (m,).
    """
    locations = trees.margins(values)
    residuals = numbers - locations
    n_bins = int(np.clip(numbers.size // _ROWS_A_BIN, 1, _MOST_BINS))
    cuts = np.quantile(locations, np.linspace(0.0, 1.0, n_bins + 1)[1:-1])
    edges = np.unique(cuts[cuts > locations.min()])
    bins = np.searchsorted(edges, locations, side="right")
    levels = np.linspace(0.0, 1.0, _LEVELS)
    found = np.stack([np.quantile(residuals[bins == one], levels, method="weibull") for one in range(edges.size + 1)])
    return ConditionalQuantity(trees, edges, np.maximum.accumulate(found, axis=1))
