"""Feature values against hand arithmetic; what is seen and what is not."""

import math

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute, compute_many
from features.customer_view import CustomerView
from features.errors import ConfigurationError, DataError
from features.expressions import Count
from features.feature_set import Feature, FeatureSet
from tests.event_tables import event, event_table, us

AS_OF = us("2026-07-01")


def feature_values(*rows, as_of=AS_OF, customer="a"):
    view = CustomerView.from_events(event_table(*rows))
    table = compute(view, CHURN_FEATURES, as_of)
    row = int(view.rows_of([customer])[0])
    return dict(zip(table.names, table.values[row].tolist(), strict=True))


def test_there_are_at_least_sixty_features_and_each_says_what_missing_means():
    assert len(CHURN_FEATURES) >= 60
    assert all(feature.missing and feature.meaning and feature.unit for feature in CHURN_FEATURES)


def test_event_at_as_of_is_not_seen():
    values = feature_values(
        event("a", "purchase", "2026-06-01", order_id="o1"), event("a", "purchase", "2026-07-01", order_id="o2")
    )
    assert values["orders_count_all"] == 1


def test_event_just_before_as_of_is_seen():
    values = feature_values(event("a", "purchase", AS_OF - 1, order_id="o1"))
    assert values["orders_count_14d"] == 1


def test_window_start_is_inside():
    # 90 days before 2026-07-01 is 2026-04-02
    inside = feature_values(event("a", "purchase", "2026-04-02", order_id="o1"))
    outside = feature_values(event("a", "purchase", us("2026-04-02") - 1, order_id="o1"))
    assert (inside["orders_count_90d"], outside["orders_count_90d"]) == (1, 0)


def test_event_recorded_after_as_of_is_not_seen():
    values = feature_values(
        event("a", "purchase", "2026-05-01", order_id="o1"),
        event("a", "purchase", "2026-06-01", recorded="2026-07-02", order_id="o2"),
        event("b", "purchase", "2026-06-01", order_id="o3"),
    )
    assert values["orders_count_all"] == 1
    assert values["orders_recency_days"] == 61  # May has 31 days, June 30
    assert values["spend_minor_all"] == 1000


def test_order_whose_first_line_is_late_counts_from_the_line_that_is_known():
    values = feature_values(
        event("a", "purchase", "2026-05-01", recorded="2026-08-01", order_id="o1"),
        event("a", "purchase", "2026-05-02", order_id="o1"),
    )
    assert values["orders_count_all"] == 1
    assert values["orders_recency_days"] == 60


def test_lines_of_one_order_are_one_order():
    values = feature_values(
        event("a", "purchase", "2026-06-01", order_id="o1", item_id="x", amount_minor=300),
        event("a", "purchase", "2026-06-01", order_id="o1", item_id="y", amount_minor=500),
        event("a", "purchase", "2026-06-11", order_id="o2", item_id="x", amount_minor=400),
    )
    assert values["orders_count_90d"] == 2
    assert values["lines_count_90d"] == 3
    assert values["spend_minor_90d"] == 1200
    assert values["order_value_minor_90d"] == 600
    assert values["items_distinct_90d"] == 2
    assert values["repeated_lines_share_365d"] == pytest.approx(1 / 3)


def test_lines_without_order_id_at_one_instant_are_one_order():
    values = feature_values(
        event("a", "purchase", "2026-06-01", item_id="x"),
        event("a", "purchase", "2026-06-01", item_id="y"),
        event("a", "purchase", "2026-06-02", item_id="x"),
    )
    assert values["orders_count_90d"] == 2


def test_two_customers_with_one_order_id_have_an_order_each():
    rows = (event("a", "purchase", "2026-06-01", order_id="o"), event("b", "purchase", "2026-05-01", order_id="o"))
    assert feature_values(*rows)["orders_count_90d"] == 1
    assert feature_values(*rows, customer="b")["orders_count_90d"] == 1


def test_gap_statistics_by_hand():
    # orders on days 0, 10, 30, 60: gaps 10, 20, 30; mean 20, sample deviation 10; 30 days later
    days = ("2026-04-02", "2026-04-12", "2026-05-02", "2026-06-01")
    values = feature_values(*(event("a", "purchase", day, order_id=day) for day in days))
    assert values["order_gap_mean_days_all"] == 20
    assert values["order_gap_deviation_days_all"] == pytest.approx(10)
    assert values["order_gap_variation_all"] == pytest.approx(0.5)
    assert values["order_gap_last_ratio_all"] == 1.5
    assert values["orders_recency_days"] == 30
    assert values["cycle_position_all"] == 1.5
    assert values["cycle_deviations_all"] == pytest.approx(1)
    assert values["overdue_days_all"] == 10
    assert values["tenure_days"] == 90


def test_gap_that_ended_in_the_window_counts_though_it_began_before():
    # 2025-06-01 lies before the 365 days to 2026-07-01, 2025-08-01 (61 days later) inside
    values = feature_values(
        event("a", "purchase", "2025-06-01", order_id="1"), event("a", "purchase", "2025-08-01", order_id="2")
    )
    assert values["order_gap_mean_days_365d"] == 61


def test_activity_is_what_the_customer_did_last_not_what_the_shop_sent():
    values = feature_values(
        event("a", "purchase", "2026-05-01"),
        event("a", "login", "2026-06-21"),
        event("a", "offer", "2026-06-25"),
        event("a", "impression", "2026-06-26"),
        event("a", "delivery", "2026-06-27", value=0),
    )
    assert values["activity_recency_days"] == 10


def test_trend_is_recent_against_earlier():
    # three orders in the last 90 days, one in the 90 before: (3 - 1) / (3 + 1)
    days = ("2026-02-01", "2026-05-01", "2026-05-10", "2026-06-01")
    values = feature_values(*(event("a", "purchase", day, order_id=day) for day in days))
    assert values["orders_trend_90d"] == 0.5


def test_silent_customers_window_empties_as_time_moves_on():
    view = CustomerView.from_events(event_table(event("a", "purchase", "2026-06-01", order_id="o")))
    now, later = compute_many(view, CHURN_FEATURES, (AS_OF, us("2026-12-01")))
    assert now.column("orders_count_90d").tolist() == [1]
    assert later.column("orders_count_90d").tolist() == [0]


def test_shares_of_channel_weekend_and_time_of_day():
    # 2026-06-06 is a Saturday
    values = feature_values(
        event("a", "purchase", "2026-06-06T19:00:00Z", order_id="1", channel="app"),
        event("a", "purchase", "2026-06-08T07:00:00Z", order_id="2", channel="web"),
        event("a", "purchase", "2026-06-09T07:00:00Z", order_id="3", channel="kiosk"),
        event("a", "purchase", "2026-06-10T13:00:00Z", order_id="4", channel="web"),
    )
    assert values["orders_app_share_365d"] == 0.25
    assert values["orders_web_share_365d"] == 0.5
    assert values["orders_store_share_365d"] == 0
    assert values["orders_weekend_share_365d"] == 0.25
    assert values["orders_evening_share_365d"] == 0.25
    assert values["orders_morning_share_365d"] == 0.5


def test_trouble_and_satisfaction_by_hand():
    values = feature_values(
        event("a", "purchase", "2026-06-01", order_id="1", amount_minor=800, discount_minor=200),
        event("a", "purchase", "2026-06-01", order_id="1", amount_minor=200, item_id="y"),
        event("a", "return", "2026-06-05", amount_minor=250),
        event("a", "delivery", "2026-06-03", value=-5),
        event("a", "delivery", "2026-06-04", value=30),
        event("a", "support", "2026-06-06", value=90),
        event("a", "support", "2026-06-07", value=None),
        event("a", "csat", "2026-06-08", value=2),
        event("a", "view", "2026-06-09", topic="out_of_stock"),
        event("a", "view", "2026-06-10"),
    )
    assert values["refund_ratio_365d"] == 0.25
    assert values["return_rate_365d"] == 0.5
    assert values["discount_share_90d"] == pytest.approx(200 / 1200)
    assert values["late_deliveries_count_30d"] == 1
    assert values["late_hours_90d"] == 30
    assert values["delivery_last_late_hours"] == 30
    assert values["unanswered_count_90d"] == 1
    assert values["support_wait_minutes_90d"] == 90
    assert values["csat_low_count_90d"] == 1
    assert values["csat_last"] == 2
    assert values["stockouts_share_90d"] == 0.5


def test_days_since_the_last_trouble_by_hand():
    values = feature_values(
        event("a", "delivery", "2026-06-03", value=30),
        event("a", "delivery", "2026-06-20", value=-2),
        event("a", "support", "2026-06-07", value=None),
        event("a", "support", "2026-06-11", value=45),
        event("a", "csat", "2026-06-21", value=2),
        event("a", "csat", "2026-06-28", value=3),
        event("a", "view", "2026-06-09", topic="out_of_stock"),
        event("a", "view", "2026-06-30"),
        event("b", "delivery", "2026-06-29", value=-1),
    )
    # to 2026-07-01: June has 30 days; what came in time, was answered, in stock or satisfying does not count
    assert values["late_deliveries_recency_days"] == 28
    assert values["unanswered_recency_days"] == 24
    assert values["csat_low_recency_days"] == 10
    assert values["stockouts_recency_days"] == 22
    assert math.isnan(values["reviews_low_recency_days"])
    assert values["support_last_wait_minutes"] == 45


def test_trouble_of_one_customer_is_not_the_next_ones():
    rows = (event("a", "delivery", "2026-06-03", value=30), event("b", "delivery", "2026-06-29", value=-1))
    assert feature_values(*rows, customer="a")["late_deliveries_recency_days"] == 28
    assert math.isnan(feature_values(*rows, customer="b")["late_deliveries_recency_days"])


def test_a_delivery_of_unknown_lateness_is_not_taken_for_one_in_time():
    late = event("a", "delivery", "2026-06-03", value=4)
    values = feature_values(late, event("a", "delivery", "2026-06-04", value=None))
    assert math.isnan(values["delivery_last_late_hours"])
    assert values["late_deliveries_share_365d"] == 1
    assert math.isnan(feature_values(event("a", "delivery", "2026-06-04"))["late_deliveries_share_365d"])


def test_deviations_from_a_cycle_without_any_are_missing():
    days = ("2026-05-02", "2026-05-12", "2026-05-22")
    values = feature_values(*(event("a", "purchase", day, order_id=day) for day in days))
    assert values["order_gap_deviation_days_all"] == 0
    assert math.isnan(values["cycle_deviations_all"])
    assert "all gaps equal" in CHURN_FEATURES["cycle_deviations_all"].missing


def test_customer_without_an_order_has_the_documented_missing_values():
    values = feature_values(event("a", "view", "2026-06-09"))
    for feature in CHURN_FEATURES:
        if feature.missing == "never":
            assert not math.isnan(values[feature.name]), feature.name
    assert math.isnan(values["orders_recency_days"])
    assert math.isnan(values["order_value_minor_90d"])
    assert values["orders_count_all"] == 0


def test_customer_whose_events_all_lie_after_as_of_has_no_history():
    values = feature_values(event("a", "purchase", "2026-08-01", order_id="1"))
    assert values["orders_count_all"] == 0
    assert math.isnan(values["tenure_days"])


def test_a_table_without_events_gives_a_table_without_rows():
    table = compute(CustomerView.from_events(event_table()), CHURN_FEATURES, AS_OF)
    assert table.values.shape == (0, len(CHURN_FEATURES))


def test_amounts_in_two_currencies_are_refused():
    rows = (event("a", "purchase", "2026-06-01"), event("a", "purchase", "2026-06-02", currency="USD"))
    with pytest.raises(DataError, match="2 currencies"):
        CustomerView.from_events(event_table(*rows))


def test_feature_table_as_arrow_carries_the_fingerprint():
    view = CustomerView.from_events(event_table(event("a", "purchase", "2026-06-01")))
    arrow = compute(view, CHURN_FEATURES, AS_OF).to_arrow()
    assert arrow.schema.metadata[b"feature_set_fingerprint"].decode() == CHURN_FEATURES.fingerprint()
    assert arrow.column_names == ["customer_key", "as_of", *CHURN_FEATURES.names]


def test_fingerprint_changes_with_window_order_and_version():
    def feature(name, days, version=1):
        return Feature(name, Count("order", days), "orders", "never", "orders", "frequency", version=version)

    one, two = feature("one", 30), feature("two", 60)
    prints = {
        FeatureSet("s", features).fingerprint()
        for features in ((one, two), (two, one), (one,), (feature("one", 31), two), (feature("one", 30, 2), two))
    }
    assert len(prints) == 5


def test_feature_declared_twice_is_refused():
    feature = CHURN_FEATURES.features[0]
    with pytest.raises(ConfigurationError, match=feature.name):
        FeatureSet("s", (feature, feature))


@pytest.mark.parametrize("kind", ["csat", "review", "nps", "delivery"])
def test_order_of_two_values_at_one_instant_changes_nothing(kind):
    rows = [event("a", kind, "2026-06-01", value=value) for value in (3, 1, 4, 2)]
    names = ("csat_last", "review_stars_last", "nps_last", "delivery_last_late_hours")
    forwards, backwards = feature_values(*rows), feature_values(*reversed(rows))
    assert [forwards[name] for name in names if forwards[name] == 4] == [4]  # the largest value counts as the last
    np.testing.assert_equal(forwards, backwards)


def test_select_keeps_values_and_drops_other_items():
    view = CustomerView.from_events(
        event_table(
            event("a", "purchase", "2026-06-01", item_id="x"),
            event("b", "purchase", "2026-06-01", item_id="y"),
            event("c", "view", "2026-06-01", item_id="z"),
        )
    )
    some = view.select([0, 2])
    assert some.customer_keys.tolist() == ["a", "c"]
    assert some.item_ids.tolist() == ["x", "z"]
    whole = compute(view, CHURN_FEATURES, AS_OF).values[[0, 2]]
    assert np.array_equal(compute(some, CHURN_FEATURES, AS_OF).values, whole, equal_nan=True)


def test_union_of_two_halves_is_the_whole():
    rows = [
        event("a", "purchase", "2026-06-01", order_id="o1", item_id="x"),
        event("b", "view", "2026-06-01", item_id="y"),
        event("a", "purchase", "2026-06-02", order_id="o1", item_id="z"),
        event("c", "csat", "2026-06-03"),
    ]
    whole = CustomerView.from_events(event_table(*rows))
    joined = CustomerView.union([CustomerView.from_events(event_table(*half)) for half in (rows[:2], rows[2:])])
    assert joined.item_ids.tolist() == whole.item_ids.tolist()
    assert np.array_equal(
        compute(joined, CHURN_FEATURES, AS_OF).values, compute(whole, CHURN_FEATURES, AS_OF).values, equal_nan=True
    )
    assert len(joined) == len(whole) == 4
