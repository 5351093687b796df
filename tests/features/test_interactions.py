from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ConfigurationError
from features.interactions import InteractionSettings, interactions
from features.settings import read_settings
from tests.shop_events import day, view_of

USUAL = InteractionSettings()


def weight(rows, as_of, settings=USUAL, item_ids=None):
    return interactions(view_of(rows), day(as_of), settings, item_ids)


def test_a_purchase_one_half_life_ago_counts_half():
    found = weight([("ann", "cup", 0, "purchase")], 90)
    assert found.weights.toarray().tolist() == [[0.5]]


def test_events_of_a_customer_and_an_item_add_up():
    # purchase 90 days ago 1 * .5, cart 180 days ago .3 * .25, view 90 days ago .1 * .5: .5 + .075 + .05 = .625
    rows = [("ann", "cup", 90, "purchase"), ("ann", "cup", 0, "cart"), ("ann", "cup", 90, "view")]
    assert weight(rows, 180).weights.toarray() == pytest.approx(np.array([[0.625]]), abs=1e-7)


def test_a_return_takes_the_purchase_back():
    # 1 * 2**-1 - 1 * 2**0 would be at age 0; at day 90 the return of day 0 weighs .5 and the purchase of day -90 .25
    found = weight([("ann", "cup", -90, "purchase"), ("ann", "cup", 0, "return")], 90)
    assert found.weights.toarray().tolist() == [[-0.25]]


@pytest.mark.parametrize(("stars", "expected"), [(5, 0.25), (4, 0.125), (1, -0.25)])
def test_a_review_counts_by_its_stars(stars, expected):
    found = weight([("ann", "cup", 0, "review", None, stars), ("ann", "pot", 0, "purchase")], 90)
    assert found.weights.toarray()[0].tolist() == [expected, 0.5]


def test_three_stars_say_nothing():
    found = weight([("ann", "cup", 0, "review", None, 3), ("ann", "pot", 0, "purchase")], 90)
    assert found.item_ids.tolist() == ["pot"]


def test_event_at_as_of_is_not_seen():
    found = weight([("ann", "cup", 5, "purchase"), ("ann", "pot", 4, "purchase")], 5)
    assert found.item_ids.tolist() == ["pot"]


def test_event_recorded_at_as_of_is_not_seen():
    found = weight([("ann", "cup", 1, "purchase", 5), ("ann", "pot", 1, "purchase", 4.9)], 5)
    assert found.item_ids.tolist() == ["pot"]


def test_wanted_columns_come_in_the_order_asked_for_and_others_are_left_out():
    rows = [("ann", "cup", 0, "purchase"), ("ben", "pot", 0, "purchase"), ("ben", "tea", 0, "purchase")]
    found = weight(rows, 90, item_ids=["tea", "unheard of", "cup"])
    assert found.customer_keys.tolist() == ["ann", "ben"]
    assert found.weights.toarray().tolist() == [[0, 0, 0.5], [0.5, 0, 0]]


def test_ten_thousand_events_of_one_key_stop_at_the_largest_weight():
    found = weight([("ann", "cup", 0, "view")] * 10_000, 1, InteractionSettings(max_weight=7.0))
    assert found.weights.toarray().tolist() == [[7.0]]


def test_customers_without_interactions_have_empty_rows():
    found = weight([("ann", None, 0, "login"), ("ben", "cup", 0, "view")], 1)
    assert np.diff(found.weights.indptr).tolist() == [0, 1]


def test_no_events_give_an_empty_matrix():
    assert weight([], 1).weights.shape == (0, 0)


EVENT = st.tuples(
    st.sampled_from(["ann", "ben", "cat"]),
    st.sampled_from(["cup", "pot", "tea", "jar"]),
    st.integers(0, 400).map(lambda tenth: tenth / 10),
    st.sampled_from(["purchase", "view", "cart", "return", "login"]),
)
EVENTS = st.lists(EVENT, max_size=40).map(
    lambda rows: [(who, None if kind == "login" else item, when, kind) for who, item, when, kind in rows]
)


@settings(max_examples=60, deadline=None)
@given(rows=EVENTS, data=st.data())
def test_the_order_of_events_changes_no_bit(rows, data):
    shuffled = data.draw(st.permutations(rows))
    one, other = weight(rows, 30), weight(shuffled, 30)
    assert one.item_ids.tolist() == other.item_ids.tolist()
    assert one.weights.data.tobytes() == other.weights.data.tobytes()
    assert one.weights.indices.tolist() == other.weights.indices.tolist()


@settings(max_examples=60, deadline=None)
@given(rows=EVENTS)
def test_one_customer_alone_equals_the_customer_among_others(rows):
    view = view_of(rows)
    items = ["cup", "jar", "pot", "tea"]
    everyone = interactions(view, day(30), USUAL, items).weights
    for row in range(view.n_customers):
        alone = interactions(view.select([row]), day(30), USUAL, items).weights
        assert alone.toarray().tobytes() == everyone[row].toarray().tobytes()


@settings(max_examples=60, deadline=None)
@given(rows=EVENTS)
def test_what_is_known_later_changes_nothing(rows):
    view = view_of(rows)
    items = ["cup", "jar", "pot", "tea"]
    found = interactions(view, day(20), USUAL, items).weights.toarray()
    assert (interactions(view.known_at(day(20)), day(20), USUAL, items).weights.toarray() == found).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"half_life_days": 0.0}, "half_life_days"),
        ({"weights": {"purchse": 1.0}}, "purchse"),
        ({"max_weight": -1}, "max"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(given, words):
    with pytest.raises(ConfigurationError, match=words):
        read_settings(InteractionSettings, given)
