"""Boost trees with LightGBM; they stop growing by rows that take no other part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from serving.booster_text import Objective
from serving.trees import Trees, column_names
from training.churn_settings import TreeSettings

__all__ = ["Rows", "fit_trees"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """What is boosted on, or what decides when to stop.

    values: float64 (n, f), NaN is missing. target: float64 (n,), 0 or 1 for "binary" trees. weights: float64 (n,).
    start: what the trees are added to, float64 (n,); None for a constant that is then part of the trees.
    """

    values: Array
    target: Array
    weights: Array
    start: Array | None = None


def fit_trees(
    fitting: Rows,
    stopping: Rows,
    feature_names: tuple[str, ...],
    trees: TreeSettings,
    *,
    seed: int,
    num_threads: int,
    objective: Objective = "binary",
    categories: Mapping[int, int] | None = None,
) -> Trees:
    """Boost until the loss on `stopping` no longer falls; equal input gives equal bits.

    `categories`: for each categorical feature, by its place, how many codes it has.
    """
    parameters = {
        "objective": objective,
        "metric": "binary_logloss" if objective == "binary" else "l2",
        "num_leaves": trees.leaves,
        "min_data_in_leaf": trees.min_rows_in_leaf,
        "lambda_l2": trees.l2,
        "learning_rate": trees.learning_rate,
        "feature_fraction": trees.feature_share,
        "bagging_fraction": trees.row_share,
        "bagging_freq": 1,
        "max_bin": trees.max_bins,
        "seed": seed % (1 << 31),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": num_threads,
        "verbosity": -1,
    }
    coded = sorted(categories or {})

    def dataset(rows: Rows, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        return lgb.Dataset(
            rows.values,
            rows.target,
            weight=rows.weights,
            init_score=rows.start,
            feature_name=list(column_names(feature_names)),
            categorical_feature=coded or "auto",
            reference=reference,
            params=parameters,
        )

    fitted = dataset(fitting)
    booster = lgb.train(
        parameters,
        fitted,
        num_boost_round=trees.max_rounds,
        valid_sets=[dataset(stopping, fitted)],
        callbacks=[lgb.early_stopping(trees.early_stopping_rounds, verbose=False)],
    )
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return Trees(feature_names, text, objective)
