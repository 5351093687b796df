"""Which reasons, in which order, told by which feature."""

import dataclasses
import math

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.errors import DataError
from features.instants import DAY_US
from serving.bands import Bands
from serving.languages import LANGUAGES
from serving.linear_part import LinearPart
from serving.reasons import MATERIAL, reason_kind, reason_kinds, reasons, reasons_of_many
from serving.scoring import score_churn
from tests.churn_worlds import orders
from tests.reason_rows import model_with, moves, row
from tests.tiny_shop import churn_model

AS_OF = 200 * DAY_US
F = len(CHURN_FEATURES)
LATE = {"late_deliveries_count_30d": 1.0}


@pytest.fixture
def model():
    return churn_model(0.0)


@pytest.fixture
def table():
    return compute(orders({f"c{i:02}": [50, 199 - 3 * i] for i in range(40)}), CHURN_FEATURES, AS_OF)


def codes(values, contributions, k=3, medians=None):
    found = reasons(model_with(medians or {}), row(values), moves(contributions), k)
    return [reason.code for reason in found]


def test_every_reason_of_the_catalogue_is_met_by_a_feature_and_every_feature_by_a_reason():
    known = {kind.code for kind in reason_kinds()}
    assert {reason_kind(name).code for name in CHURN_FEATURES.names} == known


def test_contributions_add_by_hand_within_a_reason(model):
    contributions = moves(
        {"orders_recency_days": 1.0, "cycle_position_all": 0.5, "late_deliveries_share_365d": -0.5}
    )  # the average margin, 9, is no reason
    first, second = reasons(model, row({}), contributions, 5)
    assert (first.code, first.direction, first.importance) == ("overdue", "raises", 0.75)
    assert (second.code, second.direction, second.importance) == ("late_delivery", "lowers", 0.25)
    assert (first.value, first.text) == (None, "has never bought")
    assert first.actions == ("recommendation_email",)
    assert (first.role, second.role) == ("symptom", "cause")


def test_a_cause_that_was_there_and_raises_the_odds_by_a_tenth_comes_before_a_heavier_symptom():
    heavy = {"orders_recency_days": 2.0}
    assert math.exp(MATERIAL) == pytest.approx(1.1)
    assert codes(LATE, heavy | {"late_deliveries_count_30d": MATERIAL + 1e-6}) == ["late_delivery", "overdue"]
    assert codes(LATE, heavy | {"late_deliveries_count_30d": MATERIAL - 1e-6}) == ["overdue", "late_delivery"]


def test_a_cause_that_was_not_there_is_no_cause_whatever_the_model_makes_of_its_absence():
    moved = {"orders_recency_days": 2.0, "late_deliveries_count_30d": 1.0}
    assert codes({"late_deliveries_count_30d": 0.0}, moved) == ["overdue", "late_delivery"]
    heavier = {"orders_recency_days": 0.1, "late_deliveries_count_30d": 1.0, "tenure_days": -0.01}
    assert codes({"late_deliveries_count_30d": 0.0}, heavier) == ["overdue", "tenure", "late_delivery"]
    assert codes({"late_deliveries_count_30d": 0.0}, {"late_deliveries_count_30d": -0.4}) == ["late_delivery"]


def test_a_wait_is_a_cause_where_it_is_longer_than_other_customers_usually_wait():
    moved = {"orders_recency_days": 2.0, "support_last_wait_minutes": 1.0}
    medians = {"support_last_wait_minutes": 40.0}
    assert codes({"support_last_wait_minutes": 41.0}, moved, medians=medians)[0] == "slow_support"
    assert codes({"support_last_wait_minutes": 40.0}, moved, medians=medians)[0] == "overdue"


def test_several_causes_are_ordered_by_weight():
    there = LATE | {"unanswered_count_90d": 1.0}
    moved = {"orders_recency_days": 2.0, "late_deliveries_count_30d": 0.3, "unanswered_count_90d": 0.4}
    assert codes(there, moved) == ["unanswered_contact", "late_delivery", "overdue"]


def test_where_anything_raises_the_risk_one_of_the_reasons_does():
    moved = {"orders_recency_days": -3.0, "views_count_30d": -2.0, "tenure_days": 0.5, "season_share_365d": 0.1}
    assert codes({}, moved, k=2) == ["overdue", "tenure"]
    assert codes({}, moved, k=1) == ["tenure"]
    assert codes({}, moved, k=0) == []


def test_a_cause_is_told_by_a_feature_that_shows_it():
    values = {"late_deliveries_count_30d": 0.0, "late_deliveries_count_90d": 2.0}
    moved = {"late_deliveries_count_30d": 0.5, "late_deliveries_count_90d": 0.1}
    (found,) = reasons(model_with({}), row(values), moves(moved), 1)
    assert (found.feature, found.value) == ("late_deliveries_count_90d", 2.0)


def test_a_fading_load_counts_with_the_trouble_it_is_made_of_and_leaves_the_telling_to_it():
    values = {"late_deliveries_count_30d": 2.0, "late_deliveries_recency_days": 3.0, "late_delivery_load": 80.0}
    moved = {"late_delivery_load": 1.5, "late_deliveries_count_30d": 0.1, "orders_recency_days": 2.0}
    first, second = reasons(model_with({}), row(values), moves(moved), 2)
    assert (first.code, first.feature, first.value) == ("late_delivery", "late_deliveries_count_30d", 2.0)
    assert second.code == "overdue"
    (old,) = reasons(model_with({}), row({"late_deliveries_recency_days": 95.0}), moves({"late_delivery_load": 0.2}), 1)
    assert (old.feature, old.value) == ("late_deliveries_recency_days", 95.0)


def test_what_moves_nothing_is_no_reason(model):
    assert reasons(model, row({}), moves({}), 3) == ()
    assert [one.code for one in reasons(model, row({}), moves({"tenure_days": 0.1}), 3)] == ["tenure"]


def test_contributions_with_or_without_the_average_margin_say_the_same(model, table):
    contributions = model.contributions(table.values)
    assert reasons_of_many(model, table.values, contributions, 3) == reasons_of_many(
        model, table.values, contributions[:, :-1], 3
    )


@pytest.mark.parametrize("shapes", [((1, 3), (1, 4)), ((2, F), (1, F + 1)), ((1, F), (1, F - 1))])
def test_arrays_of_another_shape_are_refused(model, shapes):
    values, contributions = (np.zeros(shape) for shape in shapes)
    with pytest.raises(DataError, match=f"reasons need {F} values"):
        reasons_of_many(model, values, contributions, 3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_many_equal_each_one_alone(model, language):
    rng = np.random.default_rng(3)
    values = np.round(rng.normal(2, 40, (60, len(CHURN_FEATURES))), 1)
    values[rng.random(values.shape) < 0.2] = np.nan
    contributions = rng.normal(0, 0.3, (60, len(CHURN_FEATURES) + 1))
    many = reasons_of_many(model, values, contributions, 4, language, "EUR")
    alone = [reasons(model, *one, 4, language, "EUR") for one in zip(values, contributions, strict=True)]
    assert many == alone


def test_every_score_above_the_bands_cut_off_carries_reasons_in_both_languages(model):
    rng = np.random.default_rng(5)
    view = orders({f"c{i:03}": sorted(rng.choice(199, rng.integers(2, 40), replace=False)) for i in range(300)})
    table = compute(view, CHURN_FEATURES, AS_OF)
    above = score_churn(model, Bands(0.6, 0.7), table).churn_probability >= 0.6
    assert 20 < above.sum() < 280
    values = table.values[above]
    told = [reasons_of_many(model, values, model.contributions(values), 3, language) for language in LANGUAGES]
    for english, chinese in zip(*told, strict=True):
        assert english
        assert any(one.direction == "raises" for one in english)
        assert [one.code for one in english] == [one.code for one in chinese]
        assert all(one.text.isascii() for one in english)
        assert not any(one.text.isascii() for one in chinese)


def test_a_column_without_an_entry_is_a_reason_of_its_own_told_by_its_name():
    names = ("Contract", "Monthly Charges", "odd {name}")
    contract = dataclasses.replace(
        churn_model(0.0),
        feature_names=names,
        linear=LinearPart(3, 0.0, ()),
        trees=None,
        medians=np.array([1.0, 70.35, np.nan]),
        categories={"Contract": ("Month-to-month", "One year")},
    )
    values, moved = np.array([0.0, 95.0, np.nan]), np.array([0.8, 0.5, -0.2, 0.0])
    unseen, *_ = reasons(contract, np.array([np.nan, 95.0, np.nan]), moved, 3)
    assert (unseen.text, unseen.value) == ("Contract: unknown", None)
    found = reasons(contract, values, moved, 3)
    assert [(one.code, one.value, one.usual, one.controllable) for one in found] == [
        ("Contract", "Month-to-month", "One year", False),
        ("Monthly_Charges", 95.0, 70.35, False),
        ("odd_{name}", None, None, False),
    ]
    assert [one.text for one in found] == [
        "Contract: Month-to-month; other customers usually One year",
        "Monthly Charges: 95; other customers usually 70",
        "odd {name}: unknown",
    ]
    assert [one.text for one in reasons(contract, values, moved, 3, "zh")] == [
        "Contract：Month-to-month；其他顾客通常为 One year",
        "Monthly Charges：95；其他顾客通常为 70",
        "odd {name}：未知",
    ]
