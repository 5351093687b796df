import dataclasses
from pathlib import Path

import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ConfigurationError
from features.feature_set import FeatureSet
from features.instants import DAY_US
from training.churn_problem import KINDS_OF_CHURN, ChurnProblem, load_problem, shipped_problems
from training.churn_settings import ChurnSettings


def test_the_shipped_question_of_silence_is_the_default():
    assert load_problem("silence") == ChurnProblem()


@pytest.mark.parametrize("name", shipped_problems())
def test_a_shipped_question_is_named_as_its_file_and_of_its_kind(name):
    problem = load_problem(name)
    assert (problem.name, problem.kind) == (name, name)


def test_a_question_of_each_kind_is_shipped():
    assert shipped_problems() == ("cancel", "cycle", "label", "silence") == tuple(sorted(KINDS_OF_CHURN))


def test_a_question_of_ones_own_is_read_from_its_file(tmp_path: Path):
    (tmp_path / "mine.toml").write_text('name = "mine"\nhorizons_days = [7, 14]\ngap_days = 2\n')
    problem = load_problem(tmp_path / "mine.toml")
    assert (problem.name, problem.horizons_days, problem.kind) == ("mine", (7, 14), "silence")
    assert problem.horizon_us == 16 * DAY_US


def test_the_settings_answer_by_the_question():
    settings = ChurnSettings(problem=ChurnProblem(horizons_days=(10, 20), gap_days=3, eligible_days=50))
    assert (settings.label_window_days, settings.gap_days, settings.eligible_days) == (20, 3, 50)
    assert settings.horizon_us == 23 * DAY_US


def test_what_is_waited_for_follows_from_the_kind():
    kinds = {"silence": "return", "cycle": "churn", "cancel": "churn"}
    assert {kind: ChurnProblem(kind=kind).awaits for kind in kinds} == kinds
    assert ChurnProblem(kind="label", label_column="Churn", horizons_days=(90,)).awaits == "churn"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": " "}, "name is empty"),
        ({"kind": "boredom"}, "kind is 'boredom'; write one of silence, cycle, cancel, label"),
        ({"horizons_days": ()}, "horizons_days is"),
        ({"horizons_days": (60, 30)}, r"horizons_days is \[60, 30\]; write one or more numbers of days, ascending"),
        ({"horizons_days": (30, 30)}, "ascending"),
        ({"horizons_days": (0, 30)}, "days from 1"),
        ({"gap_days": -1}, "gap_days is -1"),
        ({"eligible_days": 0}, "eligible_days is 0"),
        ({"min_orders": 0}, "min_orders is 0"),
        ({"cycle_factor": 0.5}, "cycle_factor is 0.5"),
        ({"cycle_least_days": 100.0}, "are 100, 45 and 90"),
        ({"purposes": ("churn", "gossip")}, "purposes is"),
        ({"purposes": ()}, "purposes is"),
        ({"kind": "label", "horizons_days": (90,)}, "label_column is empty"),
        ({"kind": "label", "label_column": "Churn"}, "one horizon"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_name(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        ChurnProblem(**wrong)


def test_a_question_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigurationError, match="no churn problem silent; shipped: cancel, cycle, label, silence"):
        load_problem("silent")


def test_an_unknown_key_of_a_question_is_named(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("horizon_days = 7\n")
    with pytest.raises(ConfigurationError, match=r"unknown setting problem\.horizon_days"):
        load_problem(tmp_path / "mine.toml")


def test_the_manifest_gives_the_question_back():
    problem = ChurnProblem(name="mine", kind="cycle", horizons_days=(7, 14), cycle_factor=1.5)
    assert ChurnProblem.from_json(problem.to_json()) == problem


def test_two_names_for_one_question_ask_the_same():
    assert ChurnProblem(name="mine").asks_the_same(ChurnProblem(name="yours", purposes=("churn", "recommend")))
    assert not ChurnProblem().asks_the_same(ChurnProblem(kind="cycle"))


def test_a_feature_without_an_allowed_purpose_is_barred():
    features = list(CHURN_FEATURES)[:3]
    features[1] = dataclasses.replace(features[1], purposes=("recommend",))
    some = FeatureSet("some", tuple(features))
    assert ChurnProblem().barred(some) == (features[1].name,)
    assert ChurnProblem(purposes=("recommend",)).barred(some) == (features[0].name, features[2].name)
    assert ChurnProblem(purposes=("recommend", "churn")).barred(some) == ()
