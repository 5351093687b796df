"""Intervals that may be looked at at any time: by hand, by symmetry, and against worlds without a difference."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from features.errors import DataError, NotEnoughDataError
from serving.evidence.confidence_sequences import ArmTotals, _mixed, mean_difference, rate_difference, rate_evidence

rate = ArmTotals.of_rate


@st.composite
def arms(draw):
    n = draw(st.integers(1, 3_000))
    return rate(n, draw(st.integers(0, n)))


@st.composite
def equal_arms(draw):
    n = draw(st.integers(1, 3_000))
    return rate(n, draw(st.integers(0, n))), rate(n, draw(st.integers(0, n)))


def bounds(difference):
    return difference.ci_low, difference.ci_high


def test_totals_of_parts_add_to_the_totals_of_the_whole():
    whole = ArmTotals.of([1.0, 2.0, 4.0, 5.0])
    assert ArmTotals.of([1.0, 5.0]) + ArmTotals.of([4.0, 2.0]) + ArmTotals() == whole
    # mean 12 / 4, squared distances 4 + 1 + 1 + 4 over 3
    assert (whole.mean, whole.variance) == (3.0, pytest.approx(10 / 3))


def test_totals_that_cannot_be_are_refused():
    for broken in [(-1, 0.0, 0.0), (1, math.nan, 0.0), (1, 0.0, -1.0), (1, 0.0, math.inf)]:
        with pytest.raises(DataError, match="totals"):
            ArmTotals(*broken)


@pytest.mark.parametrize("share", [0.5, 0.25, 1 / 51])
@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.001, 0.001), (0.6, 0.1), (0.0, 1.0)])
def test_one_more_customer_leaves_the_expected_evidence_as_it_is(share, rates):
    """The martingale itself, by summing over the four outcomes of one customer with the true difference as the null."""
    of_arm, effect = [share, 1.0 - share], rates[0] - rates[1]
    chances = [of_arm[arm] * (rates[arm] if yes else 1.0 - rates[arm]) for arm, yes in product((0, 1), (1, 0))]
    for before, side in product((np.zeros(4), np.array([3.0, 5.0, 1.0, 7.0])), (1.0, -1.0)):
        now, then = (_mixed(cells, np.array(share), side, effect) for cells in (before, before + np.eye(4)))
        assert np.exp(then) @ chances == pytest.approx(np.exp(now), rel=1e-9)
        assert rate_evidence(before, share, effect)[0 if side > 0.0 else 1] <= max(now, 0.0) + 1e-12


@pytest.mark.parametrize("n", [(4, 4), (2, 7), (9, 1)])
@pytest.mark.parametrize("rate_of_both", [0.02, 0.4])
def test_evidence_of_no_difference_is_at_most_1_in_expectation_whatever_the_arms_sizes(n, rate_of_both):
    """By summing over all outcomes of two arms whose sizes nobody drew."""
    first, second = np.meshgrid(np.arange(n[0] + 1), np.arange(n[1] + 1), indexing="ij")
    chances = binom.pmf(first, n[0], rate_of_both) * binom.pmf(second, n[1], rate_of_both)
    cells = np.stack([first, n[0] - first, second, n[1] - second], axis=-1).astype(np.float64)
    for evidence in rate_evidence(cells):
        assert np.sum(np.exp(evidence) * chances) <= 1.0 + 1e-12


def test_a_pair_in_blocks_never_raises_the_expected_evidence():
    cells = np.array([[1.0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]])
    for first, second in [(0.2, 0.2), (0.9, 0.3), (0.01, 0.01)]:
        chances = np.outer([first, 1 - first], [second, 1 - second]).ravel()
        for evidence in rate_evidence(cells, 0.5, first - second):
            assert np.exp(evidence) @ chances <= 1.0 + 1e-12


def test_the_first_pair_is_weighed_as_by_hand():
    # a yes on the challenger, a no on the control, share 1/2, effect 0; at stake is f = .9 / 2^j of what could be lost.
    # payoffs by base b: 2 (1 - b) and 2 b; b = 0 and 1 win f on one of the two, b = 1/4 and 3/4, of twice the weight,
    # win f on one and f / 3 on the other
    at_stake = np.array([0.9 / 2**j for j in range(10)])
    weights = np.array([1 / 8, 1 / 4, 1 / 2, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64])
    won, lost = (((1 + f) + 2 * (1 + f) * (1 + f / 3)) / 3 for f in (at_stake, -at_stake))
    evidence = np.exp(rate_evidence(np.array([1.0, 0.0, 0.0, 1.0])))
    assert evidence == pytest.approx([np.average(won, weights=weights), np.average(lost, weights=weights)])


def test_an_empty_arm_is_no_evidence():
    assert np.max(rate_evidence(np.array([[9.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]]))) == 0.0


@given(arms(), arms(), st.sampled_from([0.5, 0.1, 1 / 51]))
@settings(max_examples=40, deadline=None)
def test_the_interval_holds_the_difference_met_and_mirrors_with_the_arms_and_the_outcome(challenger, control, share):
    found = rate_difference(challenger, control, challenger_share=share)
    assert -1.0 <= found.ci_low <= found.effect_abs <= found.ci_high <= 1.0
    mirrored = pytest.approx((-found.ci_high, -found.ci_low), abs=1e-9)
    assert bounds(rate_difference(control, challenger, challenger_share=1.0 - share)) == mirrored
    opposite = (rate(arm.n, arm.n - round(arm.total)) for arm in (challenger, control))
    assert bounds(rate_difference(*opposite, challenger_share=share)) == mirrored


@given(equal_arms())
@settings(max_examples=30, deadline=None)
def test_the_interval_leaves_0_out_just_where_the_evidence_of_a_side_reaches_2_over_alpha(pair):
    cells = np.array([value for arm in pair for value in (arm.total, arm.n - arm.total)])
    higher, lower = (evidence >= math.log(40) for evidence in rate_evidence(cells))
    found = rate_difference(*pair)
    assert (found.ci_low > 0.0, found.ci_high < 0.0) == (higher, lower)


@given(equal_arms(), st.floats(0.001, 0.2))
@settings(max_examples=30, deadline=None)
def test_a_smaller_alpha_only_widens(pair, alpha):
    wide, narrow = rate_difference(*pair, alpha=alpha / 2), rate_difference(*pair, alpha=alpha)
    assert wide.ci_low <= narrow.ci_low <= narrow.ci_high <= wide.ci_high


@given(equal_arms(), st.floats(-0.9, 0.8), st.floats(0.001, 0.2))
@settings(max_examples=60, deadline=None)
def test_evidence_falls_as_the_effect_to_exceed_grows(pair, effect, more):
    cells = np.array([value for arm in pair for value in (arm.total, arm.n - arm.total)])
    (higher, lower), (higher_then, lower_then) = (rate_evidence(cells, 0.5, e) for e in (effect, effect + more))
    assert higher_then <= higher + 1e-9
    assert lower_then >= lower - 1e-9


def test_more_customers_of_the_same_rates_narrow_the_interval():
    widths = [np.ptp(bounds(rate_difference(rate(n, n // 5), rate(n, n // 5)))) for n in (10, 100, 1_000, 10_000)]
    assert all(later < 0.8 * sooner for sooner, later in pairwise(widths))


def test_it_is_wider_than_an_interval_for_one_look_and_not_thrice_as_wide():
    # Jeffreys intervals, a second source: the half-width for one look at 10% of 10,000 is about .0083
    one_look = np.sqrt(2) * np.ptp(beta.ppf([0.025, 0.975], 1_000.5, 9_000.5)) / 2
    width = np.ptp(bounds(rate_difference(rate(10_000, 1_000), rate(10_000, 1_000)))) / 2
    assert one_look < width < 3 * one_look


def test_a_harm_of_a_half_shows_at_600_customers_an_arm_and_a_tenth_of_it_does_not():
    assert rate_difference(rate(600, 60), rate(600, 120)).ci_high < 0.0
    assert rate_difference(rate(600, 117), rate(600, 120)).ci_high > 0.0


def test_errors_of_one_in_a_thousand_that_become_one_in_fifty_show_at_1000_customers_an_arm():
    assert rate_difference(rate(1_000, 20), rate(1_000, 1)).ci_low > 0.0


def test_a_small_arm_that_met_no_rare_event_yet_is_no_evidence():
    # 1,000 customers at 0.1% meet none in e^-1 of the cases; the plain interval of 50 / 50,000 - 0 leaves 0 out
    found = rate_difference(rate(1_000, 0), rate(50_000, 50), challenger_share=1 / 51)
    assert found.ci_low < 0.0 < found.ci_high


def test_values_between_0_and_1_are_bounded_by_their_sums():
    halves = ArmTotals.of(np.full(400, 0.5))
    assert bounds(rate_difference(halves, halves)) == bounds(rate_difference(rate(400, 200), rate(400, 200)))


def test_arms_that_fill_otherwise_than_intended_are_no_difference_of_rates():
    """2% on both arms, 48% against 52% where halves were intended: the counts alone differ by nine deviations."""
    found = rate_difference(rate(24_000, 480), rate(26_000, 520))
    assert found.effect_abs == 0.0
    assert found.ci_low < 0.0 < found.ci_high


def test_what_is_no_rate_or_no_probability_is_refused():
    arm = rate(10, 5)
    with pytest.raises(DataError, match="mean_difference"):
        rate_difference(ArmTotals.of([3.0, 4.0]), arm)
    for chosen in ({"alpha": 0.0}, {"alpha": 1.0}, {"challenger_share": 0.0}, {"challenger_share": math.nan}):
        with pytest.raises(DataError, match="between 0 and 1"):
            rate_difference(arm, arm, **chosen)


def test_no_data_is_no_interval():
    arm, empty = ArmTotals.of([0.0, 1.0, 1.0]), ArmTotals()
    for pair in [(arm, empty), (empty, arm)]:
        for interval in (rate_difference, mean_difference):
            with pytest.raises(NotEnoughDataError, match="has 0"):
                interval(*pair)


def test_the_half_width_of_means_is_the_published_one():
    # n = 2,500 an arm, both with variance 1 by n: pooled and own differ by less than 1e-3
    arm = ArmTotals(2_500, 0.0, 2_500.0)
    r2 = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / 5_000
    n, s = 2_500, math.sqrt(2 * 2_500 / 2_499)
    by_hand = s * math.sqrt(2 * (n * r2 + 1) / (n * n * r2) * math.log(math.sqrt(n * r2 + 1) / 0.05))
    assert mean_difference(arm, arm).ci_high == pytest.approx(by_hand, rel=1e-9)


def test_values_that_are_all_the_same_are_no_evidence():
    with pytest.raises(NotEnoughDataError, match="differ"):
        mean_difference(ArmTotals.of([2.0, 2.0]), ArmTotals.of([2.0, 2.0, 2.0]))


def test_a_small_arm_without_its_rare_large_values_takes_the_variance_of_both():
    large = ArmTotals.of(np.r_[np.zeros(4_950), np.full(50, 100.0)])
    found = mean_difference(ArmTotals.of(np.zeros(100)), large)
    # a mean of 1 and a standard deviation of 10 over the root of 100 customers: 1 is one deviation
    assert found.ci_low < -3.0
    assert found.ci_high > 1.0


def test_looking_a_hundred_times_is_wrong_in_one_case_of_twenty_at_most():
    """Rare and unequal: 300 runs to 20,000 customers at 0.1%, one in 51 on the challenger."""
    rng = np.random.default_rng(5)
    n = rng.binomial(200, [1 / 51, 50 / 51], (300, 100, 2))
    n[:, :, 1] = 200 - n[:, :, 0]
    yes = rng.binomial(n, 0.001).cumsum(axis=1)
    no = n.cumsum(axis=1) - yes
    cells = np.stack([yes[..., 0], no[..., 0], yes[..., 1], no[..., 1]], axis=-1).astype(np.float64)
    wrong = np.maximum(*rate_evidence(cells, 1 / 51)) >= math.log(40)
    assert wrong.any(axis=1).mean() <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 1 / 51])
def test_money_of_a_few_customers_is_not_called_different_for_being_looked_at(share):
    """1% of customers spend, by a log-normal law: 400 runs of 100 looks at 10,000 customers."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(400):
        spent = np.where(rng.random(10_000) < 0.01, rng.lognormal(3.0, 1.0, 10_000), 0.0)
        on_challenger = rng.random(10_000) < share
        wrong += any(is_called_different(spent[:n], on_challenger[:n]) for n in range(100, 10_001, 100))
    assert wrong <= 0.05 * 400


def is_called_different(values, on_challenger):
    try:
        found = mean_difference(ArmTotals.of(values[on_challenger]), ArmTotals.of(values[~on_challenger]))
    except NotEnoughDataError:
        return False
    return not found.ci_low <= 0.0 <= found.ci_high
