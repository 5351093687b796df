from __future__ import annotations

import numpy as np
import pytest

from features.interactions import InteractionSettings, ItemIndex
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.sources.popularity import CategoryPopularitySource, PopularitySource
from serving.sources.source import Excluded
from tests.shop_events import day, view_of

INDEX = ItemIndex(("cup", "pot", "tea"))
ALS = FactorSource(np.array([[1, 0], [0, 1], [1, 1]], np.float32), alpha=10.0, regularization=1.0)
POPULARITY = PopularitySource(np.array([2, 0, 1], np.float32))
BUY_AGAIN = BuyAgainSource(
    np.array([0.01, 0.02, 0.03]), np.array([10.0, 20.0, 30.0]), prior_days=50.0, horizon_days=30.0
)


def read(rows, as_of=100):
    return Histories.read(view_of(rows), day(as_of), INDEX, InteractionSettings())


def scores_of(source, histories):
    return source.scores(histories, np.tile(np.arange(3), (histories.n_customers, 1)))


def test_fold_in_by_hand():
    # YtY + lambda I = [[2, 1], [1, 2]] + I = [[3, 1], [1, 3]]; item cup (1, 0), weight .5: confidence 1 + 10 * .5 = 6
    # left [[8, 1], [1, 3]], right (6, 0): x = (6 * 3, -6) / (8 * 3 - 1) = (18, -6) / 23
    assert ALS.fold_in(np.array([[0]]), np.array([[0.5]]))[0] == pytest.approx(np.array([18, -6]) / 23)


def test_an_item_turned_down_pushes_away():
    liked = ALS.fold_in(np.array([[0]]), np.array([[1.0]]))[0]
    refused = ALS.fold_in(np.array([[0, 1]]), np.array([[1.0, -1.0]]))[0]
    assert refused[1] > liked[1]  # item pot (0, 1): its prediction is drawn from below towards 0
    assert abs(refused[1]) < abs(liked[1])


def test_als_proposes_nothing_to_a_cold_customer():
    histories = read([("ann", "hat", 1, "purchase"), ("ben", "cup", 1, "purchase"), ("cat", "cup", 1, "return")])
    assert histories.cold.tolist() == [True, False, True]
    assert np.isnan(scores_of(ALS, histories)).all(axis=1).tolist() == [True, False, True]


def test_the_cosine_with_an_item_does_not_grow_with_the_length_of_its_vector():
    longer = FactorSource(np.array([[1, 0], [0, 1], [5, 5]], np.float32), alpha=10.0, regularization=1.0)
    histories = read([("ann", "cup", 99, "purchase"), ("ben", "hat", 1, "purchase")])
    places = np.array([[0, 1, 2, -1], [0, 1, 2, -1]])
    for source in (ALS, longer):
        x, y = source.vectors(histories)[0].astype(np.float64)
        expected = [x / np.hypot(x, y), y / np.hypot(x, y), (x + y) / np.hypot(x, y) / np.sqrt(2), np.nan]
        assert source.cosines(histories, places)[0].tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)
        assert np.isnan(source.cosines(histories, places)[1]).all()
    nothing = FactorSource(np.zeros((3, 2), np.float32), alpha=10.0, regularization=1.0)
    assert np.isnan(nothing.cosines(histories, places)).all()


def test_popularity_does_not_propose_what_nobody_bought():
    assert scores_of(POPULARITY, Histories.nobody(day(1)))[0].tolist() == pytest.approx([2.0, np.nan, 1.0], nan_ok=True)


def test_buy_again_by_hand():
    # cup on days 0, 20 and 40, seen at day 100: 2 repeats in 100 days
    # rate (2 + 50 * .01) / (100 + 50) = 1 / 60; gap (40 own + 10 of the item) / 3 = 50 / 3; r = 60 / (50 / 3) = 3.6
    # score: one minus exp(-(1 / 60) * (1 - 2 ** -7.2) * 30)
    histories = read([("ann", "cup", when, "purchase") for when in (0, 20, 40)])
    assert BUY_AGAIN.due(histories).tolist() == pytest.approx([3.6])
    expected = 1 - np.exp(-0.5 * (1 - 2**-7.2))
    assert scores_of(BUY_AGAIN, histories)[0].tolist() == pytest.approx([expected, np.nan, np.nan], nan_ok=True)


def test_what_was_bought_a_moment_ago_is_not_due():
    just = read([("ann", "cup", 0, "purchase"), ("ann", "cup", 99.99, "purchase")])
    waiting = read([("ann", "cup", 0, "purchase"), ("ann", "cup", 60, "purchase")])
    assert scores_of(BUY_AGAIN, just)[0, 0] < 0.05 * scores_of(BUY_AGAIN, waiting)[0, 0]


def test_the_head_of_popularity_skips_what_is_not_allowed_and_what_each_customer_owns():
    source = PopularitySource(np.array([5, 4, 3, 2, 0], np.float32))
    two = Histories.of_lists([[0], []], 5)
    allowed = np.array([True, False, True, True, True])
    found = source.propose(two, 3, allowed, Excluded(np.array([0, 1, 1]), np.array([0])))
    assert found.places.tolist() == [[2, 3, -1], [0, 2, 3]]
    assert found.best.tolist() == [0, 0]


def test_category_popularity_follows_the_categories_of_the_history():
    # customer: weight 1 in category 0 (item 0) and 1 in category 1 (item 2): half of each
    source = CategoryPopularitySource(np.array([1, 0.5, 1, 0, 0.8], np.float32), np.array([0, 0, 1, 1, 2], np.int32))
    found = source.propose(Histories.of_lists([[0, 2], []], 5), 5)
    assert found.places.tolist() == [[0, 2, 1, -1, -1], [-1] * 5]
    assert found.scores[0, :3].tolist() == [0.5, 0.5, 0.25]
    assert found.best.tolist() == [0, -1]
