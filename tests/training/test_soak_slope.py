"""The slope of a soak, on series whose slope is known."""

import numpy as np
import pytest

from benchmarks.bench_soak import slope_percent_an_hour

AT_S = np.arange(60) * 30.0


def test_a_straight_line_has_its_own_slope_and_no_doubt() -> None:
    line = 1_000.0 + 5.0 * (AT_S - AT_S.mean()) / 3_600  # 5 MiB an hour of 1,000 MiB
    assert slope_percent_an_hour(AT_S, line, np.random.default_rng(1)) == pytest.approx((0.5, 0.5, 0.5))


def test_neighbours_that_are_alike_and_single_jumps_do_not_pass_for_growth() -> None:
    rng = np.random.default_rng(2)
    slow = np.convolve(rng.normal(0.0, 2.0, AT_S.size + 9), np.ones(10) / 10, "valid")  # each look shares nine tenths
    slow[[7, 30, 55]] += 100.0
    _, low, high = slope_percent_an_hour(AT_S, 1_000.0 + slow, rng)
    assert low < 0.0 < high
    assert high - low < 1.5
