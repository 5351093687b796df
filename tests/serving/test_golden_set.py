"""The golden set: made up, covering what models and placements do, and made only of a model that answers something."""

import dataclasses
import json

import numpy as np
import pytest

from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.golden_set import Answering, check_golden_set, make_golden_set
from serving.recipe import load_recipes
from serving.release_refusal import ReleaseRefusedError
from tests.tiny_shop import ITEMS, NOW_US, churn_model, recommender

RECIPES = load_recipes()


def parts(churn: ChurnModel | None = None) -> Answering:
    return Answering(churn or churn_model(0.0), recommender(), Bands(0.3, 0.6), RECIPES)


def test_the_rows_reach_known_and_unknown_values_both_sides_of_what_the_model_asks() -> None:
    content = json.loads(make_golden_set(parts(), NOW_US))
    rows = np.array([[np.nan if value is None else value for value in row] for row in content["rows"]])
    assert np.isnan(rows[0]).all()
    assert (np.isnan(rows).any(axis=0) & (np.nanmax(rows, axis=0) > np.nanmin(rows, axis=0))).all()
    assert np.ptp(content["probabilities"]) > 0.5  # trees that ask for 20 days, of a median of about 60


def test_every_placement_is_asked_for_nobody_for_histories_and_for_what_goes_with_an_item() -> None:
    content = json.loads(make_golden_set(parts(), NOW_US))
    lengths = [len(history) for history in content["histories"]]
    assert lengths[0] == 0
    assert set().union(*content["histories"]) <= set(ITEMS)
    assert len(content["slates"]) == len(RECIPES) * (2 * len(lengths) - 1)  # nobody has no item to go with


def test_a_release_of_a_table_has_a_golden_set_without_slates() -> None:
    alone = dataclasses.replace(parts(), recommender=None)
    made = make_golden_set(alone, NOW_US)
    assert json.loads(made)["slates"] == []
    check_golden_set(made, alone)


def test_the_same_parts_are_asked_and_answer_the_same() -> None:
    assert make_golden_set(parts(), NOW_US) == make_golden_set(parts(), NOW_US)
    check_golden_set(make_golden_set(parts(), NOW_US), parts())


@pytest.mark.parametrize(
    ("change", "says"),
    [({"trees": None}, "same probability"), ({"tree_weight": 1e308}, "not finite")],
)
def test_a_model_that_says_nothing_is_not_released(change: dict[str, object], says: str) -> None:
    with pytest.raises(ReleaseRefusedError, match=says) as caught:
        make_golden_set(parts(dataclasses.replace(churn_model(0.0), **change)), NOW_US)
    assert caught.value.reason == "golden"
