"""Small boosters on made-up rows, for tests of what stores and applies them."""

import lightgbm as lgb
import numpy as np

NAMES = ("a", "b", "c")


def boosted(objective="binary", rows=2_000, rounds=20, categorical=False):
    """A booster over NAMES and its rows; with `categorical`, b holds the codes 0 to 39 of a category."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 3))
    if categorical:
        values[:, 1] = rng.integers(0, 40, rows)
    values[rng.random(values.shape) < 0.1] = np.nan
    odd = np.where(values[:, 1] % 3 == 0, 1.5, 0.0) if categorical else np.isnan(values[:, 1])
    labels = rng.random(rows) < 1 / (1 + np.exp(-2 * np.nan_to_num(values[:, 0]) - odd))
    parameters = {"objective": objective, "num_leaves": 7, "verbosity": -1, "num_threads": 1, "seed": 1}
    parameters |= {"min_data_per_group": 20, "cat_smooth": 1.0}
    coded = ["b"] if categorical else "auto"
    data = lgb.Dataset(values, labels.astype(float), feature_name=list(NAMES), categorical_feature=coded)
    return lgb.train(parameters, data, rounds), values
