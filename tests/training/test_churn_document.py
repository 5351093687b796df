"""docs/churn.md says what is so: its questions are read as written, its example hangs together, its links lead on."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from features.settings import read_settings
from training.churn_problem import KINDS_OF_CHURN, load_problem
from training.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "churn.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


QUESTIONS = [block for block in blocks("toml") if "\nkind =" in block]
SETTINGS = [block for block in blocks("toml") if "\nkind =" not in block]


@pytest.mark.parametrize("block", QUESTIONS)
def test_a_question_can_be_copied_from_the_page(block, tmp_path):
    path = tmp_path / "question.toml"
    path.write_text(block, encoding="utf-8")
    assert load_problem(path).kind == tomllib.loads(block)["kind"]


def test_there_is_a_question_of_each_kind():
    assert [tomllib.loads(block)["kind"] for block in QUESTIONS] == list(KINDS_OF_CHURN)


@pytest.mark.parametrize("block", SETTINGS)
def test_settings_can_be_copied_from_the_page(block):
    read_settings(Settings, tomllib.loads(block))


def test_the_worked_answer_hangs_together():
    (answer,) = (json.loads(block) for block in blocks("json"))
    by_horizon = [one["churn_probability"] for one in answer["horizons"]]
    assert by_horizon == sorted(by_horizon, reverse=True)
    assert by_horizon[-1] == answer["churn_probability"]
    assert answer["horizons"][-1]["horizon_days"] == answer["horizon_days"]
    assert answer["band_cutoffs"]["medium"] <= answer["churn_probability"] < answer["band_cutoffs"]["high"]
    for window in ("days_90", "days_365"):
        value = answer["predicted_value"][window]
        assert value["p10"] <= value["p50"] <= value["p90"]
    assert answer["next_purchase"]["p10"] < answer["next_purchase"]["p50"] < answer["next_purchase"]["p90"]


def test_a_probability_below_a_half_goes_with_a_day():
    (answer,) = (json.loads(block) for block in blocks("json"))
    assert (answer["churn_probability"] <= 0.5) == (answer["next_purchase"]["p50"] is not None)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_a_link_leads_to_a_file(link):
    assert (ROOT / "docs" / link).is_file()
