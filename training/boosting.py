"""Boost trees with LightGBM; they stop growing by rows that take no other part.

The rows are sorted into LightGBM's bins once, and every booster takes its part of them: no row of features is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from serving.booster_text import Objective, join_trees
from serving.trees import Trees, column_names
from training.churn_settings import TreeSettings

__all__ = ["BinnedRows", "Growing", "bin_rows", "boost", "joined"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BinnedRows:
    """n rows over named features in LightGBM's bins; see `bin_rows` for `categories` and `unused`."""

    feature_names: tuple[str, ...]
    dataset: lgb.Dataset
    parameters: Mapping[str, object]
    categories: Mapping[int, int]
    unused: npt.NDArray[np.bool_]


def bin_rows(
    values: Array,
    feature_names: tuple[str, ...],
    *,
    max_bins: int,
    num_threads: int,
    categories: Mapping[int, int] | None = None,
    unused: npt.NDArray[np.bool_] | None = None,
) -> BinnedRows:
    """Sort rows into bins.

    Args:
        values: float64 (n, f), NaN is missing.
        feature_names: their names, f of them.
        max_bins: at most so many bins a feature.
        num_threads: of LightGBM.
        categories: for each categorical feature, by its place, how many codes it has.
        unused: bool (f,), features that no tree may split on.
    """
    parameters: dict[str, object] = {
        "max_bin": max_bins,
        "feature_pre_filter": False,
        "force_row_wise": True,
        "num_threads": num_threads,
        "verbosity": -1,
    }
    if unused is not None and unused.any():
        parameters["feature_contri"] = (~unused).astype(np.float64).tolist()
    dataset = lgb.Dataset(
        values,
        np.zeros(values.shape[0]),
        feature_name=list(column_names(feature_names)),
        categorical_feature=sorted(categories) if categories else [],
        params=parameters,
    ).construct()
    never = np.zeros(len(feature_names), np.bool_) if unused is None else unused
    return BinnedRows(feature_names, dataset, parameters, categories or {}, never)


def boost(
    rows: BinnedRows,
    fitting: Places,
    stopping: Places,
    target: Array,
    weights: Array,
    trees: TreeSettings,
    *,
    seed: int,
    objective: Objective = "binary",
) -> Trees:
    """Boost on the rows at `fitting` until the loss on those at `stopping` no longer falls; equal input, equal bits.

    Args:
        rows: n rows.
        fitting: ascending places, int64.
        stopping: ascending places, int64, of rows that take no other part.
        target: float64 (n,), 0 or 1 for "binary" trees.
        weights: float64 (n,), positive.
        trees: how large, how many, how fast.
        seed: of the features and rows that each tree sees.
        objective: what is boosted for.
    """
    parameters = _parameters(rows, trees, seed, objective)

    def part(places: Places) -> lgb.Dataset:
        found = rows.dataset.subset(places.tolist(), params=dict(rows.parameters))
        return found.construct().set_label(target[places]).set_weight(weights[places])

    booster = lgb.train(
        parameters,
        part(fitting),
        num_boost_round=trees.max_rounds,
        valid_sets=[part(stopping)],
        callbacks=[lgb.early_stopping(trees.early_stopping_rounds, verbose=False)],
    )
    return Trees(rows.feature_names, booster.model_to_string(num_iteration=booster.best_iteration), objective)


class Growing:
    """Trees for log-odds that begin at given margins and grow as far as they are told; equal input, equal bits."""

    def __init__(
        self,
        rows: BinnedRows,
        fitting: Places,
        target: Array,
        weights: Array,
        start: Array,
        trees: TreeSettings,
        *,
        seed: int,
    ) -> None:
        """Nothing grows yet.

        Args:
            rows: n rows.
            fitting: ascending places, int64, of the m rows to fit.
            target: float64 (n,), 0 or 1.
            weights: float64 (n,), positive.
            start: float64 (m,), the margins that the trees add to.
            trees: how large and how fast.
            seed: of the features and rows that each tree sees.
        """
        part = rows.dataset.subset(fitting.tolist(), params=dict(rows.parameters)).construct()
        part.set_label(target[fitting]).set_weight(weights[fitting]).set_init_score(start)
        self._feature_names = rows.feature_names
        self._num_threads = rows.parameters["num_threads"]
        self._booster = lgb.Booster(_parameters(rows, trees, seed, "binary"), part)

    def grow(self, n_trees: int, values: Array) -> Array:
        """Grow to so many trees; what the new ones add for values float64 (k, f), float64 (k,)."""
        before = self._booster.num_trees()
        while self._booster.num_trees() < n_trees:
            self._booster.update()
        found = self._booster.predict(
            values,
            raw_score=True,
            start_iteration=before,
            num_iteration=n_trees - before,
            num_threads=self._num_threads,  # more would spin while they wait, see `ChurnSettings.num_threads`
        )
        return np.asarray(found, dtype=np.float64)

    def trees(self, n_trees: int) -> Trees:
        """The first so many."""
        return Trees(self._feature_names, self._booster.model_to_string(num_iteration=n_trees))


def _parameters(rows: BinnedRows, trees: TreeSettings, seed: int, objective: Objective) -> dict[str, object]:
    return {
        **rows.parameters,
        "objective": objective,
        "metric": "binary_logloss" if objective == "binary" else "l2",
        "num_leaves": trees.leaves,
        "min_data_in_leaf": trees.min_rows_in_leaf,
        "lambda_l2": trees.l2,
        "learning_rate": trees.learning_rate,
        "feature_fraction": trees.feature_share,
        "bagging_fraction": trees.row_share,
        "bagging_freq": 1,
        "seed": seed % (1 << 31),
        "deterministic": True,
    }


def joined(parts: Sequence[Trees]) -> Trees:
    """One set of trees whose sum is the sum of all the parts' sums."""
    if len(parts) == 1:
        return parts[0]
    return Trees(parts[0].feature_names, join_trees([part.text for part in parts]), parts[0].objective)
