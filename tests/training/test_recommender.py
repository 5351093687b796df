from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from features.errors import ConfigurationError, NotEnoughDataError
from features.interactions import InteractionSettings, interactions
from serving.sources.factors import FactorSource
from serving.sources.histories import Purchases
from tests.plain_slates import ids, plain_slate
from tests.shop_events import day, view_of
from training.fitted_sources import SOURCES, SourceSettings
from training.recommender import RecommenderFitSettings, fit_recommender
from training.sources.als import AlsSettings
from training.sources.graph import GraphSettings
from training.sources.popularity import PopularitySettings, popularity

FIRST = ("als", "popularity", "buy_again")
FEW_FACTORS = AlsSettings(factors=8, iterations=10, regularization=0.1)
SMALL = RecommenderFitSettings(sources=SourceSettings(FIRST, als=FEW_FACTORS), blend={"als": 1.0})
TWO_TASTES = dataclasses.replace(SMALL, sources=SourceSettings(FIRST, als=dataclasses.replace(FEW_FACTORS, factors=2)))


def fitted(rows, as_of, settings=SMALL):
    return fit_recommender(view_of(rows), day(as_of), settings)


def checkerboard(n_customers=40, n_items=20, share=0.5, seed=1):
    """Customers and items of two colours: a customer buys half of the items of the own colour, none of the other."""
    rng = np.random.default_rng(seed)
    return [
        (f"c{customer:02}", f"i{item:02}", float(rng.integers(0, 60)), "purchase")
        for customer in range(n_customers)
        for item in range(n_items)
        if customer % 2 == item % 2 and rng.random() < share
    ]


def test_a_checkerboard_is_recovered():
    rows = checkerboard()
    recommender = fitted(rows, 61, TWO_TASTES)
    places = recommender.rank(view_of(rows), day(61), 3, exclude_owned=True)
    owned = {(customer, item) for customer, item, *_ in rows}
    for customer, row in zip(view_of(rows).customer_keys, places.tolist(), strict=True):
        colour = int(customer[1:]) % 2
        left = {item for item in recommender.item_ids if int(item[1:]) % 2 == colour and (customer, item) not in owned}
        shown = {recommender.item_ids[place] for place in row}
        assert shown <= left if len(left) >= 3 else left <= shown


def test_a_customer_who_came_after_the_fit_is_folded_in():
    recommender = fitted(checkerboard(), 61, TWO_TASTES)
    history = view_of([("new", "i01", 70, "view"), ("new", "i03", 70, "purchase")])
    slate = plain_slate(recommender, history, day(71), 5)
    assert slate.strategy == "personal"
    assert [int(item[1:]) % 2 for item in ids(slate)] == [1] * 5


def test_fold_in_equals_implicit():
    rng = np.random.default_rng(2)
    weights = csr_matrix((rng.random((60, 30)) < 0.2) * rng.random((60, 30)) * 3).astype(np.float32)
    weights.data[::7] *= -1
    alpha, regularization = 20.0, 3.0
    confidence = weights.copy()
    confidence.data = np.sign(weights.data) * (1 + np.float32(alpha) * np.abs(weights.data))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=16, regularization=regularization, alpha=1.0, iterations=5, random_state=0
        )
        model.fit(confidence, show_progress=False)
        theirs = model.recalculate_user(np.arange(60), confidence)
    source = FactorSource(model.item_factors, alpha, regularization)
    for row in range(60):
        own = weights[row]
        (ours,) = source.fold_in(own.indices[None].astype(np.int64), own.data[None].astype(np.float64))
        assert ours == pytest.approx(theirs[row], abs=1e-4)


def test_same_seed_same_bits_whatever_the_number_of_threads():
    rows = checkerboard()
    one, two = (
        fitted(
            rows,
            61,
            dataclasses.replace(
                SMALL, sources=SourceSettings(FIRST, als=dataclasses.replace(FEW_FACTORS, n_threads=n_threads))
            ),
        )
        for n_threads in (1, 2)
    )
    assert one.to_files() == two.to_files()


def test_what_is_known_later_changes_no_bit():
    rows = checkerboard()
    later = [("c00", "i19", 61, "purchase"), ("zed", "i99", 62, "purchase"), ("c00", "i17", 5, "purchase", 61)]
    settings = dataclasses.replace(SMALL, blend=None, validation_days=20)
    before, after = fitted(rows, 61, settings), fitted(rows + later, 61, settings)
    # the catalogue and everything fitted are equal; "zed" adds an empty row, so factors start from other draws
    assert before.item_ids == after.item_ids
    assert before.by_name["popularity"].popularity.tobytes() == after.by_name["popularity"].popularity.tobytes()
    assert before.by_name["buy_again"].rate_per_day.tobytes() == after.by_name["buy_again"].rate_per_day.tobytes()
    known = fitted([*rows, later[0], later[2]], 61, settings)
    assert known.to_files() == before.to_files()


def popularity_of(rows, as_of=10, half_life=30.0, cap=20.0):
    view = view_of(rows)
    found = interactions(view, day(as_of), InteractionSettings())
    recommender_index = fitted(rows, as_of).index
    bought = Purchases.read(view, day(as_of), recommender_index)
    settings = PopularitySettings(half_life, cap)
    return dict(
        zip(
            found.item_ids,
            popularity(bought, day(as_of), len(found.item_ids), settings),
            strict=True,
        )
    )


def test_popularity_counts_each_customer_once():
    rows = [("ann", "cup", 1, "purchase"), ("ben", "pot", 1, "purchase"), ("cat", "pot", 1, "purchase")]
    once = popularity_of(rows)
    flooded = popularity_of(rows + [("ann", "cup", 1, "purchase")] * 10_000)
    assert flooded == once
    assert once["pot"] == 2 * once["cup"]


def test_popularity_halves_with_its_half_life():
    found = popularity_of([("ann", "cup", 0, "purchase"), ("ben", "pot", 30, "purchase")], as_of=60)
    assert found == {"cup": 0.25, "pot": 0.5}  # 2 ** -(60 / 30) and 2 ** -(30 / 30)


def test_one_customer_who_buys_everything_adds_no_more_than_the_cap():
    rows = [("ann", f"i{number:03}", 10, "purchase") for number in range(100)]
    assert sum(popularity_of(rows, as_of=10.001, cap=4.0).values()) == pytest.approx(4.0)


def test_an_item_that_is_bought_again_has_a_higher_rate_and_its_own_gap():
    # tea every 10 days by 30 customers for 100 days; pans once
    rows = [(f"c{c}", "tea", 10.0 * n, "purchase") for c in range(30) for n in range(10)]
    rows += [(f"c{c}", "pan", 0.0, "purchase") for c in range(30)]
    recommender = fitted(rows, 100)
    source = recommender.by_name["buy_again"]
    arrays = source.rate_per_day, source.gap_days
    rate, gap = (dict(zip(recommender.item_ids, a, strict=True)) for a in arrays)
    assert rate["tea"] > 5 * rate["pan"]
    assert gap["tea"] == pytest.approx(10, rel=0.1)


def test_blend_weights_prefer_what_worked_on_the_validation_slice():
    # everyone buys the own item every 10 days: buying again is all there is
    rows = [(f"c{c:02}", f"i{c % 15:02}", 10.0 * n, "purchase") for c in range(60) for n in range(12)]
    recommender = fitted(rows, 119, dataclasses.replace(SMALL, blend=None))
    ((first, *_),) = recommender.rank(view_of([r for r in rows if r[0] == "c03"]), day(119), 3)
    assert recommender.item_ids[first] == "i03"
    assert sum(recommender.settings.blend.values()) == pytest.approx(1)


def test_weights_for_new_items_are_chosen_apart():
    # everyone buys the own item again and again, and in the last month, for the first time, what is popular there
    rows = [(f"c{c:02}", f"i{c % 15:02}", 10.0 * n, "purchase") for c in range(60) for n in range(12)]
    rows += [(f"c{c:02}", "lamp", 50.0 + c, "purchase") for c in range(60)]
    recommender = fitted(rows, 119, dataclasses.replace(SMALL, blend=None))
    assert sum(recommender.settings.new.values()) == pytest.approx(1)
    assert recommender.settings.new["buy_again"] == 0.0  # of what is new, nothing was bought before
    assert recommender.settings.blend["buy_again"] > 0.0


def test_weights_that_are_given_are_those_of_new_items_too():
    assert fitted(checkerboard(), 61).settings.new == {}
    given = dataclasses.replace(SMALL, new={"popularity": 1.0})
    assert fitted(checkerboard(), 61, given).settings.new == {"popularity": 1.0}


def test_no_interactions_are_refused():
    with pytest.raises(NotEnoughDataError, match="0 interactions"):
        fitted([("ann", "cup", 5, "purchase")], 5)


@pytest.mark.parametrize("wrong", [{"factors": 0}, {"alpha": -1.0}, {"regularization": float("nan")}])
def test_impossible_fit_settings_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        AlsSettings(**wrong)


def test_every_source_is_fitted_and_names_itself_as_it_is_asked_for():
    settings = RecommenderFitSettings(
        sources=SourceSettings(tuple(SOURCES), als=FEW_FACTORS, graph=GraphSettings(factors=4)), blend={"ease": 1.0}
    )
    recommender = fitted(checkerboard(), 61, settings)
    assert tuple(recommender.by_name) == tuple(SOURCES)


@pytest.mark.parametrize("use", [(), ("als", "als"), ("oracle",)])
def test_sources_that_there_are_not_are_refused_by_name(use):
    with pytest.raises(ConfigurationError, match=r"recommender\.sources\.use"):
        SourceSettings(use)
