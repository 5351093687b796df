from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from features.errors import ConfigurationError
from serving.catalogue import Catalogue
from serving.ranking import Asked, gather
from serving.ranking_features import ItemFacts
from serving.sources.histories import Histories
from serving.sources.popularity import CategoryPopularitySource, PopularitySource
from tests.shop_events import day, view_of
from training.fitted_sources import SourceSettings
from training.ranker import RankerSettings, fit_ranker
from training.recommender import RecommenderFitSettings, fit_with_choice
from training.recommender_evaluation import EvaluationSettings, backtest_recommender, train_recommender
from training.recommender_metrics import Relevant
from training.sources.als import AlsSettings

N_ITEMS = 24
# the even items cost 1 and the odd ones 100; the one source knows no better than that all are alike
PRICES = Catalogue.read(
    pa.table({"item_id": [f"i{n:02}" for n in range(N_ITEMS)], "price_minor": [100, 10_000] * (N_ITEMS // 2)}),
    tuple(f"i{n:02}" for n in range(N_ITEMS)),
)
SAME_FOR_ALL = (PopularitySource(np.ones(N_ITEMS, np.float32)),)
SMALL = RankerSettings(trees=15, leaves=4, min_rows_in_leaf=20, learning_rate=0.2, min_customers=60, n_replicates=100)


def world(n_customers=120, *, level_matters=True, seed=0):
    """Customers who bought three items of one price level, and then one more: of the same level, or of any."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 2, n_customers)
    bought = [(2 * rng.choice(N_ITEMS // 2, 3, replace=False) + level).tolist() for level in levels]
    later = levels if level_matters else rng.integers(0, 2, n_customers)
    relevant = 2 * rng.integers(0, N_ITEMS // 2, n_customers) + later
    histories = Histories.of_lists(bought, N_ITEMS)
    return histories, Relevant(np.arange(n_customers), relevant, n_customers, N_ITEMS), levels


def fitted(histories, relevant, settings=SMALL, seed=0):
    facts = ItemFacts.of(PRICES, SAME_FOR_ALL)
    return fit_ranker(SAME_FOR_ALL, [1.0], facts, histories, relevant, settings, candidates=N_ITEMS, seed=seed)


def test_what_the_price_level_decides_is_found_where_the_blend_cannot():
    histories, relevant, _ = world()
    ranker, choice = fitted(histories, relevant)
    assert choice.used
    assert choice.n_customers == 120
    assert choice.gain_abs.ci_low > 0
    # unseen customers: half of the 24 items fit their level, and these come first
    others, _, levels = world(50, seed=1)
    found = gather(SAME_FOR_ALL, others, N_ITEMS)
    order = ranker.order(found, Asked(SAME_FOR_ALL, (np.ones(50),)), others, ItemFacts.of(PRICES, SAME_FOR_ALL))
    first = np.take_along_axis(found.places, np.argsort(-order, axis=1)[:, :9], axis=1)
    assert np.mean(first % 2 == levels[:, None]) > 0.9


def test_a_source_without_weight_judges_what_the_others_propose():
    histories, relevant, _ = world()
    nothing = ItemFacts.of(Catalogue.nothing_said(PRICES.item_ids), SAME_FOR_ALL)
    level = CategoryPopularitySource(np.ones(N_ITEMS, np.float32), np.arange(N_ITEMS, dtype=np.int32) % 2)

    def trained(sources, weights):
        return fit_ranker(sources, weights, nothing, histories, relevant, SMALL, candidates=N_ITEMS, seed=0)

    alone = trained(SAME_FOR_ALL, [1.0])[1]
    ranker, choice = trained((*SAME_FOR_ALL, level), [1.0, 0.0])
    assert choice.used
    assert choice.blend_ndcg_at_10 == alone.blend_ndcg_at_10  # a source that only judges moves no blend
    assert choice.ranker_ndcg_at_10.ci_low > alone.ranker_ndcg_at_10.ci_high
    assert dict(zip(ranker.sources, ranker.weights, strict=True)) == {"popularity": 1.0, "category_popularity": 0.0}


def test_a_ranker_of_new_items_learns_from_lists_without_what_is_owned():
    histories, relevant, _ = world()
    facts = ItemFacts.of(PRICES, SAME_FOR_ALL)
    again = Relevant(np.arange(120), histories.bought.items[histories.bought_offsets[:-1]], 120, N_ITEMS)

    def trained(wanted):
        return fit_ranker(SAME_FOR_ALL, [1.0], facts, histories, wanted, SMALL, candidates=N_ITEMS, seed=0, news=True)

    assert trained(again)[1].n_customers == 0  # what they own is no candidate
    assert trained(relevant)[1].n_customers > 60


def test_where_nothing_can_be_learnt_the_blend_stays():
    ranker, choice = fitted(*world(level_matters=False)[:2])
    assert ranker is None
    assert not choice.used
    assert choice.gain_abs.ci_low <= 0
    assert "does not beat" in choice.reason


def test_too_few_customers_are_not_learnt_from():
    ranker, choice = fitted(*world(59)[:2])
    assert ranker is None
    assert choice.reason == "59 customers turned to a candidate, fewer than 60"
    assert choice.gain_abs is None


def test_customers_who_turned_to_no_candidate_do_not_count():
    histories, relevant, _ = world(70)
    nothing = Relevant(relevant.customers[:0], relevant.items[:0], 70, N_ITEMS)
    assert fitted(histories, nothing)[1].n_customers == 0


def test_same_seed_same_bits():
    histories, relevant, _ = world()
    one, again = fitted(histories, relevant)[0], fitted(histories, relevant)[0]
    assert one.to_parts() == again.to_parts()


def test_no_more_pairs_than_asked_for():
    # 24 candidates each: 1,700 pairs are those of 70 customers
    histories, relevant, _ = world()
    _, choice = fitted(histories, relevant, dataclasses.replace(SMALL, max_pairs=1_700))
    assert choice.n_customers == 70


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"trees": 0}, {"blend_scale": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"recommender\.ranker"):
        RankerSettings(**wrong)


def shop(n_customers=80, seed=2):
    """Customers of two price levels: each buys any item of the own level every ten days."""
    rng = np.random.default_rng(seed)
    return [
        (f"c{c:02}", f"i{2 * rng.integers(0, N_ITEMS // 2) + c % 2:02}", 10.0 * n + c / 100, "purchase")
        for c in range(n_customers)
        for n in range(9)
    ]


ITEMS = pa.table({"item_id": list(PRICES.item_ids), "price_minor": [100, 10_000] * (N_ITEMS // 2)})
FEW = SourceSettings(use=("als", "popularity", "buy_again"), als=AlsSettings(factors=2, iterations=1))
FITTING = RecommenderFitSettings(sources=FEW, blend={"popularity": 1.0}, ranker=SMALL)
JUDGING = EvaluationSettings(n_replicates=50)


@pytest.fixture(scope="module")
def view():
    return view_of(shop())


def test_a_recommender_is_fitted_with_its_ranker_and_judged_beside_its_blend(view):
    (report,) = backtest_recommender(view, [day(62)], FITTING, JUDGING, items=ITEMS)
    assert report.ranker.used
    assert report.gain_over("blend").gain_abs.ci_low > 0
    assert report.of("blend").ndcg_at_10.mean == report.of("popularity").ndcg_at_10.mean
    assert report.to_manifest()["ranker"]["used"] is True


def test_lists_of_new_items_get_a_ranker_where_they_have_weights_of_their_own(view):
    both = dataclasses.replace(SMALL, new_items=True)
    apart = dataclasses.replace(FITTING, new={"popularity": 1.0}, ranker=both)
    fit = fit_with_choice(view, day(62), apart, items=ITEMS)
    assert fit.new_choice.used
    assert fit.new_choice != fit.choice
    assert fit.recommender.new_ranker.to_parts() != fit.recommender.ranker.to_parts()
    without = dataclasses.replace(apart, ranker=dataclasses.replace(SMALL, all_items=False, new_items=False))
    fit = fit_with_choice(view, day(62), without, items=ITEMS)
    assert (fit.choice, fit.new_choice, fit.recommender.new_ranker) == (None, None, None)
    assert fit_with_choice(view, day(62), FITTING, items=ITEMS).new_choice is None


def test_sources_without_weight_are_read_where_they_are_named(view):
    also = dataclasses.replace(FITTING, ranker=dataclasses.replace(SMALL, also_read=("als", "buy_again")))
    some, every = (fit_with_choice(view, day(62), one, items=ITEMS).recommender.ranker for one in (FITTING, also))
    assert some.sources == ("popularity",)
    assert every.sources == ("als", "popularity", "buy_again")


def test_what_is_fitted_anew_for_release_keeps_the_ranker_that_was_judged(view):
    trained = train_recommender(view, FITTING, JUDGING, observed_until_us=day(92), items=ITEMS)
    judged = fit_with_choice(view, day(62), FITTING, items=ITEMS)
    assert trained.report.ranker == judged.choice
    assert trained.recommender.ranker.to_parts() == judged.recommender.ranker.to_parts()
    assert trained.recommender.settings.learnt_until_us >= day(92)


def test_what_happens_later_changes_no_bit_of_the_ranker(view):
    later = view_of([*shop(), *((f"c{c:02}", "i01", 95, "purchase") for c in range(80))])
    one, again = (fit_with_choice(which, day(62), FITTING, items=ITEMS).recommender for which in (view, later))
    assert one.ranker is not None
    assert one.to_files() == again.to_files()


def test_where_the_blend_was_judged_the_blend_is_released(view):
    never = dataclasses.replace(FITTING, ranker=dataclasses.replace(SMALL, min_customers=81))
    trained = train_recommender(view, never, JUDGING, items=ITEMS)
    assert not trained.report.ranker.used
    assert trained.recommender.ranker is None
    with pytest.raises(KeyError):
        trained.report.of("blend")


def test_no_ranker_is_asked_for(view):
    without = dataclasses.replace(FITTING, ranker=RankerSettings(enabled=False))
    fit = fit_with_choice(view, day(62), without)
    assert (fit.choice, fit.recommender.ranker) == (None, None)
