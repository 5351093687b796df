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

__all__ = ["BinnedRows", "bin_rows", "boost", "joined"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BinnedRows:
    """n rows over named features in LightGBM's bins."""

    feature_names: tuple[str, ...]
    dataset: lgb.Dataset
    parameters: Mapping[str, object]


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
    return BinnedRows(feature_names, dataset, parameters)


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
    parameters = {
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


def joined(parts: Sequence[Trees]) -> Trees:
    """One set of trees whose sum is the sum of all the parts' sums."""
    if len(parts) == 1:
        return parts[0]
    return Trees(parts[0].feature_names, join_trees([part.text for part in parts]), parts[0].objective)
