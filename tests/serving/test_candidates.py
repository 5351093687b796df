from __future__ import annotations

import numpy as np
import pytest

from features.interactions import InteractionSettings, ItemIndex
from serving.candidates import AlsSource, BuyAgainSource, PopularitySource
from serving.sources.histories import Histories, Purchases
from tests.shop_events import day, view_of

INDEX = ItemIndex(("cup", "pot", "tea"))
SETTINGS = InteractionSettings()


def read(rows, as_of=100):
    return Histories.read(view_of(rows), day(as_of), INDEX, SETTINGS)


ALS = AlsSource(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), alpha=10.0, regularization=1.0)
POPULARITY = PopularitySource(np.array([2.0, 0.0, 1.0]))
BUY_AGAIN = BuyAgainSource(
    np.array([0.01, 0.02, 0.03]), np.array([10.0, 20.0, 30.0]), prior_days=50.0, horizon_days=30.0
)


@pytest.mark.parametrize("source", [ALS, POPULARITY, BUY_AGAIN], ids=lambda source: source.name)
def test_every_source_scores_every_item_and_proposes_by_finite_numbers(source):
    rows = [("ann", "cup", 1, "purchase"), ("ben", None, 1, "login"), ("cat", "tea", 2, "view")]
    histories = read(rows)
    scores = source.scores(histories)
    assert scores.shape == (3, 3)
    assert not np.isinf(scores).any()
    for row in range(3):
        alone = source.scores(histories.part(row, row + 1))
        np.testing.assert_allclose(alone[0], scores[row], rtol=1e-12)


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


def test_fold_in_by_hand():
    # YtY + lambda I = [[2, 1], [1, 2]] + I = [[3, 1], [1, 3]]; item cup (1, 0), weight .5: confidence 1 + 10 * .5 = 6
    # left [[8, 1], [1, 3]], right (6, 0): x = (6 * 3, -6) / (8 * 3 - 1) = (18, -6) / 23
    assert ALS.fold_in(np.array([0]), np.array([0.5])) == pytest.approx(np.array([18, -6]) / 23)


def test_an_item_turned_down_pushes_away():
    liked = ALS.fold_in(np.array([0]), np.array([1.0]))
    refused = ALS.fold_in(np.array([0, 1]), np.array([1.0, -1.0]))
    assert refused[1] > liked[1]  # item pot (0, 1): its prediction is drawn from below towards 0
    assert abs(refused[1]) < abs(liked[1])


def test_als_proposes_nothing_to_a_cold_customer():
    histories = read([("ann", "hat", 1, "purchase"), ("ben", "cup", 1, "purchase"), ("cat", "cup", 1, "return")])
    assert histories.cold.tolist() == [True, False, True]
    assert np.isnan(ALS.scores(histories)).all(axis=1).tolist() == [True, False, True]


def test_popularity_does_not_propose_what_nobody_bought():
    assert POPULARITY.scores(Histories.nobody(day(1)))[0].tolist() == pytest.approx([2.0, np.nan, 1.0], nan_ok=True)


def test_buy_again_by_hand():
    # cup on days 0, 20 and 40, seen at day 100: 2 repeats in 100 days
    # rate (2 + 50 * .01) / (100 + 50) = 1 / 60; gap (40 own + 10 of the item) / 3 = 50 / 3; r = 60 / (50 / 3) = 3.6
    # score: one minus exp(-(1 / 60) * (1 - 2 ** -7.2) * 30)
    histories = read([("ann", "cup", when, "purchase") for when in (0, 20, 40)])
    assert BUY_AGAIN.due(histories).tolist() == pytest.approx([3.6])
    expected = 1 - np.exp(-0.5 * (1 - 2**-7.2))
    assert BUY_AGAIN.scores(histories)[0].tolist() == pytest.approx([expected, np.nan, np.nan], nan_ok=True)


def test_what_was_bought_a_moment_ago_is_not_due():
    just = read([("ann", "cup", 0, "purchase"), ("ann", "cup", 99.99, "purchase")])
    waiting = read([("ann", "cup", 0, "purchase"), ("ann", "cup", 60, "purchase")])
    assert BUY_AGAIN.scores(just)[0, 0] < 0.05 * BUY_AGAIN.scores(waiting)[0, 0]
