"""Days on which a customer did anything: counted once each, whatever was done and however often."""

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import TRACKS, CustomerView
from features.day_tracks import ACTIVE_DAY, OWN_DOING
from features.instants import DAY_US, HOUR_US
from features.schema import KINDS
from tests.event_tables import event, event_table, us

AS_OF = us("2026-07-01")


def active_days(*rows, as_of=AS_OF, customer="a"):
    """The counts (all, 90 days) of one customer."""
    view = CustomerView.from_events(event_table(*rows))
    table = compute(view, CHURN_FEATURES, as_of)
    row = int(view.rows_of([customer])[0])
    return table.column("active_days_count_all")[row], table.column("active_days_count_90d")[row]


def test_several_doings_of_one_day_are_one_day():
    rows = (
        event("a", "view", "2026-06-01T00:00:00Z"),
        event("a", "view", "2026-06-01T08:00:00Z"),
        event("a", "purchase", "2026-06-01T08:30:00Z"),
        event("a", "login", "2026-06-01T23:59:59Z"),
        event("a", "support", "2026-06-02T00:00:00Z"),
        event("b", "view", "2026-06-02T00:00:00Z"),
    )
    assert active_days(*rows) == (2, 2)
    assert active_days(*rows, customer="b") == (1, 1)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_the_shop_does_is_no_activity_of_the_customer(kind):
    rows = (event("a", "view", "2026-06-01"), event("a", kind, "2026-06-03", value=3))
    assert active_days(*rows)[0] == (2 if kind in OWN_DOING else 1)
    assert (kind in OWN_DOING) == (kind not in ("impression", "delivery", "offer"))


def test_a_day_counts_at_its_first_event_where_the_window_or_as_of_cuts_it():
    # 90 days before noon of 2026-07-01 is noon of 2026-04-02
    rows = (
        event("a", "view", "2026-04-02T09:00:00Z"),
        event("a", "view", "2026-04-02T15:00:00Z"),  # inside, but its day began before
        event("a", "view", "2026-04-03T09:00:00Z"),
        event("a", "view", "2026-07-01T09:00:00Z"),
        event("a", "view", "2026-07-01T15:00:00Z"),  # still to come
        event("a", "view", "2026-07-02T09:00:00Z"),
    )
    assert active_days(*rows, as_of=us("2026-07-01T12:00:00Z")) == (3, 2)
    assert active_days(rows[1], as_of=us("2026-07-01T12:00:00Z")) == (1, 1)


def test_event_at_as_of_and_event_recorded_later_make_no_active_day():
    rows = (
        event("a", "view", "2026-06-01"),
        event("a", "view", "2026-06-02", recorded="2026-07-02"),
        event("a", "view", AS_OF),
        event("b", "view", "2026-06-03"),
    )
    assert active_days(*rows) == (1, 1)
    # the first of the day is told late: the day counts by the one that is known
    noon = event("a", "view", "2026-06-02T12:00:00Z")
    assert active_days(*rows, noon) == (2, 2)


def test_customers_without_any_activity_have_none():
    rows = (event("a", "offer", "2026-06-01"), event("b", "impression", "2026-06-02"))
    assert active_days(*rows) == (0, 0)
    assert active_days(rows[0]) == (0, 0)
    assert CustomerView.from_events(event_table()).track(ACTIVE_DAY).offsets.tolist() == [0]


def test_days_before_1970_are_days_too():
    rows = (event("a", "view", -1), event("a", "view", -DAY_US), event("a", "view", 0), event("a", "view", -DAY_US - 1))
    assert active_days(*rows, as_of=DAY_US) == (3, 3)
    assert active_days(*rows, event("b", "view", 5), as_of=DAY_US) == (3, 3)


def test_days_equal_the_distinct_days_of_a_plain_set():
    rng = np.random.default_rng(4)
    kinds = [*OWN_DOING, "offer", "delivery"]
    rows = [
        event(str(rng.integers(40)), kinds[rng.integers(12)], AS_OF - int(rng.integers(1, 4_000)) * HOUR_US, value=3)
        for _ in range(1_500)
    ]
    view = CustomerView.from_events(event_table(*rows))
    found = compute(view, CHURN_FEATURES, AS_OF).column("active_days_count_all")
    days = {(row["customer_key"], row["occurred_at"] // DAY_US) for row in rows if row["kind"] in OWN_DOING}
    assert found.tolist() == [sum(key == customer for customer, _ in days) for key in view.customer_keys]


def test_the_track_is_made_when_it_is_asked_for_and_is_not_among_those_that_are_kept():
    view = CustomerView.from_events(event_table(event("a", "view", "2026-06-01"), event("b", "login", "2026-06-01")))
    assert ACTIVE_DAY not in TRACKS
    assert view.track(ACTIVE_DAY) is view.track(ACTIVE_DAY)
    assert view.select([1]).track(ACTIVE_DAY).occurred_us.tolist() == [us("2026-06-01")]
    assert len(view) == 2
