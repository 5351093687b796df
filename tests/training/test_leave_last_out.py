from __future__ import annotations

import dataclasses

import pytest

from features.errors import NotEnoughDataError
from features.interactions import ItemIndex
from tests.shop_events import day, view_of
from training import leave_last_out
from training.fitted_sources import SourceSettings
from training.leave_last_out import HeldOut, evaluate_leave_last_out
from training.recommender import RecommenderFitSettings
from training.recommender_judging import EvaluationSettings, judge
from training.recommender_report import LEAVE_LAST_OUT
from training.sources.als import AlsSettings

FITTING = RecommenderFitSettings(
    sources=SourceSettings(use=("als", "popularity", "buy_again"), als=AlsSettings(factors=4, iterations=3)),
    blend={"popularity": 0.3, "buy_again": 0.7},
)
SETTINGS = EvaluationSettings(n_replicates=20)

SHOP = [
    ("ann", "cup", 1, "purchase"),
    ("ann", "pot", 5, "purchase"),
    ("ann", "tea", 5, "purchase"),  # the same instant: one purchase of two items
    ("ann", "jar", 6, "view"),  # after it: goes too
    ("ben", "cup", 2, "purchase"),  # one instant alone: stays
    ("ben", "pot", 2, "purchase"),
    ("cat", "cup", 1, "purchase"),
    ("cat", "cup", 3, "purchase"),
    ("dan", "cup", 4, "view"),
]


def test_the_last_purchase_is_held_out_with_all_that_came_from_then_on():
    held_out = HeldOut.of(view_of(SHOP))
    assert held_out.rows.tolist() == [0, 2]  # ann and cat
    assert held_out.last_us.tolist() == [day(5), day(3)]
    known = held_out.known
    assert (known.n_customers, len(known)) == (4, 5)  # ann's cup, ben's two, cat's first cup, dan's view
    assert known.item_ids[known.track("purchase").item].tolist() == ["cup", "cup", "pot", "cup"]
    assert len(known.track("order").item) == 3


def test_what_was_bought_at_the_last_instant_is_relevant():
    view = view_of(SHOP)
    relevant = HeldOut.of(view).relevant(view, ItemIndex(("cup", "pot")))
    # ann: pot, and tea that the catalogue does not hold; cat: cup, counted from 0
    assert (relevant.customers.tolist(), relevant.items.tolist(), relevant.n_outside) == ([0, 1], [1, 0], 1)


def habits(n_customers=20, n_items=5):
    """Customer c buys item c mod n four times, on days of their own."""
    return [(f"c{c:02}", f"i{c % n_items}", c + 10.0 * n, "purchase") for c in range(n_customers) for n in range(4)]


def test_a_world_of_habits_is_found_by_buying_again():
    report = evaluate_leave_last_out(view_of(habits()), FITTING, SETTINGS, observed_until_us=day(60))
    assert (report.split, report.n_judged, report.n_eligible) == (LEAVE_LAST_OUT, 20, 20)
    assert report.of("buy_again").ndcg_at_10.mean == 1.0
    # 4 customers an item, bought three times by each before the last: all items are as popular, in no telling order
    assert report.of("popularity").recall_at_10.mean == 1.0
    assert report.of("buy_again", "repeat").n_customers == 20
    assert report.of("ours", "history 1-2").n_customers == 20


def test_no_more_customers_than_asked_for_are_judged():
    settings = dataclasses.replace(SETTINGS, max_customers=6)
    report = evaluate_leave_last_out(view_of(habits()), FITTING, settings, observed_until_us=day(60))
    assert (report.n_judged, report.n_eligible) == (6, 20)


def test_nobody_who_bought_twice_is_nobody_to_judge_by():
    view = view_of([("ann", "cup", 1, "purchase"), ("ben", "cup", 2, "purchase")])
    with pytest.raises(NotEnoughDataError, match="two instants"):
        evaluate_leave_last_out(view, FITTING, SETTINGS, observed_until_us=day(9))


def test_items_that_only_the_held_out_purchases_hold_cannot_be_judged():
    view = view_of([("ann", "cup", 1, "purchase"), ("ann", "one of its kind", 2, "purchase")])
    with pytest.raises(NotEnoughDataError, match="met by anybody else"):
        evaluate_leave_last_out(view, FITTING, SETTINGS, observed_until_us=day(9))


def test_each_customer_is_judged_as_of_the_day_of_their_own_last_purchase(monkeypatch):
    seen = []

    def watched(recommender, judged, *others):
        seen.append(judged)
        return judge(recommender, judged, *others)

    monkeypatch.setattr(leave_last_out, "judge", watched)
    rows = [("ann", "cup", 1, "purchase"), ("ann", "cup", 5.5, "purchase"), ("ben", "cup", 2, "purchase")]
    view = view_of([*rows, ("ben", "cup", 3.25, "purchase"), ("cat", "cup", 1, "purchase"), ("cat", "cup", 3, "view")])
    evaluate_leave_last_out(view, FITTING, SETTINGS, observed_until_us=day(100))
    # ben's last is on day 3, ann's on day 5: what each did earlier is seen as of the end of these days
    (judged,) = seen
    assert [(part.as_of_us, part.n_customers) for part in judged.histories] == [(day(4), 1), (day(6), 1)]
    assert [part.steps.times_us.tolist() for part in judged.histories] == [[day(2)], [day(1)]]
