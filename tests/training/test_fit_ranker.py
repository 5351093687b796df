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
from serving.sources.popularity import PopularitySource
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
