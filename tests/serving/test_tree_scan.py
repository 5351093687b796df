"""Scanning trees for many rows gives LightGBM's own bits, or declines."""

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from serving.tree_scan import TreeScan
from serving.trees import Trees
from tests.boosted import boosted

NAMES = tuple(f"f{number}" for number in range(6))


def rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Numbers of all sizes, many equal, many 0, many missing."""
    values = rng.normal(size=(n, len(NAMES))) * 10.0 ** rng.integers(-8, 8, (n, len(NAMES)))
    values[:, 2] = np.rint(values[:, 2] % 7)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.2] = 0.0
    values[rng.random(values.shape) < 0.05] *= -1e-35
    return values


def grown(seed: int, *, rounds: int = 60, train_missing: bool = True, **parameters: Any) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    values = rows(rng, 3_000)
    if not train_missing:
        values = np.nan_to_num(values)
    target = np.nan_to_num(np.sign(values[:, 0]) + np.sin(values[:, 2]) + np.isnan(values[:, 4]) * 2.0)
    target = target + rng.normal(size=target.size)
    settings = {"objective": "regression", "num_leaves": 12, "verbosity": -1, "num_threads": 1, "seed": seed}
    settings |= {"min_data_in_leaf": 5, "feature_fraction": 0.7} | parameters
    if settings["objective"] == "binary":
        target = (target > 0).astype(float)
    return lgb.train(settings, lgb.Dataset(values, target, feature_name=list(NAMES)), rounds)


def scan_of(booster: lgb.Booster, objective: str = "regression") -> TreeScan | None:
    return TreeScan.of(Trees(NAMES, booster.model_to_string(), objective).text)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"objective": "binary", "num_leaves": 16},
        {"num_leaves": 2},
        {"num_leaves": 7, "linear_tree": False, "max_bin": 15},
        {"use_missing": False},
        {"train_missing": False},
        {"boost_from_average": False, "learning_rate": 0.5},
        {"rounds": 2},
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_sums_are_those_of_lightgbm_to_the_last_bit(parameters: dict[str, Any], seed: int) -> None:
    booster = grown(seed, **parameters)
    scan = scan_of(booster, parameters.get("objective", "regression"))
    assert scan is not None
    values = rows(np.random.default_rng(seed + 100), 5_000)
    expected = booster.predict(values, raw_score=True, num_threads=1)
    assert len(set(expected.tolist())) > 10
    np.testing.assert_array_equal(scan.sums(values), expected)


def test_values_on_a_threshold_and_just_beside_it_go_where_lightgbm_sends_them() -> None:
    booster = grown(3)
    scan = scan_of(booster)
    assert scan is not None
    values = np.full((4_000, len(NAMES)), np.nan)
    rng = np.random.default_rng(4)
    for feature, thresholds in scan.thresholds.items():
        chosen = rng.choice(thresholds, 4_000)
        beside = rng.integers(0, 3, 4_000)
        values[:, feature] = np.where(
            beside == 0, chosen, np.where(beside == 1, np.nextafter(chosen, np.inf), np.nextafter(chosen, -np.inf))
        )
    np.testing.assert_array_equal(scan.sums(values), booster.predict(values, raw_score=True, num_threads=1))


@pytest.mark.parametrize("n", [1, 1_000, 1_001, 16_384, 16_385, 40_000])
def test_a_row_has_the_same_bits_alone_and_among_any_number(n: int) -> None:
    trees = Trees(NAMES, grown(5).model_to_string(), "regression")
    values = rows(np.random.default_rng(6), n)
    together = trees.margins(values)
    some = np.unique(np.linspace(0, n - 1, 25).astype(int))
    np.testing.assert_array_equal(together[some], [trees.margins(values[row : row + 1])[0] for row in some])


def test_trees_without_a_split_add_their_one_leaf() -> None:
    stump = grown(7, rounds=20, min_data_in_leaf=2_000)
    assert "num_leaves=1\n" in stump.model_to_string()
    scan = scan_of(stump)
    assert scan is not None
    values = rows(np.random.default_rng(8), 1_500)
    np.testing.assert_array_equal(scan.sums(values), stump.predict(values, raw_score=True, num_threads=1))


@pytest.mark.parametrize(
    ("why", "parameters"),
    [
        ("too many leaves", {"num_leaves": 40}),
        ("zero is missing", {"zero_as_missing": True}),
        ("too many thresholds", {"max_bin": 2_000, "rounds": 400, "num_leaves": 16, "min_data_in_bin": 1}),
    ],
)
def test_trees_of_another_kind_are_left_to_lightgbm(why: str, parameters: dict[str, Any]) -> None:
    booster = grown(9, **parameters)
    assert scan_of(booster) is None, why
    values = rows(np.random.default_rng(10), 1_200)
    found = Trees(NAMES, booster.model_to_string(), "regression").margins(values)
    np.testing.assert_array_equal(found, booster.predict(values, raw_score=True, num_threads=1))


def test_categories_are_left_to_lightgbm() -> None:
    booster, values = boosted(categorical=True, rounds=40)
    trees = Trees(("a", "b", "c"), booster.model_to_string())
    assert TreeScan.of(trees.text) is None
    np.testing.assert_array_equal(trees.margins(values), booster.predict(values, raw_score=True, num_threads=1))
