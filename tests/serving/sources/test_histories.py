from __future__ import annotations

import numpy as np

from features.instants import DAY_US
from features.interactions import InteractionSettings, ItemIndex
from features.schema import KINDS
from serving.sources.histories import Histories, Purchases
from tests.shop_events import day, view_of

INDEX = ItemIndex(("cup", "pot", "tea"))
SETTINGS = InteractionSettings()
KIND_NAMES = tuple(KINDS)


def read(rows, as_of=100):
    return Histories.read(view_of(rows), day(as_of), INDEX, SETTINGS)


def test_lines_of_one_item_at_one_instant_are_one_purchase():
    found = Purchases.read(
        view_of(
            [
                ("ann", "cup", 1, "purchase"),
                ("ann", "cup", 1, "purchase"),
                ("ann", "cup", 5, "purchase"),
                ("ann", "hat", 5, "purchase"),
                ("ben", "tea", 7, "purchase"),
            ]
        ),
        day(100),
        INDEX,
    )
    assert found.customers.tolist() == [0, 1]
    assert found.items.tolist() == [0, 2]
    assert found.counts.tolist() == [2, 1]
    assert found.first_us.tolist() == [day(1), day(7)]
    assert found.last_us.tolist() == [day(5), day(7)]


def test_steps_are_in_the_order_of_time_and_of_the_kinds_that_the_customer_wills():
    rows = [
        ("ann", "tea", 5, "purchase"),
        ("ann", "cup", 2, "view"),
        ("ann", "cup", 3, "cart"),
        ("ann", "pot", 1, "impression"),
        ("ann", "hat", 1, "view"),
        ("ben", "pot", 4, "view"),
        ("ben", "pot", 100, "view"),
        ("ben", "tea", 1, "view", 100),
    ]
    steps = read(rows).steps
    assert steps.offsets.tolist() == [0, 3, 4]
    assert [INDEX.item_ids[item] for item in steps.items] == ["cup", "cup", "tea", "pot"]
    assert steps.times_us.tolist() == [day(2), day(3), day(5), day(4)]
    assert [KIND_NAMES[kind] for kind in steps.kinds] == ["view", "cart", "purchase", "view"]
    assert steps.customers.tolist() == [0, 0, 0, 1]


def test_lists_of_items_become_histories_a_day_apart():
    # ann: 2, 0, 2 on days -3, -2, -1; ben nothing; cat 1 on day -1
    found = Histories.of_lists([[2, 0, 2], [], [1]], 3)
    assert found.as_of_us == 0
    assert found.steps.items.tolist() == [2, 0, 2, 1]
    assert found.steps.times_us.tolist() == [-3 * DAY_US, -2 * DAY_US, -DAY_US, -DAY_US]
    assert found.bought.counts.tolist() == [1, 2, 1]
    assert found.matrix(3).toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert found.cold.tolist() == [False, True, False]


def test_items_of_one_basket_share_an_instant():
    found = Histories.of_baskets([[[1, 0], [2]]], 3)
    assert found.steps.items.tolist() == [0, 1, 2]
    assert found.steps.times_us.tolist() == [-2 * DAY_US, -2 * DAY_US, -DAY_US]


def test_some_customers_alone_have_their_own_entries_in_the_order_asked_for():
    whole = Histories.of_lists([[2, 0, 2], [], [1, 2]], 3)
    some = whole.select(np.array([2, 0]))
    alone = Histories.of_lists([[1, 2], [2, 0, 2]], 3)
    for name in ("offsets", "items", "weights", "bought_offsets"):
        assert getattr(some, name).tolist() == getattr(alone, name).tolist()
    assert vars(some.bought).keys() == vars(alone.bought).keys()
    assert all(np.array_equal(found, vars(alone.bought)[name]) for name, found in vars(some.bought).items())
    assert all(np.array_equal(found, vars(alone.steps)[name]) for name, found in vars(some.steps).items())
