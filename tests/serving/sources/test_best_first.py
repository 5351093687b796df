from __future__ import annotations

import numpy as np
import pytest

from serving.sources.best_first import NOTHING, best_keys, best_ragged, keys_of, largest, of_keys, worst_of

RNG = np.random.default_rng(3)
NAN = np.float32(np.nan)


def dense(n, m, levels=7):
    values = (RNG.integers(-levels, levels, (n, m)) / np.float32(4)).astype(np.float32)  # many ties, both signs
    return np.where(RNG.random((n, m)) < 0.2, NAN, values)


def plainly(row, places, limit):
    """Places of the best of a row, by sorting pairs."""
    pairs = sorted((-float(score), int(place)) for score, place in zip(row, places, strict=True) if score == score)
    return ([place for _, place in pairs] + [-1] * limit)[:limit]


def test_keys_order_like_numbers_and_give_them_back():
    scores = np.array([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf, 0.1], np.float32)
    keys = keys_of(scores, np.arange(len(scores)))
    assert np.argsort(keys).tolist() == [6, 4, 8, 2, 0, 1, 3, 5, 7]
    places, again = of_keys(keys)
    assert (places.tolist(), again.tolist()) == (list(range(9)), scores.tolist())
    assert (keys < NOTHING).all()


@pytest.mark.parametrize(("m", "limit"), [(1, 3), (60, 4), (900, 5), (5000, 20)])
def test_blocks_one_after_the_other_give_the_best_of_all(m, limit):
    scores, places = dense(40, m), RNG.permutation(m)
    keys = np.full((40, limit), NOTHING)
    for start in range(0, m, 1 + m // 3):
        block = slice(start, start + 1 + m // 3)
        keys = best_keys(scores[:, block], places[block], keys)
    found, best = of_keys(keys)
    for row in range(40):
        expected = plainly(scores[row], places, limit)
        by_place = {int(place): score for place, score in zip(places, scores[row], strict=True)}
        by_place[-1] = NAN
        wanted = [by_place[place] for place in expected]
        np.testing.assert_array_equal(best[row], np.array(wanted, np.float32))  # of equals any may come last
        np.testing.assert_array_equal([by_place[place] for place in found[row].tolist()], wanted)
        assert len(set(found[row].tolist()) - {-1}) == sum(place >= 0 for place in expected)


def test_one_block_breaks_ties_by_place():
    scores = dense(30, 700)
    found, _ = of_keys(best_keys(scores, np.arange(700), np.full((30, 10), NOTHING)))
    assert found.tolist() == [plainly(row, range(700), 10) for row in scores]


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_the_best_of_rows_of_unlike_length(limit):
    sizes = RNG.integers(0, 30, 100)
    sizes[:3] = [0, 200, 0]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    places = np.concatenate([RNG.permutation(300)[:size] for size in sizes])
    scores = (RNG.integers(0, 5, len(places)) / np.float32(2)).astype(np.float32)
    found, _ = of_keys(best_ragged(scores, places, offsets, limit))
    for row in range(100):
        own = slice(offsets[row], offsets[row + 1])
        assert found[row].tolist() == plainly(scores[own], places[own], limit)


def test_the_largest_of_rows_with_and_without_numbers():
    rows = np.array([[NAN, 1, 3, 3], [NAN] * 4, [-2, -1, -5, -1]], np.float32)
    assert largest(rows).tolist() == [2, -1, 1]
    assert largest(np.empty((2, 0), np.float32)).tolist() == [-1, -1]


def test_the_worst_of_a_row_that_is_not_full_is_below_everything():
    keys = np.array([[keys_of(np.float32([2.0]), np.array([1]))[0], NOTHING]])
    assert worst_of(keys).tolist() == [-np.inf]
    assert worst_of(keys[:, :1]).tolist() == [2.0]
