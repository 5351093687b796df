from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from features.interactions import ItemIndex
from tests.shop_events import day, view_of
from training.recommender_metrics import (
    Relevant,
    average_precision,
    bootstrap_means,
    coverage,
    hit_rate,
    hits,
    ndcg,
    recall,
)

# One customer, relevant items {0, 3, 5}; slate 3, 1, 0, 2: hits at places 1 and 3.
SLATES = np.array([[3, 1, 0, 2]])
RELEVANT = Relevant(np.array([0, 0, 0]), np.array([0, 3, 5]), 1, 6)


def test_hits_are_the_places_of_relevant_items():
    assert hits(SLATES, RELEVANT).tolist() == [[True, False, True, False]]


def test_an_empty_place_is_a_miss_even_for_the_item_before_it():
    # key of (customer 1, place -1) would be that of (customer 0, last item)
    relevant = Relevant(np.array([0, 1]), np.array([5, 2]), 2, 6)
    assert hits(np.array([[-1, -1], [-1, 2]]), relevant).tolist() == [[False, False], [False, True]]


def test_recall_by_hand():
    assert recall(hits(SLATES, RELEVANT), RELEVANT.counts).tolist() == [2 / 3]


def test_ndcg_by_hand():
    # gains 1/log2(2) + 1/log2(4) = 1.5; ideal 1/log2(2) + 1/log2(3) + 1/log2(4)
    assert ndcg(hits(SLATES, RELEVANT), RELEVANT.counts)[0] == pytest.approx(1.5 / (1.5 + 1 / math.log2(3)))


def test_average_precision_by_hand():
    # precision at the hits 1/1 and 2/3, over min(4, 3) = 3
    assert average_precision(hits(SLATES, RELEVANT), RELEVANT.counts)[0] == pytest.approx((1 + 2 / 3) / 3)


def test_ndcg_equals_scikit_learn():
    rng = np.random.default_rng(3)
    n, m, k = 40, 30, 10
    scores, wanted = rng.random((n, m)), rng.random((n, m)) < 0.2
    wanted[:, 0] = True
    slates = np.argsort(-scores, axis=1)[:, :k]
    customers, items = np.nonzero(wanted)
    relevant = Relevant(customers, items, n, m)
    ours = ndcg(hits(slates, relevant), relevant.counts)
    theirs = [ndcg_score(wanted[i : i + 1].astype(float), scores[i : i + 1], k=k) for i in range(n)]
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_average_precision_of_a_whole_ranking_equals_scikit_learn():
    rng = np.random.default_rng(4)
    scores, wanted = rng.random((20, 15)), rng.random((20, 15)) < 0.3
    wanted[:, 0] = True
    customers, items = np.nonzero(wanted)
    relevant = Relevant(customers, items, 20, 15)
    ours = average_precision(hits(np.argsort(-scores, axis=1), relevant), relevant.counts)
    assert ours == pytest.approx([average_precision_score(wanted[i], scores[i]) for i in range(20)])


def test_a_customer_without_relevant_items_has_no_value():
    hit, none = np.zeros((1, 3), bool), np.array([0])
    assert all(np.isnan(metric(hit, none)[0]) for metric in (recall, ndcg, average_precision, hit_rate))


def test_a_perfect_slate_is_one_everywhere():
    hit, three = np.array([[True, True, True]]), np.array([3])
    assert [metric(hit, three)[0] for metric in (recall, ndcg, average_precision, hit_rate)] == [1.0] * 4


def test_coverage_of_no_catalogue_is_undefined():
    assert math.isnan(coverage(np.empty((0, 3), np.int64), 0))


def test_relevant_items_are_distinct_and_in_the_window():
    view = view_of(
        [
            ("ann", "cup", 9.9, "purchase"),  # before
            ("ann", "pot", 10, "purchase"),  # at the start: inside
            ("ann", "pot", 12, "purchase"),  # again: the same pair
            ("ann", "tea", 40, "purchase"),  # at the end: outside
            ("ben", "jar", 11, "view"),  # not a purchase
            ("ben", "new", 11, "purchase"),  # not in the catalogue
        ]
    )
    relevant = Relevant.read(view, day(10), day(40), ItemIndex(("tea", "pot", "jar", "cup")))
    assert (relevant.customers.tolist(), relevant.items.tolist(), relevant.n_outside) == ([0], [1], 1)
    assert relevant.counts.tolist() == [1, 0]


def test_bootstrap_interval_agrees_with_the_normal_one():
    values = np.random.default_rng(5).normal(2.0, 1.0, 2_000)
    (mean, low, high), other = bootstrap_means(np.column_stack((values, -values)), np.random.default_rng(6))
    half = 1.96 * values.std() / math.sqrt(2_000)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.25 * half)
    assert other == pytest.approx((-mean, -high, -low))


def test_bootstrap_of_nothing_is_undefined():
    assert np.isnan(bootstrap_means(np.array([[np.nan]]), np.random.default_rng(0))).tolist() == [[True] * 3]
