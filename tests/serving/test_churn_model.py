import dataclasses
import json

import numpy as np
import pytest

from features.errors import ArtefactError, DataError
from serving.calibration import BetaCalibrator
from serving.churn_model import ChurnModel
from serving.linear_part import Basis, LinearPart
from serving.season import SeasonShift
from serving.trees import Trees
from tests.boosted import NAMES, boosted

LINEAR = LinearPart(
    3,
    -0.3,
    (Basis(0, "log", 0.8, centre=0.1, scale=0.7), Basis(2, "log", -0.2), Basis(1, "missing", 0.5)),
)


@pytest.fixture(scope="module")
def booster_and_values():
    return boosted()


@pytest.fixture(scope="module")
def parts(booster_and_values):
    return {
        "feature_names": NAMES,
        "fingerprint": "f" * 64,
        "horizons_days": (90,),
        "gap_days": 7,
        "base_rate": 0.4,
        "linear": LINEAR,
        "trees": Trees(NAMES, booster_and_values[0].model_to_string()),
        "tree_weight": 0.6,
        "calibrator": BetaCalibrator(0.9, 1.1, -0.2),
        "reference": np.array([0.1, 0.2, 0.2, 0.6, 0.9]),
        "medians": np.array([0.5, np.nan, -1.0]),
        "season": SeasonShift((0.3, -0.1, 0.05, 0.0), 0),
    }


@pytest.fixture(scope="module")
def model(parts):
    return ChurnModel(**parts)


@pytest.fixture(scope="module")
def baseline(parts):
    """A rule on one feature, without trees, for a log too small for a model."""
    rule = LinearPart(3, 0.0, (Basis(0, "log", 1.5),))
    return ChurnModel(**{**parts, "linear": rule, "trees": None, "tree_weight": 1.0, "baseline": True})


def altered(model, **changes):
    files = model.to_files()
    content = json.loads(files["churn.json"]) | changes
    return {**files, "churn.json": json.dumps(content).encode()}


def test_the_margin_is_the_linear_part_and_the_weighed_trees(model, booster_and_values):
    booster, values = booster_and_values
    expected = LINEAR.margins(values) + 0.6 * booster.predict(values, raw_score=True)
    np.testing.assert_allclose(model.margins(values), expected, atol=1e-12)


def test_one_row_equals_the_batch_bit_for_bit(model, booster_and_values):
    values = booster_and_values[1]
    batch = model.probabilities(values)
    assert [model.probability(row) for row in values[:300]] == batch[:300].tolist()
    assert model.probability(values[3], 10**15) == model.probabilities(values, 10**15)[3]


def test_contributions_sum_to_the_margin(model, booster_and_values):
    values = booster_and_values[1]
    np.testing.assert_allclose(model.contributions(values).sum(axis=1), model.margins(values), atol=1e-9)


def test_a_baseline_without_trees_works_in_every_way(baseline, booster_and_values):
    values = booster_and_values[1]
    # 1.5 * sign(x) ln(1 + |x|), 0 where x is missing
    expected = np.nan_to_num(1.5 * np.sign(values[:, 0]) * np.log1p(np.abs(values[:, 0])))
    np.testing.assert_allclose(baseline.margins(values), expected, atol=1e-12)
    np.testing.assert_allclose(baseline.contributions(values)[:, 0], expected, atol=1e-12)
    assert np.abs(baseline.contributions(values)[:, 1:]).max() == 0.0
    again = ChurnModel.from_files(baseline.to_files())
    assert (again.baseline, again.n_trees, set(again.to_files())) == (True, 0, {"churn.json"})
    np.testing.assert_array_equal(again.probabilities(values), baseline.probabilities(values))


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
        ({"format": 2}, "format 3; train again"),
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
        ({"horizons_days": [0]}, "horizons_days"),
        ({"horizons_days": 90}, "horizons_days"),
        ({"horizons_days": []}, "ascending"),
        ({"horizons_days": [90, 30]}, "ascending"),
        ({"awaits": "rain"}, "awaits"),
        ({"baseline": 1}, "baseline"),
        ({"linear": None}, "linear part"),
        ({"categories": {"z": ["a"]}}, "does not name"),
        ({"categories": {"a": [1]}}, "list of texts"),
        ({"tree_weight": "x"}, "tree_weight"),
        ({"tree_weight": None}, "exactly the files churn.json"),
        ({"value_windows": None}, "value_windows"),
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
    with pytest.raises(ArtefactError, match=r"needs the file churn\.json"):
        ChurnModel.from_files({"booster.txt": files["booster.txt"]})
    with pytest.raises(ArtefactError, match="exactly"):
        ChurnModel.from_files({"churn.json": files["churn.json"]})
    with pytest.raises(ArtefactError, match="exactly"):
        ChurnModel.from_files({**files, "more.txt": b""})


def test_values_of_another_shape_or_infinite_are_refused(model):
    with pytest.raises(DataError, match="3 features"):
        model.probabilities(np.zeros((2, 4)))
    with pytest.raises(DataError, match="infinite"):
        model.probabilities(np.array([[np.inf, 0.0, 0.0]]))
