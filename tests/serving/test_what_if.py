"""The probability as if a reason were resolved: only its own features change, as the catalogue says."""

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from serving.reasons import reasons_of_many
from serving.what_if import what_if
from tests.reason_rows import NAMES, model_with, moves, row

MEDIANS = {"order_gap_mean_days_all": 30.0}


def supposed(values, contributions, medians=MEDIANS, language="en"):
    model = model_with(medians)
    rows = np.stack([row(one) for one in values])
    found = reasons_of_many(model, rows, np.stack([moves(contributions)] * len(values)), 3, language)
    return model, rows, what_if(model, rows, found, model.probabilities(rows), None, language)


def test_a_resolved_silence_is_an_order_in_the_customers_own_rhythm():
    overdue = {"orders_recency_days": 1.0}
    given = {"orders_recency_days": 80.0, "order_gap_mean_days_all": 12.0}
    model, rows, ((found,),) = supposed([given], overdue)
    changed = rows.copy()
    changed[0, NAMES.index("orders_recency_days")] = 12.0
    assert found.churn_probability == model.probabilities(changed)[0]
    before, after = model.probabilities(rows)[0], found.churn_probability
    assert after < before
    assert found.note == (
        f"With an order in the customer's usual rhythm, the model would say {after:.0%} instead of {before:.0%}. This "
        "is an association in past data, not the effect of an action."
    )


def test_who_has_no_rhythm_is_supposed_to_have_that_of_others():
    model, rows, ((found,),) = supposed([{"orders_recency_days": 80.0}], {"orders_recency_days": 1.0})
    rows[0, NAMES.index("orders_recency_days")] = 30.0
    assert found.churn_probability == model.probabilities(rows)[0]


def test_what_is_better_than_usual_already_is_not_made_worse():
    given = {"orders_recency_days": 3.0, "order_gap_mean_days_all": 12.0}
    model, rows, ((found,),) = supposed([given], {"orders_recency_days": 1.0})
    assert found.churn_probability == model.probabilities(rows)[0]


def test_only_controllable_reasons_that_raise_are_supposed_to_be_resolved():
    moved = {"orders_recency_days": -1.0, "tenure_days": 0.5, "late_deliveries_count_30d": 0.4}
    given = {"orders_recency_days": 80.0, "late_deliveries_count_30d": 2.0}
    _, _, (found,) = supposed([given], moved)
    assert [one is None for one in found] == [False, True, True]  # late delivery first, then what lowers, and tenure


def test_every_customer_is_answered_as_if_alone():
    moved = {"orders_recency_days": 1.0, "late_deliveries_count_30d": 0.4}
    values = [{"orders_recency_days": float(days), "late_deliveries_count_30d": 1.0} for days in (10, 40, 90)]
    _, _, together = supposed(values, moved)
    assert together == [supposed([one], moved)[2][0] for one in values]
    assert len(together[0]) == 2


def test_the_note_says_in_chinese_that_it_is_no_effect():
    _, _, ((found,),) = supposed([{"orders_recency_days": 80.0}], {"orders_recency_days": 1.0}, language="zh")
    assert found.note.startswith("若顾客按平时的节奏下单，模型给出的概率将为 ")
    assert found.note.endswith("这是历史数据中的关联，并非采取行动的效果。")


@pytest.mark.parametrize(
    ("values", "reason", "changed"),
    [
        # no trouble: counts at 0, the last one never was; what is known of other things stays
        (
            {"late_deliveries_count_90d": 2.0, "late_deliveries_recency_days": 8.0, "late_hours_90d": 40.0},
            "late_deliveries_count_90d",
            {"late_deliveries_count_90d": 0.0, "late_deliveries_recency_days": np.nan, "late_hours_90d": 0.0},
        ),
        # 14 views in 90 days, 2 in the last 30: usually 6 in 30; who stopped is as steady as before
        (
            {"views_count_30d": 2.0, "views_count_90d": 14.0, "tenure_days": 400.0, "views_trend_30d": -0.6},
            "views_count_30d",
            {"views_count_30d": 6.0, "views_count_90d": 20.0, "views_trend_30d": 0.0},
        ),
    ],
)
def test_features_are_set_as_the_catalogue_says(values, reason, changed, monkeypatch):
    medians = {"views_count_90d": 20.0}
    model = model_with(medians)
    asked = []
    monkeypatch.setattr(
        type(model), "probabilities", lambda _, rows, at=None: (asked.append(rows), np.zeros(len(rows)))[1]
    )
    rows = row(values)[np.newaxis]
    found = reasons_of_many(model, rows, moves({reason: 1.0})[np.newaxis], 1)
    what_if(model, rows, found, np.array([0.5]))
    expected = row(values | changed)
    set_to_zero = [name for name in CHURN_FEATURES.names if asked[0][0][NAMES.index(name)] == 0.0]
    kept = ~np.isin(np.arange(len(NAMES)), [NAMES.index(name) for name in set_to_zero])
    np.testing.assert_array_equal(asked[0][0][kept], expected[kept])
    assert {name for name, value in changed.items() if value == 0.0} <= set(set_to_zero)
