"""What a slate does in the simulated shop, by hand arithmetic and by the bounds of a law."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from features.errors import DataError, TimeError
from features.instants import DAY_US
from training.simulate import CAUSES, HazardSettings, OfferSettings, SimulationSettings, Truth, simulate
from training.simulated_shop.history import Stream
from training.simulated_shop.oracle import oracle_churn_probability
from training.simulated_shop.responses import (
    HAZARD_CUT,
    IN_MIND,
    ORDER_LIFT,
    appeal,
    oracle_responses,
    oracle_return_probability,
    true_pull,
)

DAY = 200
K = 4


@pytest.fixture(scope="module")
def truth() -> Truth:
    return simulate(SimulationSettings(scale=0.02, days=240), 5).truth


@pytest.fixture(scope="module")
def at(truth: Truth) -> int:
    return truth.settings.start_us + DAY * DAY_US


@pytest.fixture(scope="module")
def rows(truth: Truth) -> np.ndarray:
    return np.flatnonzero(truth.people.join_day < DAY)


@pytest.fixture(scope="module")
def pull(truth: Truth, rows: np.ndarray, at: int) -> np.ndarray:
    return true_pull(truth, rows, at)


def by_true_pull(pull: np.ndarray) -> np.ndarray:
    return np.argsort(-pull, axis=1)[:, :K]


def test_attention_falls_by_a_fifth_from_place_to_place():
    # attention 1, .8 and .64, so 1.3 of 2.44
    assert appeal(np.array([[0.9, 0.5, 0.0]])) == pytest.approx([1.3 / 2.44])


def test_an_empty_slate_leaves_everyone_as_they_are(truth, rows, at):
    nothing = np.full((len(rows), K), -1)
    ids, stays_away = oracle_churn_probability(truth, at, 0, 60)
    assert ids == [truth.customer_ids[row] for row in rows]
    assert np.array_equal(oracle_return_probability(truth, rows, nothing, at, 60), 1.0 - stays_away)


def test_the_next_day_follows_from_the_renewal_probability_by_hand():
    nobody = HazardSettings(base_per_day=0.0, mass=(0.0,) * len(CAUSES))
    truth = simulate(SimulationSettings(scale=0.01, days=240, hazard=nobody, offer=OfferSettings(share=0.0)), 1).truth
    at = truth.settings.start_us + DAY * DAY_US
    rows = np.flatnonzero(truth.people.join_day < DAY)
    pull = true_pull(truth, rows, at)
    slates = by_true_pull(pull)
    shown = np.take_along_axis(pull, slates, axis=1)
    before = 1.0 - oracle_churn_probability(truth, at, 0, 1)[1]
    lift = np.exp(0.7 * (shown @ [1, 0.8, 0.64, 0.512]) / 2.952)
    found = oracle_responses(truth, rows, slates, at, 1)
    assert found.return_probability == pytest.approx(np.minimum(before * lift, 0.6))
    assert found.ordered[:, 1] == pytest.approx(found.return_probability * 0.8 * 0.55 * shown[:, 1])


def test_what_is_due_at_home_is_what_the_shop_itself_would_buy_again(truth, rows, at, pull):
    home, catalogue = truth.at_home, truth.catalogue
    before = (home.day < DAY) & (home.amounts[:, 0] >= 0)
    last = np.flatnonzero(before)[-1]  # the consumable that came into use last of all is surely still in use
    row, item, passed = home.row[last], home.code[last], DAY - home.day[last]
    due = 1 / (1 + np.exp(-9 * (passed / catalogue.repeat_days[item] - 0.8)))
    match = max(truth.people.taste[row] @ catalogue.factors[item], 0.0)
    dear = np.exp(-2 * truth.people.price_sensitivity[row] * catalogue.relative_price[item])
    expected = (1 - (1 - due) * (1 - match**2 * min(1.0, dear))) * catalogue.in_stock[DAY - 1, item]
    assert pull[np.searchsorted(rows, row), item] == pytest.approx(expected)


def test_what_lasts_and_is_at_home_pulls_a_twentieth(truth, rows, at, pull):
    home = truth.at_home
    owned = (home.day < DAY) & (home.amounts[:, 0] < 0) & truth.catalogue.in_stock[DAY - 1][home.code]
    none = Stream(home.day[:0], home.row[:0], home.code[:0], home.amounts[:0])
    bare = true_pull(dataclasses.replace(truth, at_home=none), rows, at)
    place = (np.searchsorted(rows, home.row[owned]), home.code[owned])
    assert owned.sum() > 50
    assert pull[place] == pytest.approx(bare[place] * np.exp(-3.0))


def test_true_pull_brings_more_back_than_chance_and_chance_more_than_what_nobody_wants(truth, rows, at, pull):
    drawn = np.random.default_rng(0).integers(0, pull.shape[1], (len(rows), K))
    returns = [
        oracle_return_probability(truth, rows, slates, at, 60)
        for slates in (by_true_pull(pull), drawn, by_true_pull(-pull))
    ]
    assert (returns[0] >= returns[1]).all()
    assert (returns[1] >= returns[2]).all()
    assert returns[0].mean() > returns[1].mean() + 0.01 > returns[2].mean() + 0.01


def test_the_order_of_a_slate_matters(truth, rows, at, pull):
    slates = by_true_pull(pull)
    first = oracle_return_probability(truth, rows, slates, at, 60)
    last = oracle_return_probability(truth, rows, slates[:, ::-1], at, 60)
    assert (first >= last).all()
    assert (first > last).any()


def test_what_happens_after_as_of_changes_no_pull(truth, rows, at, pull):
    kept = truth.at_home.day < DAY
    blind = Stream(*(getattr(truth.at_home, name)[kept] for name in ("day", "row", "code", "amounts")))
    assert np.array_equal(true_pull(dataclasses.replace(truth, at_home=blind), rows, at), pull)


def test_the_law_is_the_one_that_was_written_down():
    assert (HAZARD_CUT, ORDER_LIFT, IN_MIND) == (0.5, 0.7, 0.55)


def test_what_the_law_cannot_judge_is_refused(truth, rows, at):
    slates = np.zeros((len(rows), K), np.int64)
    with pytest.raises(DataError, match="one row for each"):
        oracle_responses(truth, rows, slates[1:], at, 60)
    with pytest.raises(DataError, match="comes twice"):
        oracle_responses(truth, np.array([0, 0]), slates[:2], at, 60)
    with pytest.raises(DataError, match="had not joined"):
        oracle_responses(truth, np.array([len(truth.customer_ids) - 1]), slates[:1], at, 60)
    with pytest.raises(TimeError, match="midnight"):
        oracle_responses(truth, rows, slates, at + 1, 60)
