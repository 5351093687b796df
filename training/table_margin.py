"""Fit the margin for a table of customers: a linear part, and trees that begin from it and add what it cannot say.

How large the trees are, how many, and how much either part counts is told by customers held out in turn. Of settings
that these cannot tell apart the simplest is taken: by chance alone the best of many looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from serving.calibration import softplus
from serving.linear_part import LinearPart
from serving.trees import Trees
from training.boosting import BinnedRows, Growing, joined
from training.churn_settings import ChurnSettings, TreeSettings
from training.linear_part import fit_linear_part
from training.margin import FittedMargin, Part, outcome_weights, weigh
from training.training_set import TrainingSet

__all__ = ["RUNGS", "fit_table_margin"]

Array = npt.NDArray[np.float64]
_Weights = tuple[tuple[float, ...], float]

RUNGS = (
    TreeSettings(leaves=4, min_rows_in_leaf=30, l2=10.0, learning_rate=0.06),
    TreeSettings(leaves=8, min_rows_in_leaf=30, l2=10.0, learning_rate=0.06),
    TreeSettings(leaves=16, min_rows_in_leaf=20, l2=10.0, learning_rate=0.06),
    TreeSettings(leaves=31, min_rows_in_leaf=10, l2=5.0, learning_rate=0.06),
    TreeSettings(leaves=64, min_rows_in_leaf=5, l2=1.0, learning_rate=0.06),
)
"""Trees from the plainest to the finest; an inner choice takes one of them for each table."""

_PENALTY = 0.1
_BEGUN = 0.8  # trees begin at this share of the linear margin, so that they can say main effects in their own way
_SIZES = (0, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640, 905, 1_280, 1_810)
_LEAST_LOOKED_AT = 40
_FIRST_PARTS = 3
_RUNG_ERRORS, _SIZE_ERRORS = 1.0, 0.5


@dataclass(eq=False)
class _Curve:
    """One rung on some parts, grown step by step; `sums` holds what its trees say where held out, by size."""

    inputs: _Inputs
    trees: TreeSettings
    n_parts: int = 0
    growing: list[Growing] = field(default_factory=list)
    sums: list[list[Array]] = field(default_factory=list)
    _seen: dict[tuple[int, int], tuple[_Weights, Array]] = field(default_factory=dict)

    def use(self, n_parts: int) -> None:
        """Begin on further parts, and bring them to the size of the others."""
        n_sizes = len(self.sums[0]) if self.sums else 1
        for number in range(self.n_parts, n_parts):
            self.growing.append(self.inputs.growing(number, self.trees))
            self.sums.append([np.zeros(self.inputs.parts[number].held_out.size)])
            for place in range(1, n_sizes):
                self._grow(number, place)
        self.n_parts = n_parts

    def grow(self) -> None:
        """Grow until the best size lies well behind."""
        for place in range(len(self.sums[0]), len(_SIZES)):
            best = _SIZES[int(np.argmin([loss.mean() for loss in self.losses()]))]
            if _SIZES[place - 1] >= max(_LEAST_LOOKED_AT, 2 * best):
                break
            for number in range(self.n_parts):
                self._grow(number, place)

    def losses(self) -> list[Array]:
        """The log-loss of every row held out, float64 (m,), by size, both parts being weighed anew for each."""
        return [self.inputs.loss(self.weighed(place)[1], self.n_parts) for place in range(len(self.sums[0]))]

    def weighed(self, place: int) -> tuple[_Weights, Array]:
        """Weights of the linear margin, of the trees and the shift at a size, and the margins held out, (m,)."""
        key = (self.n_parts, place)
        if key not in self._seen:
            self._seen[key] = self._weigh(place)
        return self._seen[key]

    def _weigh(self, place: int) -> tuple[_Weights, Array]:
        linear = np.concatenate(self.inputs.seen[: self.n_parts])
        both = np.column_stack([linear, np.concatenate([sums[place] for sums in self.sums])])
        labels, weights = self.inputs.held_out(self.n_parts)
        found = weigh(both, labels, weights, drawn_to=(_BEGUN, 1.0))
        return found, both @ np.array(found[0]) + found[1]

    def _grow(self, number: int, place: int) -> None:
        values = self.inputs.rows.values[self.inputs.parts[number].held_out]
        more = self.growing[number].grow(_SIZES[place], values)
        self.sums[number].append(self.sums[number][-1] + more)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Rows with their parts; the linear part fitted on each, and what it says of the rows held out."""

    rows: TrainingSet
    binned: BinnedRows
    parts: tuple[Part, ...]
    seed: int
    linears: tuple[LinearPart, ...]
    seen: tuple[Array, ...]

    def growing(self, number: int, trees: TreeSettings) -> Growing:
        places = self.parts[number].fitting
        start = _BEGUN * self.linears[number].margins(self.rows.values[places])
        labels = self.rows.labels.astype(np.float64)
        return Growing(self.binned, places, labels, self.rows.weights, start, trees, seed=self.seed + number)

    def held_out(self, n_parts: int) -> tuple[npt.NDArray[np.bool_], Array]:
        """Labels and weights of the rows held out in the first parts."""
        places = np.concatenate([part.held_out for part in self.parts[:n_parts]])
        return self.rows.labels[places], self.rows.weights[places]

    def loss(self, margins: Array, n_parts: int) -> Array:
        labels, weights = self.held_out(n_parts)
        return weights * (softplus(margins) - labels * margins)


def fit_table_margin(
    rows: TrainingSet,
    binned: BinnedRows,
    parts: tuple[Part, ...],
    settings: ChurnSettings,
    *,
    categories: Mapping[int, int],
    unused: npt.NDArray[np.bool_],
) -> FittedMargin:
    """Fit the linear part and the trees, choose among `RUNGS` and sizes, weigh both parts, and fold all into one.

    Args:
        rows: of customers, one each.
        binned: the same rows in bins.
        parts: ways to part the customers.
        settings: of folds, seed and threads.
        categories: for each categorical feature, by its place, how many codes it has.
        unused: bool (f,), features that nothing is learnt from.
    """
    features = np.flatnonzero(~unused).tolist()
    rows = replace(rows, weights=rows.weights * outcome_weights(rows.labels, settings))

    def linear_on(places: npt.NDArray[np.int64]) -> LinearPart:
        return fit_linear_part(
            rows.values[places],
            rows.labels[places],
            rows.weights[places],
            categories=categories,
            features=features,
            c=_PENALTY,
        )

    linears = tuple(linear_on(part.fitting) for part in parts)
    seen = tuple(linear.margins(rows.values[part.held_out]) for linear, part in zip(linears, parts, strict=True))
    inputs = _Inputs(rows, binned, parts, settings.seed, linears, seen)
    curve, place = _chosen(inputs, settings)
    ((to_linear, to_trees), shift), margins = curve.weighed(place)
    linear = linear_on(np.arange(rows.n_rows)) if len(parts) > 1 else linears[0]
    held_out = np.concatenate([part.held_out for part in parts])
    order = np.argsort(held_out, kind="stable")
    return FittedMargin(
        linear=linear.scaled(to_linear, shift),
        trees=_joined(curve, place) if to_trees > 0 else None,
        tree_weight=to_trees / len(parts),
        held_out=held_out[order],
        held_out_margins=margins[order],
    )


def _chosen(inputs: _Inputs, settings: ChurnSettings) -> tuple[_Curve, int]:
    """The rung, grown on all parts, and the place of its size; the rung is told by the first parts."""
    few = min(_FIRST_PARTS, len(inputs.parts))
    curves = []
    for trees in RUNGS:
        curve = _Curve(inputs, replace(trees, max_bins=settings.trees.max_bins))
        curve.use(few)
        curve.grow()
        curves.append(curve)
    best = [min(curve.losses(), key=lambda loss: float(loss.mean())) for curve in curves]
    curve = curves[_simplest(best, _RUNG_ERRORS)]
    curve.use(len(inputs.parts))
    curve.grow()
    return curve, _simplest(curve.losses(), _SIZE_ERRORS)


def _simplest(losses: Sequence[Array], errors: float) -> int:
    """The first of several that is not worse than the best by more than so many standard errors of the difference.

    Source: Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees, 3.4.3, on paired losses.
    """
    best = min(losses, key=lambda loss: float(loss.mean()))
    for place, loss in enumerate(losses):
        worse = loss - best
        if float(worse.mean()) <= errors * float(worse.std()) / np.sqrt(worse.size):
            return place
    return 0


def _joined(curve: _Curve, place: int) -> Trees | None:
    if _SIZES[place] == 0:
        return None
    return joined([growing.trees(_SIZES[place]) for growing in curve.growing])
