"""Maximal marginal relevance: against a plain version of its definition, and what the dial does to a list."""

import numpy as np
import pytest

from features.errors import DataError
from serving.diversity import MOST_COMPARED, Likeness, mmr


def plain_mmr(places, relevance, vectors, categories, same_category, dial, k):
    """Carbonell and Goldstein's definition, item by item."""

    def alike(one, other):
        norms = np.linalg.norm(vectors[one]) * np.linalg.norm(vectors[other])
        cosine = max(0.0, float(vectors[one] @ vectors[other]) / norms) if norms else 0.0
        return (1 - same_category) * cosine + same_category * (categories[one] == categories[other] >= 0)

    chosen = []
    for _ in range(min(k, len(places))):
        left = [row for row in range(len(places)) if row not in chosen]
        worth = [
            (1 - dial) * relevance[row]
            - dial * max((alike(places[row], places[other]) for other in chosen), default=0.0)
            for row in left
        ]
        chosen.append(left[int(np.argmax(np.round(worth, 6)))])
    return chosen


@pytest.mark.parametrize("dial", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("same_category", [0.0, 0.4, 1.0])
def test_the_list_is_that_of_the_definition(dial, same_category):
    dice = np.random.default_rng(int(10 * dial + 100 * same_category))
    vectors = dice.normal(size=(60, 5)).astype(np.float32)
    vectors[3] = 0
    categories = dice.integers(-1, 6, 60).astype(np.int32)
    places = dice.permutation(60)[:25]
    relevance = np.sort(dice.random(25))[::-1]
    found = mmr(places, relevance, Likeness(vectors, categories, same_category), dial, 12)
    if dial < 1:  # at 1 most rows are tied in the plain version, and rounding decides
        assert found.tolist() == plain_mmr(places, relevance, vectors, categories, same_category, dial, 12)
    assert len(set(found.tolist())) == 12


def test_a_larger_dial_gives_a_list_whose_items_are_less_alike():
    dice = np.random.default_rng(3)
    centres = dice.normal(size=(10, 16))
    vectors = (centres[dice.integers(0, 10, 300)] + 0.2 * dice.normal(size=(300, 16))).astype(np.float32)
    relevance = np.sort(dice.random(300))[::-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike, relevant = [], []
    for dial in (0.0, 0.2, 0.5, 0.9):
        rows = mmr(np.arange(300), relevance, Likeness(vectors, np.full(300, -1), 0.0), dial, 8)  # of ten kinds
        cosines = np.tril(unit[rows] @ unit[rows].T, -1)
        alike.append(cosines.max(axis=1).mean())
        relevant.append(relevance[rows].mean())
    assert alike == sorted(alike, reverse=True)
    assert relevant == sorted(relevant, reverse=True)
    assert alike[-1] < 0.5 * alike[0]


def test_items_beyond_those_compared_follow_in_the_order_of_relevance():
    n = MOST_COMPARED + 5
    rows = mmr(np.arange(n), np.linspace(1, 0, n), Likeness(None, np.zeros(n, np.int32), 1.0), 0.5, n)
    assert rows.tolist() == list(range(n))


def test_impossible_dials_and_lengths_are_refused():
    likeness = Likeness(None, np.zeros(2, np.int32), 1.0)
    with pytest.raises(DataError, match="dial of diversity is 2"):
        mmr(np.arange(2), np.ones(2), likeness, 2, 1)
    with pytest.raises(DataError, match="2 places and 1 relevances"):
        mmr(np.arange(2), np.ones(1), likeness, 0.5, 1)
