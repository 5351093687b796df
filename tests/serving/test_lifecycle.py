import numpy as np
import pytest

from features.errors import ArtefactError
from serving.lifecycle import STAGES, Lifecycle
from tests.segment_tables import NEVER_ORDERED, table_of

RULES = Lifecycle(usual_cycle_days=40.0)


def stage(**differs):
    return STAGES[RULES.of(table_of(differs))[0]]


def test_own_cycle_adds_one_usual_gap():
    # twenty gaps of 30 days and one of 40 make 640 / 21; one gap of 100 and one of 40 make 140 / 2
    cycles = RULES.own_cycle_days(table_of({}, {"orders_count_all": 2.0, "order_gap_mean_days_all": 100.0}))

    np.testing.assert_allclose(cycles, [640 / 21, 70.0])


def test_own_cycle_before_the_second_order_is_the_usual_one():
    once = {"orders_count_all": 1.0, "order_gap_mean_days_all": np.nan, "order_gap_last_ratio_all": np.nan}

    assert RULES.own_cycle_days(table_of(once)).tolist() == [40.0]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(45.7, "active"), (45.8, "slipping"), (76.1, "slipping"), (76.2, "at_risk"), (152.3, "at_risk"), (152.4, "lost")],
)
def test_stages_of_lateness_begin_at_their_limits(days, expected):
    # the own cycle is 640 / 21 = 30.476 days; 1.5, 2.5 and 5 of it are 45.71, 76.19 and 152.38 days
    assert stage(orders_recency_days=days) == expected


def test_first_order_of_late_is_new():
    once = {
        "orders_count_all": 1.0,
        "order_gap_mean_days_all": np.nan,
        "order_gap_last_ratio_all": np.nan,
        "orders_count_90d": 1.0,
        "orders_trend_90d": 1.0,
    }

    assert stage(orders_recency_days=20.0, tenure_days=20.0, **once) == "new"
    assert stage(orders_recency_days=70.0, tenure_days=70.0, **once) == "slipping"  # 1.75 usual cycles late


def test_twice_as_many_orders_as_in_the_quarter_before_is_growing():
    assert stage(orders_count_90d=4.0, orders_trend_90d=1 / 3) == "growing"  # 4 against 2
    assert stage(orders_count_90d=4.0, orders_trend_90d=1 / 7) == "active"  # 4 against 3
    assert stage(orders_count_90d=2.0, orders_trend_90d=1 / 3) == "active"  # 2 against 1 is chance
    assert stage(orders_count_90d=4.0, orders_trend_90d=1.0, tenure_days=100.0) == "active"  # nothing to compare with


def test_return_after_a_long_pause_is_won_back():
    # ten gaps: nine of 30 and one, the last, of 120, mean 39; the cycle before it (40 + 9 * 30) / 10 = 31; 120 > 77.5
    gaps = {"orders_count_all": 11.0, "order_gap_mean_days_all": 39.0}

    assert stage(**gaps, order_gap_last_ratio_all=120 / 39) == "won_back"
    assert stage(**gaps, order_gap_last_ratio_all=60 / 39) == "active"


def test_who_never_ordered_has_a_stage_of_their_own():
    assert stage(**NEVER_ORDERED) == "no_order"


def test_rules_survive_their_manifest():
    assert Lifecycle.from_manifest(RULES.to_manifest(), "segments.json") == RULES


@pytest.mark.parametrize("changes", [{"usual_cycle_days": 0.0}, {"slipping_from": 3.0}, {"lost_from": None}])
def test_altered_rules_are_refused(changes):
    with pytest.raises(ArtefactError):
        Lifecycle.from_manifest({**RULES.to_manifest(), **changes}, "segments.json")
