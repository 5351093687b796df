"""Figures of an arm: they add up, and a quantile of the histogram is that of the values."""

import numpy as np
import pytest

from serving.rollouts.arm_figures import ArmFigures, latency_bucket, probability_bin


def counted(values: np.ndarray) -> dict[int, int]:
    buckets: dict[int, int] = {}
    for value in values.tolist():
        bucket = latency_bucket(value)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    return buckets


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99, 1.0])
def test_a_quantile_of_latency_is_that_of_the_values_within_half_a_bucket(quantile: float) -> None:
    seconds = np.random.default_rng(3).lognormal(np.log(2e-3), 1.0, 5_000)
    wanted = 1e3 * float(np.quantile(seconds, quantile, method="inverted_cdf"))
    found = ArmFigures(latency=counted(seconds)).latency_ms(quantile)
    assert found == pytest.approx(wanted, rel=2 ** (1 / 16) - 1 + 1e-9)  # half of a bucket of 2^(1/8)


def test_what_is_shorter_or_longer_than_any_bucket_lies_in_the_first_or_the_last() -> None:
    assert (latency_bucket(0.0), latency_bucket(1e9)) == (0, 216)
    assert [probability_bin(one) for one in (0.0, 0.0199, 0.02, 0.999, 1.0)] == [0, 0, 1, 49, 49]


def test_without_a_request_no_share_and_no_latency_is_known() -> None:
    nothing = ArmFigures()
    shares = (nothing.error_share, nothing.fallback_share, nothing.missing_share, nothing.dropped_share)
    assert (*shares, nothing.moved_share, nothing.mean_overlap, nothing.latency_ms(0.5)) == (None,) * 7


def test_figures_of_two_workers_add_up() -> None:
    one = ArmFigures(4, 1, 2, 0, {3: 4}, (1,) + (0,) * 49, 6, {"low>low": 3, "low>high": 1}, 4, 0.5, 1.0, 2, 1.0)
    two = ArmFigures(6, 0, 1, 1, {3: 1, 9: 5}, (0,) * 49 + (6,), 0, {"low>low": 1}, 0, 0.0, 0.0, 2, 2.0)
    both = one + two
    assert (both.n_requests, both.error_share, both.fallback_share, both.missing_share) == (10, 0.1, 0.3, 0.1)
    assert (both.latency, both.probabilities[0], both.probabilities[49]) == ({3: 5, 9: 5}, 1, 6)
    assert (both.dropped_share, both.moved_share) == (6 / 16, 1 / 5)
    assert (both.mean_difference, both.mean_abs_difference, both.mean_overlap) == (0.125, 0.25, 0.75)
