"""What the rules of a slate read of a customer: bought, looked at, shown without a click, as known at an instant."""

from features.customer_view import CustomerView
from features.interactions import InteractionSettings, ItemIndex
from serving.encounters import Encounters, shown_without_click
from serving.sources.histories import Histories
from tests.event_tables import event, event_table, us

INDEX = ItemIndex(("cup", "hat", "pot", "tea"))
AS_OF_US = us("2026-03-10")


def of(*rows, within_days=7.0):
    """The encounters of customer b, who is the second of the view."""
    view = CustomerView.from_events(event_table(event("a", "impression", "2026-03-09", item_id="tea"), *rows))
    histories = Histories.read(view, AS_OF_US, INDEX, InteractionSettings())
    return Encounters.of(histories, 1, shown_without_click(view, 1, histories, INDEX, within_days))


def b(kind, when, item_id="cup", recorded=None):
    return event("b", kind, when, recorded, item_id=item_id)


def test_purchases_and_what_was_looked_at():
    met = of(
        b("purchase", "2026-01-01", "pot"),
        b("purchase", "2026-02-01", "pot"),
        b("purchase", "2026-01-15", "unknown"),
        b("view", "2026-01-01", "tea"),
        b("view", "2026-01-02", "tea"),
        b("cart", "2026-01-02", "cup"),
        b("view", "2026-03-10", "hat"),
    )
    assert met.bought.tolist() == [2]
    assert met.last_bought_us.tolist() == [us("2026-02-01")]
    assert met.seen.tolist() == [0, 3]


def test_impressions_count_from_the_last_click_on():
    met = of(
        b("impression", "2026-03-04"),
        b("view", "2026-03-05"),
        b("impression", "2026-03-05"),  # at the very instant of the click: answered
        b("impression", "2026-03-06"),
        b("impression", "2026-03-07"),
        b("impression", "2026-03-07", "hat"),
        b("impression", "2026-03-08", "pot"),
        b("cart", "2026-03-09", "pot"),
    )
    assert met.shown.places.tolist() == [0, 1]
    assert met.shown.times.tolist() == [2, 1]


def test_impressions_outside_the_window_or_not_known_yet_do_not_count():
    met = of(
        b("impression", "2026-03-03T00:00:00Z"),  # the first instant within seven days
        b("impression", "2026-03-02T23:59:59Z"),
        b("impression", "2026-03-10"),
        b("impression", "2026-03-09", recorded="2026-03-10"),
        b("impression", "2026-03-09", "unknown"),
    )
    assert (met.shown.places.tolist(), met.shown.times.tolist()) == ([0], [1])
    assert of(b("login", "2026-03-09")).shown.places.tolist() == []


def test_nobody_met_nothing():
    nobody = Encounters.nobody()
    assert not any(map(len, (nobody.bought, nobody.last_bought_us, nobody.seen, nobody.shown.places)))
