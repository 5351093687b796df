"""Fit the margin of a churn model: a linear part, the law of silence and boosted trees, weighed by held-out customers.

On few rows a logistic model ranks better than trees, on many the trees find what it cannot say, and where customers
leave unseen the law of silence says with twenty numbers what trees cannot learn from a hundred thousand rows. The
weights tell which is which. All are judged on customers who took no part in fitting them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from features.errors import NotEnoughDataError
from features.instants import DAY_US
from serving.calibration import sigmoid, softplus
from serving.latent_attrition import LatentAttrition, readable
from serving.linear_part import LinearPart
from serving.trees import Trees
from training.boosting import BinnedRows, boost, joined
from training.churn_settings import ChurnSettings
from training.latent_attrition import NEEDED, fit_latent_attrition
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
_JUDGING_ROWS = 50_000


@dataclass(frozen=True, eq=False)
class Part:
    """Places, int64 ascending, of the rows that fit and of those of other customers that judge."""

    fitting: Places
    held_out: Places


@dataclass(frozen=True, eq=False)
class FittedMargin:
    """The parts, their weights folded in; and honest margins of training rows.

    held_out: int64 (m,), ascending places of training rows. held_out_margins: float64 (m,), what the same recipe says
    of them when fitted without their customers.
    """

    linear: LinearPart
    trees: Trees | None
    tree_weight: float
    held_out: Places
    held_out_margins: Array
    attrition: LatentAttrition | None = None

    def margins(self, values: Array) -> Array:
        """Log-odds before calibration, float64 (n,), for values float64 (n, f)."""
        found = self.linear.margins(values)
        if self.trees is not None:
            found += self.tree_weight * self.trees.margins(values)
        if self.attrition is not None:
            found += self.attrition.margins(values)
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
    """Fit all on each part of the customers, weigh them where held out, and fold them into one.

    The trees are the mean over the parts; the rest is fitted anew on all rows where there are several. The law of
    silence takes part where the question waits for an order and its features may be learnt from. Of many rows held
    out 50,000, evenly taken, tell how all are weighed.
    """
    weights = rows.weights * outcome_weights(rows.labels, settings)
    fitting = _Fitting(rows, weights, settings, categories, unused)
    few = len(parts) > 1
    settled = settings.trees.for_few_rows() if few else settings.trees
    target = rows.labels.astype(np.float64)
    boosters, rest, seen = [], [], []
    for number, part in enumerate(parts):
        linear, attrition = fitting.linear(part.fitting), fitting.attrition(part.fitting)
        trees = boost(binned, part.fitting, part.held_out, target, weights, settled, seed=settings.seed + number)
        values = rows.values[evenly(part.held_out, _JUDGING_ROWS)]
        said = [one.margins(values) for one in (linear, trees, attrition) if one is not None]
        seen.append(np.column_stack(said))
        boosters.append(trees)
        rest.append((linear, attrition))
    held_out = np.concatenate([evenly(part.held_out, _JUDGING_ROWS) for part in parts])
    said_of_all = np.concatenate(seen)
    shares, shift = weigh(said_of_all, rows.labels[held_out], weights[held_out])
    order = np.argsort(held_out, kind="stable")
    everything = np.arange(rows.n_rows)
    linear, attrition = (fitting.linear(everything), fitting.attrition(everything)) if few else rest[0]
    return FittedMargin(
        linear=linear.scaled(shares[0], shift),
        trees=joined(boosters),
        tree_weight=shares[1] / len(parts),
        held_out=held_out[order],
        held_out_margins=(said_of_all @ np.array(shares) + shift)[order],
        attrition=None if attrition is None else attrition.scaled(shares[2]),
    )


@dataclass(frozen=True, eq=False)
class _Fitting:
    """How the parts beside the trees are fitted on some of the rows."""

    rows: TrainingSet
    weights: Array
    settings: ChurnSettings
    categories: Mapping[int, int]
    unused: npt.NDArray[np.bool_]

    def linear(self, places: Places) -> LinearPart:
        places = evenly(places, LINEAR_ROWS)
        return fit_linear_part(
            self.rows.values[places],
            self.rows.labels[places],
            self.weights[places],
            categories=self.categories,
            features=np.flatnonzero(~self.unused).tolist(),
            c=self.settings.linear_c,
        )

    def attrition(self, places: Places) -> LatentAttrition | None:
        problem = self.settings.problem
        if problem.awaits != "return" or not set(self.reads).issuperset(NEEDED):
            return None
        return fit_latent_attrition(self.rows, places, self.weights, problem.label_window_days, self.reads)

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """What the law of silence may read: a column that is blank, or may not be learnt from, is not read."""
        learnt = [name for name, unused in zip(self.rows.feature_names, self.unused, strict=True) if not unused]
        places = {name: self.rows.feature_names.index(name) for name in readable(learnt)}
        return tuple(name for name, place in places.items() if not np.isnan(self.rows.values[:, place]).all())


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
    said: Array, labels: npt.NDArray[np.bool_], weights: Array, drawn_to: tuple[float, ...] | None = None
) -> tuple[tuple[float, ...], float]:
    """Weights, not negative, of several margins, float64 (n, k), and a shift: logistic regression on them.

    They are drawn to `drawn_to`, by default equal shares, as by 20 rows.

    Source: Wolpert 1992, Stacked generalization; Breiman 1996, Stacked regressions (weights that are not negative).
    """
    n_parts = said.shape[1]
    design = np.column_stack([said, np.ones(said.shape[0])])
    truth = labels.astype(np.float64)
    total = float(weights.sum())
    middle = np.array([*(drawn_to or [1.0 / n_parts] * n_parts), 0.0])
    pull = _PRIOR_ROWS / total

    def loss(found: Array) -> tuple[float, Array]:
        logits = design @ found
        away = found - middle
        away[-1] = 0.0  # the level is free
        value = float(np.sum(weights * (softplus(logits) - truth * logits)) / total + 0.5 * pull * float(away @ away))
        return value, design.T @ (weights * (sigmoid(logits) - truth)) / total + pull * away

    bounds = [(0.0, None)] * n_parts + [(None, None)]
    found = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    *shares, shift = (float(value) for value in found.x)
    return tuple(shares), shift
