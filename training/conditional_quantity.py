"""Fit the distribution of a number given features: where it lies, and by unseen rows how far around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from serving.conditional_quantity import ConditionalQuantity, Location
from training.boosting import BinnedRows, boost
from training.churn_settings import TreeSettings
from training.linear_part import fit_linear_numbers
from training.thinning import evenly

__all__ = ["fit_location", "with_residuals"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_MOST_ROWS = 40_000
_MOST_STOPPING = 10_000
_LEVELS = 101
_ROWS_A_BIN = 150
_MOST_BINS = 10
_PRIOR_ROWS = 20.0


def fit_location(
    rows: BinnedRows,
    values: Array,
    numbers: Array,
    fitting: Places,
    stopping: Places,
    trees: TreeSettings,
    *,
    seed: int,
) -> Location:
    """A linear part and few small trees for the mean of a number; they are applied beside every score.

    Of many rows 40,000, evenly taken, fit them; 10,000 tell when to stop, and how the two are weighed.

    Args:
        rows: n rows in bins.
        values: the same, float64 (n, f).
        numbers: what is to be told, float64 (n,).
        fitting: places of the rows to fit on, int64.
        stopping: places of rows of other customers.
        trees: settings of trees, of which size and number are not followed.
        seed: of the trees.
    """
    fitting, stopping = evenly(fitting, _MOST_ROWS), evenly(stopping, _MOST_STOPPING)
    features = np.flatnonzero(~rows.unused).tolist()
    linear = fit_linear_numbers(values[fitting], numbers[fitting], categories=rows.categories, features=features)
    few = replace(trees, leaves=8, max_rounds=60, early_stopping_rounds=15, learning_rate=0.1)
    ones = np.ones(numbers.size)
    grown = boost(rows, fitting, stopping, numbers, ones, few, seed=seed, objective="regression")
    unseen = values[stopping]
    to_linear, to_trees, shift = _weigh(linear.margins(unseen), grown.margins(unseen), numbers[stopping])
    return Location(linear.scaled(to_linear, shift), grown, to_trees)


def _weigh(linear: Array, trees: Array, numbers: Array) -> tuple[float, float, float]:
    """Weights, not negative, of two guesses, and a shift: least squares, drawn to one half each as by 20 rows.

    Source: Breiman 1996, Stacked regressions.
    """
    design = np.column_stack([linear, trees])
    middle = design.mean(axis=0)
    centred, away = design - middle, numbers - numbers.mean()
    # twenty rows more, spread as these are, that say one half each
    prior = np.sqrt(_PRIOR_ROWS * centred.var(axis=0))
    found, _ = nnls(np.vstack([centred, np.diag(prior)]), np.concatenate([away, 0.5 * prior]))
    return float(found[0]), float(found[1]), float(numbers.mean() - middle @ found)


def with_residuals(location: Location, values: Array, numbers: Array) -> ConditionalQuantity:
    """The distribution around a location, from rows that its fit never saw.

    A quantile at level u of m residuals is the one at rank `u (m + 1)`, so that a new one lies below it with
    probability u.

    Args:
        location: where the number lies.
        values: float64 (m, f), at least one row.
        numbers: what is to be told of them, float64 (m,).
    """
    locations = location.of(values)
    residuals = numbers - locations
    n_bins = int(np.clip(numbers.size // _ROWS_A_BIN, 1, _MOST_BINS))
    cuts = np.quantile(locations, np.linspace(0.0, 1.0, n_bins + 1)[1:-1])
    edges = np.unique(cuts[cuts > locations.min()])
    bins = np.searchsorted(edges, locations, side="right")
    levels = np.linspace(0.0, 1.0, _LEVELS)
    found = np.stack([np.quantile(residuals[bins == one], levels, method="weibull") for one in range(edges.size + 1)])
    return ConditionalQuantity(location, edges, np.maximum.accumulate(found, axis=1))
