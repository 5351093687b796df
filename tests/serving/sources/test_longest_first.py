"""The best of many vectors by their lengths, against a look at all of them."""

import numpy as np
import pytest

from serving.sources.longest_first import LongestFirst
from serving.sources.source import Excluded, best_of

RNG = np.random.default_rng(5)
N_ITEMS = 90_000


def vectors(kind):
    found = RNG.normal(size=(N_ITEMS, 8)).astype(np.float32)
    if kind == "popular":
        found *= RNG.pareto(2.0, (N_ITEMS, 1)).astype(np.float32)
    elif kind == "one length":
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("kind", ["popular", "one length"])
@pytest.mark.parametrize("share", [None, 0.5, 0.01])
def test_nothing_is_missed_whatever_the_lengths_and_the_filter(kind, share):
    items = vectors(kind)
    customers = RNG.normal(size=(4, 8)).astype(np.float32)
    customers[2] = np.nan
    allowed = None if share is None else RNG.random(N_ITEMS) < share
    dense = customers @ items.T
    owned = np.argsort(-dense[0])[:30]
    excluded = Excluded(np.array([0, 30, 30, 30, 30]), owned)
    found = LongestFirst.of(items).propose(customers, 25, allowed, excluded)
    plain = best_of(dense, 25, allowed, excluded)
    np.testing.assert_array_equal(found.places, plain.places)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5, atol=1e-6)
    assert found.best.tolist() == plain.best.tolist()


def test_fewer_than_asked_are_given_without_padding():
    items = vectors("popular")
    allowed = np.zeros(N_ITEMS, np.bool_)
    allowed[[5, 70_000]] = True
    found = LongestFirst.of(items).propose(np.ones((1, 8), np.float32), 4, allowed)
    assert sorted(found.places[0].tolist()) == [-1, -1, 5, 70_000]
    assert np.isnan(found.scores[0, 2:]).all()


def test_long_vectors_end_the_search_early(monkeypatch):
    items = vectors("popular")
    items[:300] *= 1_000
    among, looked = LongestFirst.of(items), []
    usual = LongestFirst.block
    monkeypatch.setattr(LongestFirst, "block", lambda self, a, b: looked.append(b) or usual(self, a, b))
    among.propose(np.ones((2, 8), np.float32), 20)
    assert looked == [4_096]


def test_a_customer_drawn_to_nothing_does_not_look_at_everything():
    found = LongestFirst.of(vectors("popular")).propose(np.zeros((1, 8), np.float32), 3)
    assert found.scores[0].tolist() == [0.0, 0.0, 0.0]
