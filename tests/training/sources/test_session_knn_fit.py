from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from features.errors import ConfigurationError
from features.instants import DAY_US
from serving.sources.histories import PURCHASE, Histories, Steps
from training.sources.session_knn import SessionKnnSettings, fit_session_knn

ONE_EACH = SessionKnnSettings(pause_hours=0.0)


def kept(source):
    return [source.items[a:b].tolist() for a, b in zip(source.offsets[:-1], source.offsets[1:], strict=True)]


def test_all_that_a_customer_did_is_a_session_where_no_pause_ends_it():
    source = fit_session_knn(Histories.of_lists([[3, 1], [2], [0, 1, 2]], 4), 4, ONE_EACH)
    assert kept(source) == [[3, 1], [0, 1, 2]]  # of one item nothing can be learnt
    assert source.popularity.tolist() == [1, 2, 1, 1]
    assert source.ended_days.tolist() == [-1, -1]  # as_of is 0, and the last step was a day before it


def test_a_pause_ends_a_session():
    hour = DAY_US // 24
    times = np.array([0, 1, 2, 30, 31]) * hour
    steps = Steps(np.array([0, 5]), np.arange(5), times, np.full(5, PURCHASE, np.int8))
    histories = dataclasses.replace(Histories.of_lists([[0, 1, 2, 3, 4]], 5), steps=steps, as_of_us=40 * hour)
    source = fit_session_knn(histories, 5, SessionKnnSettings(pause_hours=24.0))
    assert kept(source) == [[0, 1, 2], [3, 4]]
    assert source.ended_days.tolist() == [0, 1]


def test_an_item_that_comes_twice_is_kept_where_it_came_last():
    assert kept(fit_session_knn(Histories.of_lists([[0, 1, 0, 2, 1]], 3), 3, ONE_EACH)) == [[0, 2, 1]]


def test_the_last_items_of_a_session_and_the_last_sessions_are_kept():
    histories = Histories.of_lists([[0, 1, 2], [3, 4]], 5)
    assert kept(fit_session_knn(histories, 5, dataclasses.replace(ONE_EACH, longest=2))) == [[1, 2], [3, 4]]
    assert kept(fit_session_knn(histories, 5, dataclasses.replace(ONE_EACH, most_kept=1))) == [[3, 4]]


def test_in_a_world_of_colours_the_neighbours_are_of_the_colour():
    rng = np.random.default_rng(3)
    lists = [(rng.choice(10, 5, replace=False) * 2 + colour).tolist() for colour in (0, 1) * 30]
    source = fit_session_knn(Histories.of_lists(lists, 20), 20, ONE_EACH)
    found = source.propose(Histories.of_lists([[4], [7]], 20), 5).places
    assert (found % 2).tolist() == [[0] * 5, [1] * 5]


def test_nobody_is_no_error_and_a_wrong_number_is_one():
    assert kept(fit_session_knn(Histories.nobody(0), 3, ONE_EACH)) == []
    with pytest.raises(ConfigurationError, match=r"session_knn\.neighbours"):
        SessionKnnSettings(neighbours=0)
