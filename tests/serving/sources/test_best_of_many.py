"""The best of many numbers, found by groups, against a plain sort."""

import gc
import weakref

import numpy as np
import pytest

from serving.sources.content import ContentSource
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.sources.popularity import CategoryPopularitySource
from serving.sources.source import Excluded, best_of


def plainly(row, limit):
    """Places of the largest numbers, best first, ties by place, without NaN."""
    order = np.lexsort((np.arange(len(row)), -row))
    return [place for place in order.tolist() if not np.isnan(row[place])][:limit]


@pytest.mark.parametrize("n_items", [1, 3, 80, 81, 1_000, 5_003])
@pytest.mark.parametrize("limit", [1, 3, 20, 200])
def test_groups_find_what_a_sort_finds_with_ties_and_with_nothing_to_say(n_items, limit):
    rng = np.random.default_rng(n_items + limit)
    dense = np.round(rng.normal(size=(6, n_items)), 1).astype(np.float32)
    dense[1, rng.random(n_items) < 0.7] = np.nan
    dense[2] = np.nan
    dense[3] = 0.0
    dense[4, : n_items // 2] = np.nan
    allowed = rng.random(n_items) < 0.5
    out = np.flatnonzero(rng.random(n_items) < 0.1)
    excluded = Excluded(np.array([0, 0, 0, 0, 0, len(out), len(out)]), out)
    before = dense.copy()
    found = best_of(dense, limit, allowed, excluded)
    for row in range(6):
        shown = np.where(allowed, dense[row], np.float32(np.nan))
        shown[excluded.of(row)] = np.nan
        expected = plainly(shown, limit)
        assert found.places[row].tolist() == expected + [-1] * (limit - len(expected))
        np.testing.assert_array_equal(found.scores[row, : len(expected)], shown[expected])
        assert [found.best[row]] == (plainly(dense[row], 1) or [-1])
    np.testing.assert_array_equal(dense, before)  # what is given is not written into


def test_a_customer_is_solved_once_for_proposing_and_for_scoring():
    solved = []

    class Counting(FactorSource):
        def _folded_in(self, histories):
            solved.append(histories)
            return super()._folded_in(histories)

    factors = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    one, other = Counting(factors, 1.0, 0.1), Counting(-factors, 1.0, 0.5)
    histories = Histories.of_lists([[1, 2], []], 9)
    for source in (one, other):
        places = source.propose(histories, 4).places
        source.scores(histories, places)
    assert len(solved) == 2
    assert one.vectors(histories)[0].tobytes() != other.vectors(histories)[0].tobytes()
    np.testing.assert_allclose(
        one.vectors(histories)[:1], one.fold_in(histories.items[None, :2], histories.weights[None, :2]), rtol=1e-6
    )


def test_the_best_of_many_categories_are_those_of_a_look_at_every_item():
    rng = np.random.default_rng(2)
    n_items = 3_000
    shares = rng.choice([0.0, 0.25, 0.5, 1.0], n_items).astype(np.float32)
    source = CategoryPopularitySource(shares, rng.integers(-1, 5, n_items).astype(np.int32))
    histories = Histories.of_lists([[1, 2, 3, 4, 5], [7], []], n_items)
    allowed = rng.random(n_items) < 0.1
    excluded = Excluded(histories.offsets, histories.items)
    dense = source.scores(histories, np.tile(np.arange(n_items), (3, 1)))
    for limit, mask in ((5, None), (5, allowed), (2_000, allowed)):
        found, plain = source.propose(histories, limit, mask, excluded), best_of(dense, limit, mask, excluded)
        np.testing.assert_array_equal(found.places, plain.places)
        np.testing.assert_array_equal(found.scores, plain.scores)
        np.testing.assert_array_equal(found.best, plain.best)


def test_what_was_worked_out_goes_with_the_histories_and_waits_for_no_collector():
    content = ContentSource(np.array([0, 1, 2]), np.zeros(2, np.int32), np.ones(2, np.float32))
    factors = FactorSource(np.ones((2, 2), np.float32), 1.0, 0.1)
    histories = Histories.of_lists([[0, 1]], 2)
    gone = weakref.ref(histories)
    for source in (content, factors):
        source.propose(histories, 2)
        source.scores(histories, np.array([[0, 1]]))
    gc.disable()
    try:
        del histories
        assert gone() is None
    finally:
        gc.enable()
