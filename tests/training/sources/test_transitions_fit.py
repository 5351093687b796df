from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from features.errors import ConfigurationError
from serving.sources.histories import Histories
from training.sources.transitions import TransitionSettings, fit_transitions

PLAIN = TransitionSettings(
    past_decay=0.5,
    future_decay=0.25,
    backward=0.0,
    regularization=2.0,
    attribute_weight=0.0,
    popularity_power=0.0,
    half_life_days=0.0,
)


def dense(source):
    found = np.zeros((source.n_items, source.n_items))
    rows = np.repeat(np.arange(source.n_items), np.diff(source.neighbours.offsets))
    found[rows, source.neighbours.items] = source.neighbours.weights
    return found


def past_and_future(customers, n_items, settings):
    """Row by row, as the paper writes them: one row for every occasion that has one before it."""
    rows = []
    for baskets in customers:
        for now in range(1, len(baskets)):
            past, future = np.zeros(n_items), np.zeros(n_items)
            for place, basket in enumerate(baskets):
                back, ahead = now - 1 - place, place - now
                if 0 <= back < settings.window:
                    past[basket] += settings.past_decay**back
                if 0 <= ahead <= settings.window:
                    future[basket] += settings.future_decay**ahead
            rows.append((np.minimum(past, 1), np.minimum(future, 1)))
    return (np.array(side) for side in zip(*rows, strict=True))


def customers(n=25, n_items=7, seed=4):
    rng = np.random.default_rng(seed)
    return [
        [rng.choice(n_items, rng.integers(1, 3), replace=False).tolist() for _ in range(rng.integers(1, 7))]
        for _ in range(n)
    ]


@pytest.mark.parametrize(("backward", "window"), [(0.0, 20), (0.5, 2)])
def test_what_comes_is_regressed_on_what_was(backward, window):
    settings = dataclasses.replace(PLAIN, backward=backward, window=window)
    past, future = past_and_future(customers(), 7, settings)
    pairs = past.T @ future
    expected = np.linalg.solve(past.T @ past + 2.0 * np.eye(7), pairs + backward * pairs.T)
    np.fill_diagonal(expected, 0.0)
    found = fit_transitions(Histories.of_baskets(customers(), 7), 7, settings)
    np.testing.assert_allclose(dense(found), np.maximum(expected, 0.0), atol=1e-5)


def test_attributes_are_rows_that_hold_all_their_items():
    settings = dataclasses.replace(PLAIN, attribute_weight=3.0, attribute_power=0.5)
    tokens = [["a"], ["a", "b"], ["b"], ["b"], [], ["c"], ["a"]]
    past, future = past_and_future(customers(), 7, settings)
    has = np.array([[word in own for word in "abc"] for own in tokens], float)
    alike = has @ np.diag(3.0 / np.sqrt(has.sum(axis=0))) @ has.T
    apart = alike - np.diag(np.diag(alike))
    expected = np.linalg.solve(past.T @ past + alike + 2.0 * np.eye(7), past.T @ future + apart)
    np.fill_diagonal(expected, 0.0)
    found = fit_transitions(Histories.of_baskets(customers(), 7), 7, settings, tokens)
    np.testing.assert_allclose(dense(found), np.maximum(expected, 0.0), atol=1e-5)


def test_an_item_that_nobody_bought_follows_what_shares_its_attributes():
    histories = Histories.of_lists([[0, 1], [0, 1], [2, 3]], 5)
    tokens = [["tea"], ["tea"], ["wine"], ["wine"], ["tea"]]
    settings = dataclasses.replace(PLAIN, attribute_weight=1.0)
    found = fit_transitions(histories, 5, settings, tokens)
    assert 4 in found.propose(Histories.of_lists([[0]], 5), 5).places
    assert 4 not in fit_transitions(histories, 5, settings).propose(Histories.of_lists([[0]], 5), 5).places


def test_in_a_world_that_goes_round_the_next_item_comes_first():
    rng = np.random.default_rng(1)
    lists = [[(start + step) % 6 for step in range(8)] for start in rng.integers(0, 6, 40).tolist()]
    source = fit_transitions(Histories.of_lists(lists, 6), 6, PLAIN)
    asked = Histories.of_lists([[item] for item in range(6)], 6)
    assert source.propose(asked, 1).places.ravel().tolist() == [1, 2, 3, 4, 5, 0]


def test_many_items_are_counted_and_divided_by_how_often_they_come():
    # 0 -> 1 twice and 0 -> 2 once; each item comes 3, 2 and 1 times
    settings = dataclasses.replace(PLAIN, exact_items=1)
    found = dense(fit_transitions(Histories.of_lists([[0, 1], [0, 1], [0, 2]], 3), 3, settings))
    expected = np.zeros((3, 3))
    expected[0, 1], expected[0, 2] = 2 / 3**0.7 / 2**0.3, 1 / 3**0.7
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_counts_of_pairs_fade_with_the_occasions_between_them():
    # 0 -> 1 and 1 -> 2 with nothing between, 0 -> 2 with one between; backwards half as much; every item comes once
    settings = dataclasses.replace(PLAIN, exact_items=1, backward=0.5)
    found = dense(fit_transitions(Histories.of_lists([[0, 1, 2]], 3), 3, settings))
    assert found.tolist() == [[0, 1, 0.5], [0.5, 0, 1], [0.25, 0.5, 0]]


def test_only_the_last_occasions_of_a_customer_are_read():
    settings = dataclasses.replace(PLAIN, last=2)
    whole = fit_transitions(Histories.of_lists([[0, 1, 2, 3], [2]], 4), 4, settings)
    short = fit_transitions(Histories.of_lists([[2, 3], [2]], 4), 4, settings)
    np.testing.assert_array_equal(dense(whole), dense(short))


def test_a_basket_that_is_too_large_is_left_out():
    settings = dataclasses.replace(PLAIN, largest=2)
    found = fit_transitions(Histories.of_baskets([[[0], [1, 2, 3], [1]]], 4), 4, settings)
    assert set(zip(*(places.tolist() for places in np.nonzero(dense(found))), strict=True)) == {(0, 1)}


def test_nobody_and_no_items_are_no_error():
    assert not dense(fit_transitions(Histories.nobody(0), 3, PLAIN)).any()
    assert fit_transitions(Histories.nobody(0), 0, PLAIN).n_items == 0


def test_numbers_out_of_range_are_refused_by_name():
    with pytest.raises(ConfigurationError, match=r"transitions\.regularization"):
        TransitionSettings(regularization=0.0)
    with pytest.raises(ConfigurationError, match="step_decay"):
        TransitionSettings(step_decay=1.5)
