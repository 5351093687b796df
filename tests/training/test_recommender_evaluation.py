from __future__ import annotations

import dataclasses
import json
import math

import pytest

from features.errors import ConfigurationError, NotEnoughDataError
from tests.shop_events import day, view_of
from training.fitted_sources import SourceSettings
from training.recommender import RecommenderFitSettings, fit_recommender
from training.recommender_evaluation import (
    EvaluationSettings,
    backtest_recommender,
    evaluate_recommender,
    train_recommender,
)
from training.recommender_plots import ndcg_png, recommender_pngs
from training.sources.als import AlsSettings

FIRST = ("als", "popularity", "buy_again")
FITTING = RecommenderFitSettings(
    sources=SourceSettings(FIRST, als=AlsSettings(factors=4, iterations=5)),
    blend={"als": 0.2, "popularity": 0.2, "buy_again": 0.6},
)
SETTINGS = EvaluationSettings(n_replicates=50)


def habits(n_customers=30, n_items=10):
    """Customer c buys item c mod n every 10 days; everyone buys the lamp once, on a day of their own."""
    rows = [(f"c{c:02}", f"i{c % n_items}", 10.0 * n, "purchase") for c in range(n_customers) for n in range(12)]
    return rows + [(f"c{c:02}", "lamp", 60.0 + c, "purchase") for c in range(n_customers)]


def report_of(rows, as_of, fitting=FITTING, settings=SETTINGS):
    view = view_of(rows)
    recommender = fit_recommender(view, day(as_of), fitting)
    return evaluate_recommender(recommender, view, day(as_of), settings)


def test_the_figures_of_a_world_of_habits_by_hand():
    # as_of day 75: lamps of customers 0..14 were bought before, those of 15..29 are bought on days 75..89 (new to them)
    # relevant: the own item for all 30 (repeat), the lamp for 15 (new). Buy-again puts the own item first for all;
    # owners of a lamp have it second, which is a miss.
    report = report_of(habits(), 75)
    assert (report.n_judged, report.n_outside) == (30, 0)
    assert report.of("buy_again", "repeat").ndcg_at_10.mean == 1.0
    assert report.of("buy_again", "all").recall_at_10.mean == pytest.approx((15 * 1 + 15 * 0.5) / 30)
    assert report.of("buy_again", "new").n_customers == 15
    assert report.of("buy_again", "new").hit_rate_at_10.mean == 0.0
    # 15 distinct customers bought the lamp, 3 each of the others: popularity shows the lamp first to all
    assert report.of("popularity", "new").ndcg_at_10.mean == 1.0


def test_history_bins_hold_every_customer_once():
    report = report_of(habits(), 75)
    bins = [row for row in report.figures if row.source == "ours" and row.segment.startswith("history")]
    assert {row.segment: row.n_customers for row in bins} == {"history 1-2": 30}


def test_gains_are_paired_differences_of_the_same_customers():
    report = report_of(habits(), 75)
    gain = report.gain_over("popularity")
    ours, theirs = report.of("ours").ndcg_at_10.mean, report.of("popularity").ndcg_at_10.mean
    assert gain.gain_abs.mean == pytest.approx(ours - theirs)
    assert gain.gain_rel == pytest.approx(ours / theirs - 1)
    assert gain.gain_abs.ci_low <= gain.gain_abs.mean <= gain.gain_abs.ci_high


def test_purchases_at_the_end_of_the_label_window_are_not_relevant():
    rows = [("ann", "cup", 1, "purchase"), ("ann", "cup", 40, "purchase"), ("ben", "cup", 1, "purchase")]
    with pytest.raises(NotEnoughDataError, match="0 customers"):
        report_of(rows, 10)


def test_items_that_came_after_the_cutoff_are_counted_apart():
    rows = [*habits(), ("c00", "novelty", 80, "purchase")]
    assert report_of(rows, 75).n_outside == 1


def test_what_comes_after_the_label_window_changes_nothing():
    rows = habits()
    later = [("c00", "i5", 106, "purchase"), ("c01", "i7", 3, "purchase", 76)]
    assert report_of(rows + later, 75).to_manifest() == report_of(rows, 75).to_manifest()


def test_no_more_customers_than_asked_for_are_judged():
    report = report_of(habits(), 75, settings=dataclasses.replace(SETTINGS, max_customers=7))
    assert (report.n_judged, report.n_eligible) == (7, 30)


def test_a_backtest_is_each_cutoff_alone():
    view = view_of(habits())
    reports = backtest_recommender(view, [day(55), day(75)], FITTING, SETTINGS)
    assert [report.as_of_us for report in reports] == [day(55), day(75)]
    alone = dataclasses.replace(reports[1], ranker=None)  # who evaluates has not chosen
    assert alone.to_manifest() == report_of(habits(), 75).to_manifest()


def test_training_judges_before_the_end_and_fits_on_everything():
    view = view_of([*habits(), ("c00", "novelty", 100, "purchase")])
    trained = train_recommender(view, FITTING, SETTINGS)
    assert trained.report.as_of_us == day(110) + 1 - 30 * (day(1) - day(0))  # a microsecond after the last event
    assert "novelty" in trained.recommender.item_ids
    assert trained.recommender.settings.blend == trained.report.blend


def test_what_was_recorded_after_the_last_event_is_learnt_too():
    # the last events occur on day 110; this one was recorded half a day after them, as a nightly load would
    trained = train_recommender(view_of([*habits(), ("c00", "novelty", 110, "purchase", 110.5)]), FITTING, SETTINGS)
    assert trained.report.as_of_us == day(80) + 1
    assert "novelty" in trained.recommender.item_ids


def test_every_source_is_judged_alone_and_ours_against_each():
    report = report_of(habits(), 75)
    alone = {"als", "popularity", "buy_again", "buy_again_popularity"}
    assert alone <= {row.source for row in report.figures}
    assert {row.source for row in report.figures} - {"ours"} == {gain.over for gain in report.gains}


def test_what_lists_are_like_by_hand():
    # 30 customers know 11 items and own one or two of them. Popularity shows all of it 10 items to everyone: 10 of 11
    # covered. Buy-again shows the item of one's own and, to the 15 who have it, the lamp: 10 items and the lamp.
    report = report_of(habits(), 75)
    popular, again = report.of("popularity"), report.of("buy_again")
    assert (popular.coverage_at_10, popular.personalisation_at_10, popular.fallback_at_10) == (10 / 11, 0.0, 1.0)
    assert popular.gini_at_10 == pytest.approx(1 / 11)  # one item of 11 never, the others as often
    assert again.coverage_at_10 == 1.0
    assert again.fallback_at_10 == pytest.approx(1 - 45 / 300)  # 30 own items and 15 lamps on 300 places
    # overlaps: pairs of customers of one own item 10 * (3 * 2 / 2), pairs with a lamp 15 * 14 / 2; 1.5 items a list
    assert again.personalisation_at_10 == pytest.approx(1 - (30 + 105) / (30 * 29 / 2) / 1.5)
    # 45 pairs: the lamp was bought by 15 of them (log2 3 bits), each other item by 3 (log2 15)
    with_lamp, without = (math.log2(3) + math.log2(15)) / 2, math.log2(15)
    assert again.novelty_at_10.mean == pytest.approx((with_lamp + without) / 2)


def test_who_bought_without_anything_known_is_counted_as_fallback():
    # zoe comes for the first time after the cut-off: 1 of 31 buyers
    report = report_of([*habits(), ("zoe", "lamp", 80, "purchase")], 75)
    assert (report.n_unknown, report.n_eligible) == (1, 30)
    assert report.fallback_share == 1 / 31


def test_metrics_are_flat_and_the_manifest_is_json():
    report = report_of(habits(), 75)
    metrics = report.metrics()
    assert metrics["ours.all.ndcg_at_10"] == report.of("ours").ndcg_at_10.mean
    assert all(value == value for value in metrics.values())
    json.dumps(report.to_manifest(), allow_nan=False)


def test_pictures_are_png_and_the_same_each_time():
    report = report_of(habits(), 75)
    pictures = recommender_pngs(report)
    found, lists = {"recall_by_history.png", "ndcg_by_source.png", "gains.png"}, {"source", "history"}
    assert set(pictures) == found | {f"lists_by_{one}.png" for one in lists}
    assert all(content.startswith(b"\x89PNG\r\n") for content in pictures.values())
    assert ndcg_png(report) == pictures["ndcg_by_source.png"]


@pytest.mark.parametrize("wrong", [{"label_days": 0}, {"history_bounds": (3, 1)}, {"history_bounds": ()}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="evaluation"):
        EvaluationSettings(**wrong)
