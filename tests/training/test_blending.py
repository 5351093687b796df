from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from serving.sources.histories import Histories
from serving.sources.source import best_of, picked
from training.blending import choose_weights
from training.recommender_metrics import Relevant

N = 40
HISTORIES = Histories.of_lists([[0]] * N, 12)


@dataclass(frozen=True)
class Told:
    """A source whose scores (n, n_items) are given."""

    name: str
    table: np.ndarray

    def propose(self, histories, limit, allowed=None, excluded=None):
        return best_of(self.table[: histories.n_customers], limit, allowed, excluded)

    def scores(self, histories, places):
        return picked(self.table[: histories.n_customers], places)


def world():
    """Each customer turns to one item: even customers to what `left` has first, odd ones to what `right` has first."""
    wanted = np.arange(N) % 10 + 1
    noise = np.random.default_rng(3).random((3, N, 12)) * 0.4
    noise[0, np.arange(0, N, 2), wanted[::2]] = 1.0
    noise[1, np.arange(1, N, 2), wanted[1::2]] = 1.0
    sources = [Told("left", noise[0]), Told("right", noise[1]), Told("guess", noise[2])]
    return sources, Relevant(np.arange(N), wanted, N, 12)


@pytest.mark.parametrize("bags", [1, 5])
def test_two_sources_that_each_know_half_share_the_weight_and_a_guess_has_little(bags):
    sources, relevant = world()
    weights = choose_weights(sources, HISTORIES, relevant, rounds=10, bags=bags)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["left"] == pytest.approx(0.5, abs=0.2)
    assert weights["right"] == pytest.approx(0.5, abs=0.2)
    assert weights["guess"] < 0.15


def test_the_same_seed_draws_the_same_customers():
    sources, relevant = world()
    first, second = (choose_weights(sources, HISTORIES, relevant, rounds=5, bags=4, seed=7) for _ in range(2))
    assert first == second


def test_one_source_has_all_the_weight():
    sources, relevant = world()
    assert choose_weights(sources[2:], HISTORIES, relevant, rounds=3, bags=3) == {"guess": 1.0}
