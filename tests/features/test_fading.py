"""Loads of trouble that fade: against hand arithmetic, and the same bits for one customer as among all."""

import math

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.expressions import Moment
from features.fading import Fading
from features.feature_set import FeatureSet
from features.instants import DAY_US
from tests.event_tables import event, event_table, us

AS_OF = us("2026-07-01")
LOADS = FeatureSet("loads", tuple(feature for feature in CHURN_FEATURES if feature.name.endswith("_load")))


def loads(*rows, as_of=AS_OF):
    """The loads of customer a that are not 0."""
    view = CustomerView.from_events(event_table(*rows))
    values = compute(view, LOADS, as_of).values[int(view.rows_of(["a"])[0])]
    return {name: value for name, value in zip(LOADS.names, values.tolist(), strict=True) if value}


def ago(days):
    return AS_OF - int(days * DAY_US)


def test_there_are_six_loads():
    assert set(LOADS.names) == {
        "late_delivery_load",
        "unanswered_load",
        "support_wait_load",
        "stockouts_load",
        "csat_low_load",
        "disappointments_load",
    }


@pytest.mark.parametrize(("hours", "counted"), [(-3, 0), (0, 0), (1, 12), (12, 12), (30, 30), (120, 120), (400, 120)])
def test_a_late_delivery_weighs_its_hours_between_twelve_and_a_hundred_and_twenty(hours, counted):
    found = loads(event("a", "delivery", ago(30), value=hours))
    assert found == ({"late_delivery_load": pytest.approx(counted * math.exp(-1))} if counted else {})


@pytest.mark.parametrize(("minutes", "counted"), [(0, 0), (60, 0), (61, 1), (660, 600), (5_000, 600)])
def test_a_wait_weighs_its_minutes_beyond_the_first_hour(minutes, counted):
    found = loads(event("a", "support", ago(60), value=minutes))
    assert found == ({"support_wait_load": pytest.approx(counted * math.exp(-2))} if counted else {})


def test_a_contact_without_an_answer_has_no_wait_and_a_delivery_of_unknown_lateness_is_not_late():
    found = loads(event("a", "support", ago(15), value=None), event("a", "delivery", ago(1), value=None))
    assert found == {"unanswered_load": pytest.approx(math.exp(-0.5))}


@pytest.mark.parametrize(
    ("topic", "counted"), [(None, 0), ("changed_mind", 0), ("not_as_expected", 1), ("late_delivery", 1)]
)
def test_a_return_is_at_fault_where_its_topic_says_so(topic, counted):
    found = loads(event("a", "return", ago(30), topic=topic), event("a", "support", ago(30), topic=topic, value=5))
    assert found == ({"disappointments_load": pytest.approx(math.exp(-1))} if counted else {})


def test_each_trouble_fades_by_its_own_age_and_the_next_customers_does_not_count():
    found = loads(
        event("a", "csat", ago(3), value=2),
        event("a", "csat", ago(33), value=1),
        event("a", "csat", ago(2), value=3),
        event("a", "review", ago(0.5), value=1),
        event("a", "view", ago(90), topic="out_of_stock"),
        event("a", "view", ago(9)),
        event("b", "csat", ago(1), value=1),
    )
    assert found == {
        "csat_low_load": pytest.approx(math.exp(-0.1) + math.exp(-1.1)),
        "disappointments_load": pytest.approx(math.exp(-1 / 60)),
        "stockouts_load": pytest.approx(math.exp(-3)),
    }


def test_an_item_that_goes_back_and_is_reviewed_badly_the_same_day_disappointed_once():
    noon = us("2026-06-20T12:00:00Z")
    both = (event("a", "return", noon, topic="damaged"), event("a", "review", noon + 5, value=1))
    once = {"disappointments_load": pytest.approx(math.exp(-(AS_OF - noon) / DAY_US / 30))}
    assert loads(*both) == once
    assert loads(*both, event("a", "review", noon + DAY_US, value=4)) == once
    twice = loads(*both, event("a", "review", noon + DAY_US, value=2))["disappointments_load"]
    assert twice == pytest.approx(once["disappointments_load"].expected * (1 + math.exp(1 / 30)))


def test_the_window_reaches_back_twelve_memories_and_ends_before_as_of():
    low = {"value": 1}
    assert loads(event("a", "csat", AS_OF, **low)) == {}
    assert loads(event("a", "csat", AS_OF - 1, **low)) == {"csat_low_load": pytest.approx(1)}
    assert loads(event("a", "csat", ago(360), **low)) == {"csat_low_load": pytest.approx(math.exp(-12))}
    assert loads(event("a", "csat", ago(360) - 1, **low)) == {}


def test_trouble_that_was_recorded_after_as_of_does_not_count_yet():
    rows = (
        event("a", "csat", ago(30), value=1),
        event("a", "csat", ago(20), AS_OF, value=1),
        event("b", "csat", ago(10), value=1),
    )
    assert loads(*rows) == {"csat_low_load": pytest.approx(math.exp(-1))}


def test_a_longer_memory_fades_more_slowly():
    view = CustomerView.from_events(event_table(event("a", "csat", ago(60), value=1)))
    moment = Moment(view, AS_OF)
    assert moment.value(Fading("csat", "low", 60)).tolist() == pytest.approx([math.exp(-1)])
    assert moment.value(Fading("csat", "low")).tolist() == pytest.approx([math.exp(-2)])


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 64, 100, 1_000])
def test_the_exponential_of_a_value_does_not_depend_on_its_place_or_on_how_many_there_are(size):
    values = -np.random.default_rng(size).uniform(0, 12, 2_000)
    whole = np.exp(values)
    for start in (0, 1, 3, 2_000 - size):
        assert np.array_equal(np.exp(values[start : start + size].copy()), whole[start : start + size])


def test_each_customer_alone_or_among_some_has_the_same_bits_as_among_all():
    rng = np.random.default_rng(9)
    kinds = ("delivery", "support", "csat", "review", "return", "view")
    rows = [
        event(
            f"c{rng.integers(60):02}",
            kinds[rng.integers(6)],
            AS_OF - int(rng.integers(1, 400 * DAY_US)),
            value=int(rng.choice([1, 2, 70, 300])) if rng.random() < 0.8 else None,
            topic=str(rng.choice(["out_of_stock", "changed_mind", "not_as_expected"])),
        )
        for _ in range(3_000)
    ]
    view = CustomerView.from_events(event_table(*rows))
    whole = compute(view, LOADS, AS_OF).values
    assert (whole > 0).mean() > 0.9
    for row in range(view.n_customers):
        assert np.array_equal(compute(view.select([row]), LOADS, AS_OF).values[0], whole[row])
    some = np.arange(0, 60, 7)
    assert np.array_equal(compute(view.select(some), LOADS, AS_OF).values, whole[some])
    shuffled = CustomerView.from_events(event_table(*(rows[place] for place in rng.permutation(len(rows)))))
    assert np.array_equal(compute(shuffled, LOADS, AS_OF).values, whole)
