"""Fit the margin of a churn model: a linear part and boosted trees, weighed by what held-out customers show.

On few rows a logistic model ranks better than trees, on many the trees find what it cannot say; a mean of the two was
better than either on two real shops, and the weights tell which is which. Both are judged on customers who took no part
in fitting them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from features.errors import NotEnoughDataError
from features.instants import DAY_US
from serving.calibration import sigmoid, softplus
from serving.linear_part import LinearPart
from serving.trees import Trees
from training.boosting import BinnedRows, boost, joined
from training.churn_settings import ChurnSettings
from training.linear_part import LINEAR_ROWS, fit_linear_part
from training.thinning import evenly
from training.training_set import TrainingSet

__all__ = [
    "FittedMargin",
    "Part",
    "calendar_columns",
    "customer_parts",
    "fit_margin",
    "fit_rule",
    "outcome_weights",
    "weigh",
]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_SEASON_CYCLES = 2
_PRIOR_ROWS = 20.0


@dataclass(frozen=True, eq=False)
class Part:
    """Places, int64 ascending, of the rows that fit and of those of other customers that judge."""

    fitting: Places
    held_out: Places


@dataclass(frozen=True, eq=False)
class FittedMargin:
    """The two parts, their weights folded in; and honest margins of training rows.

    held_out: int64 (m,), ascending places of training rows. held_out_margins: float64 (m,), what the same recipe says
    of them when fitted without their customers.
    """

    linear: LinearPart
    trees: Trees | None
    tree_weight: float
    held_out: Places
    held_out_margins: Array

    def margins(self, values: Array) -> Array:
        """Log-odds before calibration, float64 (n,), for values float64 (n, f)."""
        found = self.linear.margins(values)
        if self.trees is not None:
            found += self.tree_weight * self.trees.margins(values)
        return found


def customer_parts(rows: TrainingSet, settings: ChurnSettings) -> tuple[Part, ...]:
    """Ways to part the customers: several folds where rows are few, one of `validation_share` where they are many."""
    rng = np.random.default_rng(settings.seed)
    customers, which = np.unique(rows.customer_rows, return_inverse=True)
    if rows.n_rows < settings.fold_below_rows:
        fold = np.empty(customers.size, np.int64)
        fold[rng.permutation(customers.size)] = np.arange(customers.size) % settings.folds
        held_out = [fold[which] == one for one in range(settings.folds)]
    else:
        chosen = np.zeros(customers.size, np.bool_)
        chosen[rng.permutation(customers.size)[: round(customers.size * settings.validation_share)]] = True
        held_out = [chosen[which]]
    parts = tuple(Part(np.flatnonzero(~mask), np.flatnonzero(mask)) for mask in held_out)
    for part in parts:
        if len(set(rows.labels[part.held_out].tolist())) < 2 or len(set(rows.labels[part.fitting].tolist())) < 2:
            raise NotEnoughDataError(
                f"{part.held_out.size} rows decide when boosting stops, all of one outcome; raise validation_share, or "
                "import more"
            )
    return parts


def fit_margin(
    rows: TrainingSet,
    binned: BinnedRows,
    parts: tuple[Part, ...],
    settings: ChurnSettings,
    *,
    categories: Mapping[int, int],
    unused: npt.NDArray[np.bool_],
) -> FittedMargin:
    """Fit both parts on each part of the customers, weigh them where held out, and fold all into one.

    The trees are the mean over the parts; the linear part is fitted anew on all rows where there are several.
    """
    weights = rows.weights * outcome_weights(rows.labels, settings)
    features = np.flatnonzero(~unused).tolist()
    few = len(parts) > 1
    settled = settings.trees.for_few_rows() if few else settings.trees

    def linear_on(places: Places) -> LinearPart:
        places = evenly(places, LINEAR_ROWS)
        return fit_linear_part(
            rows.values[places],
            rows.labels[places],
            weights[places],
            categories=categories,
            features=features,
            c=settings.linear_c,
        )

    boosters, linears, seen = [], [], []
    target = rows.labels.astype(np.float64)
    for number, part in enumerate(parts):
        linear = linear_on(part.fitting)
        trees = boost(binned, part.fitting, part.held_out, target, weights, settled, seed=settings.seed + number)
        values = rows.values[part.held_out]
        seen.append(np.column_stack([linear.margins(values), trees.margins(values)]))
        boosters.append(trees)
        linears.append(linear)
    held_out = np.concatenate([part.held_out for part in parts])
    both = np.concatenate(seen)
    to_linear, to_trees, shift = weigh(both, rows.labels[held_out], weights[held_out])
    order = np.argsort(held_out, kind="stable")
    linear = linear_on(np.arange(rows.n_rows)) if few else linears[0]
    return FittedMargin(
        linear=linear.scaled(to_linear, shift),
        trees=joined(boosters),
        tree_weight=to_trees / len(parts),
        held_out=held_out[order],
        held_out_margins=(both @ np.array([to_linear, to_trees]) + shift)[order],
    )


def fit_rule(
    rows: TrainingSet,
    parts: tuple[Part, ...],
    settings: ChurnSettings,
    features: list[int],
    *,
    categories: Mapping[int, int] | None = None,
) -> FittedMargin:
    """A baseline: the linear part alone, on few features."""
    weights = rows.weights * outcome_weights(rows.labels, settings)

    def linear_on(places: Places) -> LinearPart:
        places = evenly(places, LINEAR_ROWS)
        return fit_linear_part(
            rows.values[places], rows.labels[places], weights[places], categories=categories, features=features
        )

    seen = np.concatenate([linear_on(part.fitting).margins(rows.values[part.held_out]) for part in parts])
    held_out = np.concatenate([part.held_out for part in parts])
    order = np.argsort(held_out, kind="stable")
    return FittedMargin(linear_on(np.arange(rows.n_rows)), None, 1.0, held_out[order], seen[order])


def calendar_columns(rows: TrainingSet) -> npt.NDArray[np.bool_]:
    """Mask, bool (f,), of the columns equal for all customers of each cut-off, where less than two seasons were seen.

    Such a column is the calendar. Over fewer than two turns of the year it can only memorise the base rate of each
    training cut-off, which the next cut-off does not share.
    """
    cutoffs = rows.cutoffs
    if cutoffs[-1] - cutoffs[0] >= _SEASON_CYCLES * 365 * DAY_US:
        return np.zeros(len(rows.feature_names), dtype=np.bool_)
    constant = np.ones(len(rows.feature_names), dtype=np.bool_)
    for cutoff in cutoffs:
        still = np.flatnonzero(constant)
        values = rows.values[np.ix_(rows.as_of_us == cutoff, still)]
        constant[still] = (values == values[:1]).all(axis=0) | np.isnan(values).all(axis=0)
    return constant


def outcome_weights(labels: npt.NDArray[np.bool_], settings: ChurnSettings) -> Array:
    """1 each where `balance` is 0; at 1 both outcomes weigh the same. Calibration undoes the shift of the level."""
    rare = float(labels.mean())
    ratio = ((1.0 - rare) / rare) ** settings.balance if 0 < rare < 1 else 1.0
    found = np.where(labels, ratio, 1.0)
    return np.asarray(found / found.mean(), dtype=np.float64)


def weigh(
    both: Array, labels: npt.NDArray[np.bool_], weights: Array, drawn_to: tuple[float, float] = (0.5, 0.5)
) -> tuple[float, float, float]:
    """Weights, not negative, of the linear margin and the trees' mean, and a shift: logistic regression on the two.

    They are drawn to `drawn_to`, by default one half each, as by 20 rows.

    Source: Wolpert 1992, Stacked generalization; Breiman 1996, Stacked regressions (weights that are not negative).
    """
    design = np.column_stack([both, np.ones(both.shape[0])])
    truth = labels.astype(np.float64)
    total = float(weights.sum())
    middle = np.array([*drawn_to, 0.0])
    pull = _PRIOR_ROWS / total

    def loss(found: Array) -> tuple[float, Array]:
        logits = design @ found
        away = found - middle
        away[2] = 0.0  # the level is free
        value = float(np.sum(weights * (softplus(logits) - truth * logits)) / total + 0.5 * pull * float(away @ away))
        return value, design.T @ (weights * (sigmoid(logits) - truth)) / total + pull * away

    bounds = [(0.0, None), (0.0, None), (None, None)]
    found = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    to_linear, to_trees, shift = (float(value) for value in found.x)
    return to_linear, to_trees, shift
