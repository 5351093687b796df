"""Beliefs of items: distinct customers, each with a limited say."""

import numpy as np
import pytest

from features.customer_view import CustomerView
from features.errors import ConfigurationError
from features.instants import DAY_US
from features.interactions import ItemIndex
from tests.event_tables import event, event_table, us
from training.exploration import BeliefSettings, ResponseCounts, count_responses, fit_item_beliefs, prior_of

NOW = us("2024-03-01")
AS_OF = NOW + 10 * DAY_US
HOUR = DAY_US // 24
ITEMS = ("cup", "jug", "pot")
INDEX = ItemIndex(ITEMS)


def view(*rows):
    return CustomerView.from_events(event_table(*rows))


def shown(customer, item, at=0, **fields):
    return event(customer, "impression", NOW + at, item_id=item, **fields)


def viewed(customer, item, at=HOUR, **fields):
    return event(customer, "view", NOW + at, item_id=item, **fields)


def counted(*rows, **settings):
    found = count_responses(view(*rows), INDEX, AS_OF, BeliefSettings(**settings))
    return found.shown.tolist(), found.responded.tolist()


def test_customers_are_counted_once_an_item():
    rows = [shown("a", "cup"), shown("a", "cup", 5), shown("b", "cup"), shown("b", "pot")]
    rows += [viewed("a", "cup"), viewed("a", "cup", 2 * HOUR), viewed("b", "jug")]  # b was never shown the jug
    assert counted(*rows) == ([2.0, 0.0, 1.0], [1.0, 0.0, 0.0])


def test_a_key_that_sends_ten_thousand_events_is_one_customer():
    honest = [shown(f"c{number}", "cup") for number in range(20)]
    flood = [one for _ in range(5_000) for one in (shown("bot", "pot"), viewed("bot", "pot"))]
    assert counted(*honest, *flood) == ([20.0, 0.0, 1.0], [0.0, 0.0, 1.0])
    means = fit_item_beliefs(view(*honest, *flood), INDEX, AS_OF).means
    alone = fit_item_beliefs(view(*honest, *flood[:2]), INDEX, AS_OF).means
    assert means.tolist() == alone.tolist()


def test_a_customer_who_was_shown_everything_counts_less_for_each():
    rows = [shown("a", item) for item in ITEMS] + [viewed("a", "jug"), shown("b", "cup")]
    shown_by, responded = counted(*rows, items_a_customer=1.5)
    assert shown_by == pytest.approx([1.5, 0.5, 0.5])
    assert responded == pytest.approx([0.0, 0.5, 0.0])


def test_only_closed_windows_and_what_was_known_count():
    rows = [shown("a", "cup", 9 * DAY_US), shown("b", "cup", 9 * DAY_US + 1), shown("c", "cup", recorded=AS_OF)]
    rows += [shown("d", "jug"), viewed("d", "jug", DAY_US), shown("e", "jug", HOUR), viewed("e", "jug", 0)]
    assert counted(*rows) == ([1.0, 2.0, 0.0], [0.0, 0.0, 0.0])


def test_items_that_nobody_knows_are_believed_to_be_as_the_usual_and_less_surely():
    rows = [shown(f"c{number}", "cup") for number in range(200)] + [viewed(f"c{number}", "cup") for number in range(20)]
    found = fit_item_beliefs(view(*rows), INDEX, AS_OF)
    rates = 1 / (1 + np.exp(-found.means))
    assert rates[0] == pytest.approx(0.1, abs=0.01)
    assert found.deviations[1] > found.deviations[0]
    assert found.means[1] == found.means[2]


def test_the_prior_has_the_mean_of_the_items_and_the_strength_of_their_likeness():
    rng = np.random.default_rng(0)
    shown_to = np.full(2_000, 500.0)
    rates = rng.beta(5.0, 95.0, 2_000)
    responded, strength = prior_of(ResponseCounts(shown_to, rng.binomial(500, rates).astype(float)))
    assert strength == pytest.approx(100.0, rel=0.1)
    assert responded / strength == pytest.approx(0.05, rel=0.03)
    alike = prior_of(ResponseCounts(shown_to, np.full(2_000, 25.0)))
    assert alike == pytest.approx((500.0, 10_000.0))


@pytest.mark.parametrize("responded", [0.0, 10.0])
def test_where_all_or_none_respond_the_prior_is_still_one(responded):
    found = prior_of(ResponseCounts(np.array([10.0]), np.array([responded])))
    assert 0.0 < found[0] < found[1]


def test_no_events_and_no_items_have_their_answers():
    found = fit_item_beliefs(view(), INDEX, AS_OF)
    assert np.unique(found.means).size == 1
    assert fit_item_beliefs(view(shown("a", "cup")), ItemIndex(()), AS_OF).means.size == 0


@pytest.mark.parametrize("change", [{"kinds": ("click",)}, {"window_days": 0.0}, {"items_a_customer": float("nan")}])
def test_a_setting_that_cannot_be_is_refused(change):
    with pytest.raises(ConfigurationError, match="beliefs"):
        BeliefSettings(**change)
