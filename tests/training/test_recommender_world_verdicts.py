"""How the benchmark on the simulated shop groups customers and counts what is shown."""

import numpy as np
import pytest

from benchmarks.bench_recommender_world import _groups, _margin_shown, best_of
from serving.objective import Objective


def test_customers_are_grouped_by_where_the_objective_moves():
    found = _groups(Objective(), np.array([0.1, 0.3, 0.5, 0.7, 0.9]))
    assert {name: np.flatnonzero(who).tolist() for name, who in found.items()} == {
        "high risk": [3, 4],
        "between": [2],
        "low risk": [0, 1],
    }


def test_the_margin_shown_is_the_mean_rank_of_the_prices_and_empty_places_do_not_count():
    # ranks of three prices: 1/6, 3/6, 5/6
    assert _margin_shown(np.array([100, 200, 300]), np.array([[2, -1], [0, -1]])) == pytest.approx(0.5)
    assert np.isnan(_margin_shown(np.array([100]), np.array([[-1]])))


def test_the_best_leave_out_what_is_not_open():
    scores = np.arange(12.0)[None]
    assert best_of(scores)[0].tolist() == list(range(11, 1, -1))
    assert best_of(scores, np.arange(12)[None] != 11)[0, 0] == 10
