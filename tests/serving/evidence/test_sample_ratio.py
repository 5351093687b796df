"""The check of arm sizes: a martingale by hand, and how seldom and how surely it speaks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import DataError
from serving.evidence.sample_ratio import ratio_evidence, sample_ratio

COUNTS = st.integers(0, 5_000)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [1 / 51, 50 / 51], [0.2, 0.3, 0.5]])
def test_one_more_customer_leaves_the_expected_evidence_as_it_is(shares):
    of_arm = np.array(shares)
    for before in (np.zeros(of_arm.size), np.arange(of_arm.size) * 7.0 + 3.0):
        then = np.exp(ratio_evidence(before + np.eye(of_arm.size), of_arm))
        assert then @ of_arm == pytest.approx(np.exp(ratio_evidence(before, of_arm)), rel=1e-9)


def test_the_evidence_is_the_one_worked_out_by_hand():
    # a tilt t of even shares is e^(+-t/2)-fold odds either way: a share of 1 / (1 + e^-t), twice it against 1/2;
    # five tilts .12 * 2.5^k, weights 3^-|k|: after 3 customers of 3 on one arm the two signs give the two likelihoods
    tilts, weights = [0.12 * 2.5**k for k in range(-2, 3)], [1 / 9, 1 / 3, 1, 1 / 3, 1 / 9]
    shares = [1 / (1 + math.exp(-t)) for t in tilts]
    likelihoods = [((2 * p) ** 3 + (2 - 2 * p) ** 3) / 2 for p in shares]
    by_hand = sum(w * ratio for w, ratio in zip(weights, likelihoods, strict=True)) / sum(weights)
    assert sample_ratio([3, 0], [1, 1]).log_evidence == pytest.approx(math.log(by_hand))


@given(COUNTS, COUNTS, COUNTS)
def test_the_order_of_the_arms_changes_nothing(first, second, third):
    one = sample_ratio([first, second, third], [0.1, 0.3, 0.6]).log_evidence
    assert sample_ratio([third, first, second], [6, 1, 3]).log_evidence == pytest.approx(one, abs=1e-9)


@given(COUNTS)
def test_counts_in_the_intended_ratio_never_speak_against_it(n):
    assert sample_ratio([n, 3 * n], [0.25, 0.75]).log_evidence <= 1e-12


def test_46_against_54_of_6000_customers_is_a_mismatch_and_49_against_51_is_not():
    assert sample_ratio([2_760, 3_240], [0.5, 0.5]).mismatch
    assert not sample_ratio([2_940, 3_060], [0.5, 0.5]).mismatch


def test_no_customers_are_no_mismatch():
    found = sample_ratio([0, 0], [0.5, 0.5])
    assert (found.log_evidence, found.mismatch) == (pytest.approx(0.0, abs=1e-12), False)


def test_a_ratio_of_one_to_fifty_is_checked_too():
    assert not sample_ratio([1_000, 50_000], [1, 50]).mismatch
    assert sample_ratio([850, 50_000], [1, 50]).mismatch  # 150 too few, 4.7 deviations


def test_what_is_no_count_or_no_share_is_refused():
    broken = [([1], [1.0]), ([1, 2], [1.0]), ([-1, 2], [0.5, 0.5]), ([1, 2], [0.0, 1.0]), ([1, 2], [math.nan, 1.0])]
    for counts, shares in broken:
        with pytest.raises(DataError, match="shares"):
            sample_ratio(counts, shares)
    with pytest.raises(DataError, match="alpha"):
        sample_ratio([1, 2], [0.5, 0.5], alpha=0.0)


def test_looks_after_every_30_customers_are_seldom_wrong_and_mostly_right():
    rng = np.random.default_rng(7)

    def met(share):
        first = rng.binomial(30, share, (1_500, 200)).cumsum(axis=1)
        counts = np.stack([first, np.arange(30, 6_001, 30) - first], axis=-1).astype(np.float64)
        return (ratio_evidence(counts, np.array([0.5, 0.5])) >= math.log(500)).any(axis=1).mean()

    assert met(0.5) <= 0.006  # .2% at most; four deviations of 1,500 runs are .46%
    assert met(0.46) >= 0.98  # 99% at least; four deviations are 1%
