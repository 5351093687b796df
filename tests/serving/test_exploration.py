"""Exploring slots: chances that are exact, kept to a floor, and matched by what is really shown."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ArtefactError, ConfigurationError, DataError
from serving.arranging import Arranged
from serving.exploration import (
    ExplorationSettings,
    ItemBeliefs,
    best_probabilities,
    explore,
    explore_arranged,
    rng_of,
    slot_propensities,
)


def beliefs(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(-4.0, 0.7, n), rng.uniform(0.05, 1.0, n)


WORLDS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-20, 5), min_size=n, max_size=n), st.lists(st.floats(1e-3, 5), min_size=n, max_size=n)
    )
)


@settings(max_examples=60, deadline=None)
@given(world=WORLDS, floor=st.floats(1e-6, 0.5))
def test_chances_of_a_slot_sum_to_one_and_none_is_below_the_floor(world, floor):
    means, deviations = (np.array(part) for part in world)
    chances = slot_propensities(means, deviations, floor)
    assert chances.sum() == pytest.approx(1.0, abs=1e-9)
    assert np.all(chances >= min(floor, 1.0 / means.size) * (1 - 1e-9))


def test_chances_are_those_of_drawing_every_belief_and_showing_the_largest():
    means, deviations = beliefs(20)
    rng = np.random.default_rng(1)
    drawn = (means + deviations * rng.normal(size=(200_000, 20))).argmax(axis=1)
    shown = np.bincount(drawn, minlength=20) / 200_000
    assert best_probabilities(means, deviations) == pytest.approx(shown, abs=4 * math.sqrt(0.25 / 200_000) + 1e-3)


@pytest.mark.parametrize(("gap", "first", "second"), [(0.0, 1.0, 3.0), (0.7, 0.2, 0.5), (3.0, 1.0, 0.01)])
def test_of_two_items_the_chance_is_the_normal_distribution_of_their_difference(gap, first, second):
    expected = 0.5 * (1 + math.erf(gap / math.hypot(first, second) / math.sqrt(2)))
    assert best_probabilities(np.array([gap, 0.0]), np.array([first, second]))[0] == pytest.approx(expected, abs=2e-3)


def test_chances_do_not_depend_on_the_order_of_the_items():
    means, deviations = beliefs(15)
    turned = best_probabilities(means[::-1], deviations[::-1])[::-1]
    assert turned == pytest.approx(best_probabilities(means, deviations), rel=1e-9)


def test_an_item_known_to_be_best_is_nearly_always_shown_and_an_unknown_one_gets_its_chance():
    surely_better = best_probabilities(np.array([-1.0, -4.0]), np.array([0.1, 0.1]))
    hardly_known = best_probabilities(np.array([-1.0, -4.0]), np.array([0.1, 3.0]))
    assert surely_better[1] < 1e-6
    assert hardly_known[1] == pytest.approx(0.159, abs=0.002)  # 3 below, deviation 3.0: one deviation


def test_slots_that_do_not_explore_keep_the_ranking_and_are_certain():
    means, deviations = beliefs(40)
    found = explore(means, deviations, 12, ExplorationSettings((5, 10)), np.random.default_rng(0))
    assert found.explored.tolist() == [place in {4, 9} for place in range(12)]
    assert found.order[~found.explored].tolist() == list(range(10))
    assert found.propensities[~found.explored].tolist() == [1.0] * 10
    assert set(found.order[found.explored]) <= set(range(10, 40))
    assert np.unique(found.order).size == 12


def test_pinned_and_sponsored_items_keep_their_positions_and_are_never_drawn():
    means, deviations = beliefs(12)
    fixed = np.zeros(12, np.bool_)
    fixed[[1, 4, 8, 9]] = True
    shown = set()
    for seed in range(200):
        found = explore(means, deviations, 6, ExplorationSettings((2, 4)), np.random.default_rng(seed), fixed)
        # the second slot is pinned and does not explore; those that do not explore take 0, 2 and 3 in their order
        assert found.order[[0, 1, 2, 4, 5]].tolist() == [0, 1, 2, 4, 3]
        assert found.explored.tolist() == [False, False, False, True, False, False]
        shown.add(int(found.order[3]))
    assert shown == {5, 6, 7, 10, 11}


def test_an_arranged_list_explores_by_its_positions_over_all_pages():
    places = np.array([7, 3, 9, 1, 4, 8])
    arranged = Arranged(
        places,
        places / 10,
        ("ranked", "pinned", "ranked", "ranked", "ranked", "ranked"),
        np.ones(6),
        first_position=11,
        filtered={},
        more=False,
    )
    unknown = ItemBeliefs(np.zeros(10, np.float32), np.ones(10, np.float32))
    wanted = ExplorationSettings((2, 12, 13))  # of a page before; pinned; the third of this page
    drawn = set()
    for seed in range(60):
        page, found = explore_arranged(arranged, unknown, 3, wanted, np.random.default_rng(seed))
        assert page.places[:2].tolist() == [7, 3]
        assert page.shown_as == ("ranked", "pinned", "ranked")
        assert page.scores.tolist() == (page.places / 10).tolist()
        assert found.propensities.tolist() == pytest.approx([1.0, 1.0, 0.25])  # four alike may stand there
        assert page.more
        drawn.add(int(page.places[2]))
    assert drawn == {9, 1, 4, 8}


def test_nothing_explores_unless_told_to():
    found = explore(*beliefs(8), 5, ExplorationSettings(), np.random.default_rng(0))
    assert found.order.tolist() == [0, 1, 2, 3, 4]
    assert not found.explored.any()


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(0, 30),
    limit=st.integers(0, 20),
    slots=st.lists(st.integers(1, 25), unique=True, max_size=6),
    floor=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
    pinned=st.floats(0, 1),
)
def test_a_slate_is_never_padded_never_repeats_and_never_shows_below_the_floor(n, limit, slots, floor, seed, pinned):
    means, deviations = beliefs(n, seed)
    wanted = ExplorationSettings(tuple(slots), floor)
    fixed = np.random.default_rng(seed).random(n) < pinned
    found = explore(means, deviations, limit, wanted, np.random.default_rng(seed), fixed)
    assert found.order.size == min(n, limit)
    kept = np.flatnonzero(fixed[:limit])
    assert found.order[kept].tolist() == kept.tolist()
    assert set(kept) == set(np.flatnonzero(fixed)) & set(found.order.tolist())
    assert np.unique(found.order).size == found.order.size
    assert np.all((found.order >= 0) & (found.order < max(n, 1)))
    assert np.all((found.propensities >= floor * (1 - 1e-9)) & (found.propensities <= 1.0))
    again = explore(means, deviations, limit, wanted, np.random.default_rng(seed), fixed)
    assert again.order.tolist() == found.order.tolist()


def test_items_are_shown_as_often_as_their_propensities_say():
    means, deviations = beliefs(9)
    wanted, rng, times = ExplorationSettings((2, 4), floor=0.05), np.random.default_rng(3), 1_500
    shown, said = np.zeros((4, 9)), np.zeros((4, 9))
    for _ in range(times):
        found = explore(means, deviations, 4, wanted, rng)
        shown[np.arange(4), found.order] += 1
        said[np.arange(4), found.order] += found.propensities
    first = slot_propensities(means[2:], deviations[2:], 0.05)
    assert shown[1, 2:] / times == pytest.approx(first, abs=4 * math.sqrt(0.25 / times))
    assert said[1, 2:] == pytest.approx(shown[1, 2:] * first)
    # on the second exploring slot: weighed by the inverse propensity every item counts once a slate it could stand on
    assert (shown[3, 2:] > 0).all()


def test_inverse_propensities_give_every_item_that_could_stand_there_the_same_count():
    means, deviations = beliefs(9)
    wanted, rng, times = ExplorationSettings((2, 4), floor=0.08), np.random.default_rng(4), 1_500
    weighed, free = np.zeros(9), np.zeros(9)
    for _ in range(times):
        found = explore(means, deviations, 4, wanted, rng)
        weighed[found.order[3]] += 1 / found.propensities[3]
        free[np.setdiff1d(np.arange(2, 9), found.order[1])] += 1
    # the variance of one weighed count is at most 1 / floor
    assert weighed[2:] == pytest.approx(free[2:], abs=4 * math.sqrt(times / 0.08))


def test_only_the_best_of_the_rest_may_be_drawn_and_no_more_than_the_floor_allows():
    assert ExplorationSettings((1,), floor=0.2).pool == 5
    assert ExplorationSettings((1,), floor=0.001, candidates=7).pool == 7
    means, deviations = beliefs(50)
    drawn = {
        int(explore(means, deviations, 3, ExplorationSettings((3,), 0.2), np.random.default_rng(seed)).order[2])
        for seed in range(300)
    }
    assert drawn == {2, 3, 4, 5, 6}


def test_beliefs_are_the_moments_of_the_log_odds_of_a_beta():
    rng = np.random.default_rng(0)
    rates = rng.beta(3.0, 97.0, 200_000)  # 2 of 90 responded, on top of 1 of 10
    log_odds = np.log(rates / (1 - rates))
    found = ItemBeliefs.of_counts(np.array([2.0]), np.array([90.0]), 1.0, 10.0)
    assert found.means[0] == pytest.approx(log_odds.mean(), abs=0.01)
    assert found.deviations[0] == pytest.approx(log_odds.std(), abs=0.01)


def test_beliefs_come_back_from_their_arrays_and_broken_ones_are_refused():
    made = ItemBeliefs.of_counts(np.array([0.0, 5.0]), np.array([3.0, 9.0]), 1.0, 20.0)
    back = ItemBeliefs.from_parts(made.to_parts())
    assert np.array_equal(back.means, made.means)
    with pytest.raises(ArtefactError):
        ItemBeliefs.from_parts({"means": made.means})
    with pytest.raises(ArtefactError):
        ItemBeliefs.from_parts({"means": made.means, "deviations": np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    "counts", [([-1.0], [2.0], 1.0, 2.0), ([3.0], [2.0], 1.0, 2.0), ([0.0], [0.0], 0.0, 2.0), ([0.0], [0.0], 2.0, 2.0)]
)
def test_counts_that_cannot_be_are_refused(counts):
    responded, shown, prior_responded, prior_shown = counts
    with pytest.raises(DataError):
        ItemBeliefs.of_counts(np.array(responded), np.array(shown), prior_responded, prior_shown)


@pytest.mark.parametrize(
    ("given_settings", "key"),
    [
        ({"slots": (0,)}, "slots"),
        ({"slots": (3, 3)}, "slots"),
        ({"floor": 0.0}, "floor"),
        ({"floor": 0.6}, "floor"),
        ({"floor": math.nan}, "floor"),
        ({"candidates": 1}, "candidates"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(given_settings, key):
    with pytest.raises(ConfigurationError, match=f"exploration.{key} is"):
        ExplorationSettings(**given_settings)


def test_learning_finds_the_best_item_that_nobody_knew_and_beats_showing_all_evenly():
    """Five items of rate .05 and one of .3, ranked last; beliefs are renewed every 50 slates."""
    rng, rates = np.random.default_rng(0), np.array([0.05, 0.05, 0.05, 0.05, 0.05, 0.3])
    shown, responded, best_shown = np.zeros(6), np.zeros(6), []
    for slates in range(2_000):
        if slates % 50 == 0:
            beliefs_now = ItemBeliefs.of_counts(responded, shown, 1.0, 20.0)
        found = explore(beliefs_now.means, beliefs_now.deviations, 1, ExplorationSettings((1,), 0.01), rng)
        item = found.order[0]
        shown[item] += 1
        responded[item] += rng.random() < rates[item]
        best_shown.append(item == 5)
    assert np.mean(best_shown[-500:]) > 0.85  # at most 1 less five floors: .95
    assert responded.sum() / 2_000 > 2 * rates.mean()
    assert (shown >= 5).all()  # and nothing is given up: 2,000 floors are 20


def test_the_id_of_an_answer_draws_its_slate_again():
    means, deviations = beliefs(30)
    wanted = ExplorationSettings((2, 3))
    slates = {
        name: explore(means, deviations, 4, wanted, rng_of(name)).order.tolist() for name in ("r-1", "r-2", "r-3")
    }
    assert explore(means, deviations, 4, wanted, rng_of("r-1")).order.tolist() == slates["r-1"]
    assert len({tuple(slate) for slate in slates.values()}) > 1
