import dataclasses
import json

import lightgbm as lgb
import numpy as np
import pytest

from features.errors import ArtefactError, DataError
from serving.booster_text import check_booster_text
from serving.calibration import BetaCalibrator
from serving.churn_model import ChurnModel
from serving.season import SeasonShift

NAMES = ("a", "b", "c")


def boosted(rows=2_000, rounds=20):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 3))
    values[rng.random(values.shape) < 0.1] = np.nan
    labels = rng.random(rows) < 1 / (1 + np.exp(-2 * np.nan_to_num(values[:, 0]) - np.isnan(values[:, 1])))
    parameters = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1, "seed": 1}
    return lgb.train(parameters, lgb.Dataset(values, labels.astype(float), feature_name=list(NAMES)), rounds), values


@pytest.fixture(scope="module")
def booster_and_values():
    return boosted()


@pytest.fixture(scope="module")
def model(booster_and_values):
    return ChurnModel(
        feature_names=NAMES,
        fingerprint="f" * 64,
        horizon_days=90,
        gap_days=7,
        base_rate=0.4,
        calibrator=BetaCalibrator(0.9, 1.1, -0.2),
        reference=np.array([0.1, 0.2, 0.2, 0.6, 0.9]),
        medians=np.array([0.5, np.nan, -1.0]),
        booster_text=booster_and_values[0].model_to_string(),
        season=SeasonShift((0.3, -0.1, 0.05, 0.0), 0),
    )


def altered(model, **changes):
    files = model.to_files()
    content = json.loads(files["churn.json"]) | changes
    return {**files, "churn.json": json.dumps(content).encode()}


def test_margins_are_lightgbms_own_bit_for_bit(model, booster_and_values):
    booster, values = booster_and_values
    np.testing.assert_array_equal(model.margins(values), booster.predict(values, raw_score=True))


def test_one_row_equals_the_batch_bit_for_bit(model, booster_and_values):
    values = booster_and_values[1]
    batch = model.probabilities(values)
    assert [model.probability(row) for row in values[:300]] == batch[:300].tolist()
    assert model.probability(values[3], 10**15) == model.probabilities(values, 10**15)[3]


def test_contributions_sum_to_the_margin(model, booster_and_values):
    values = booster_and_values[1]
    np.testing.assert_allclose(model.contributions(values).sum(axis=1), model.margins(values), atol=1e-9)


def test_percentile_counts_ties_half(model):
    # five reference points stand at ranks 0, 25, 50, 75, 100; .2 is tied at 25 and 50
    found = model.percentile(np.array([0.0, 0.1, 0.2, 0.4, 0.6, 0.95]))
    assert found.tolist() == [0.0, 0.0, 37.5, 56.25, 75.0, 100.0]


def test_the_season_moves_the_log_odds_by_its_shift(model, booster_and_values):
    values = booster_and_values[1][:5]
    half_a_year = round(182.625 * 86_400 * 1e6)
    plain, later = model.probabilities(values), model.probabilities(values, half_a_year)
    # cosine of the first turn goes from 1 to -1: -2 * .3; the second turn and the sines are where they were
    moved = np.log(later / (1 - later)) - np.log(plain / (1 - plain))
    np.testing.assert_allclose(moved, -0.6, atol=1e-9)
    np.testing.assert_array_equal(model.probabilities(values, 0), plain)


def test_files_give_the_model_back(model, booster_and_values):
    files = model.to_files()
    again = ChurnModel.from_files(files)
    values = booster_and_values[1]
    np.testing.assert_array_equal(again.probabilities(values, 5), model.probabilities(values, 5))
    np.testing.assert_array_equal(again.medians, model.medians)
    assert again.to_files() == files


def test_nothing_can_be_written_into_a_model(model):
    with pytest.raises(ValueError, match="read-only"):
        model.reference[0] = 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.base_rate = 0.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format 1"),
        ({"kind": "recommender"}, "not a churn model"),
        ({"feature_names": ["a", "c", "b"]}, "other features"),
        ({"feature_names": ["a", "a", "b"]}, "named once"),
        ({"reference": [0.1, float("nan")]}, "NaN"),
        ({"reference": [0.1, None]}, "missing number"),
        ({"reference": [0.9, 0.1]}, "rise"),
        ({"reference": [0.5, 1.5]}, "rise"),
        ({"medians": [0.1]}, "medians"),
        ({"medians": [0.1, "x", 0.2]}, "something else than a number"),
        ({"base_rate": 1.5}, "base_rate"),
        ({"base_rate": True}, "base_rate"),
        ({"horizon_days": 0}, "horizon_days"),
        ({"calibrator": {"kind": "beta", "a": -1, "b": 1, "c": 0}}, "slopes"),
        ({"calibrator": {"kind": "isotonic"}}, "kind beta"),
        ({"season": {"kind": "harmonics", "coefficients": [1.0], "anchor_us": 0}}, "4 finite"),
        ({"season": {"kind": "tides", "anchor_us": 0}}, "does not know"),
        ({"fingerprint": ""}, "fingerprint"),
    ],
)
def test_a_malformed_description_is_refused_with_what_is_wrong(model, changes, said):
    with pytest.raises(ArtefactError, match=said):
        ChurnModel.from_files(altered(model, **changes))


def test_a_missing_or_extra_file_is_refused(model):
    files = model.to_files()
    with pytest.raises(ArtefactError, match="exactly"):
        ChurnModel.from_files({"churn.json": files["churn.json"]})
    with pytest.raises(ArtefactError, match="exactly"):
        ChurnModel.from_files({**files, "more.txt": b""})


def test_every_truncation_of_the_trees_is_refused_before_lightgbm_aborts(model):
    text = model.booster_text
    for length in range(0, len(text), 97):
        with pytest.raises(ArtefactError):
            check_booster_text(text[:length], NAMES)


def test_what_stands_behind_the_trees_is_neither_kept_nor_read(model, booster_and_values):
    assert model.booster_text.endswith("\n\nend of trees\n")
    assert booster_and_values[0].model_to_string().startswith(model.booster_text)
    files = model.to_files()
    with pytest.raises(ArtefactError, match="more than trees"):
        ChurnModel.from_files({**files, "booster.txt": files["booster.txt"] + b"\nparameters:\n[seed"})


def swapped(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("left_child", lambda n: "0 " * n, "not a tree"),
        ("split_feature", lambda n: "9 " * n, "feature that does not exist"),
        ("threshold", lambda n: "nan " * n, "finite numbers threshold"),
        ("leaf_value", lambda n: "inf " * (n + 1), "finite numbers leaf_value"),
        ("leaf_value", lambda n: "1 " * n, "finite numbers leaf_value"),
        ("num_cat", lambda n: "1", "categorical"),
        ("num_leaves", lambda n: "99999999", "leaves"),
        ("decision_type", lambda n: "1 " * n, "decides"),
        ("leaf_count", lambda n: "1_0 " * (n + 1), "finite numbers leaf_count"),
        ("shrinkage", lambda n: "", "finite numbers shrinkage"),
    ],
)
def test_a_damaged_tree_is_refused_by_its_number(model, field, value, said):
    text = model.booster_text
    head, _, body = text.partition("\n\n")
    sizes = [int(size) for size in head.rpartition("tree_sizes=")[2].split()]
    first = body[: sizes[0]]
    line = next(line for line in first.split("\n") if line.startswith(f"{field}="))
    n_nodes = int(next(line for line in first.split("\n") if line.startswith("num_leaves="))[11:]) - 1
    damaged = swapped(first, line, f"{field}={value(n_nodes).strip()}")
    new_head = swapped(head, f"tree_sizes={sizes[0]} ", f"tree_sizes={len(damaged)} ")
    with pytest.raises(ArtefactError, match=f"tree 0.*{said}"):
        check_booster_text(f"{new_head}\n\n{damaged}{body[sizes[0] :]}", NAMES)


def test_another_objective_is_refused(model):
    with pytest.raises(ArtefactError, match="binary"):
        check_booster_text(swapped(model.booster_text, "objective=binary sigmoid:1", "objective=regression"), NAMES)


def test_a_sound_text_tells_its_trees(model):
    assert check_booster_text(model.booster_text, NAMES) == model.n_trees == 20


def test_values_of_another_shape_or_infinite_are_refused(model):
    with pytest.raises(DataError, match="3 features"):
        model.probabilities(np.zeros((2, 4)))
    with pytest.raises(DataError, match="infinite"):
        model.probabilities(np.array([[np.inf, 0.0, 0.0]]))
