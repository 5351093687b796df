import numpy as np
import pytest

from tests.churn_worlds import known_law, labelled
from training.churn_horizons import HorizonSlice, horizon_figures, horizon_slices
from training.churn_metrics import brier, expected_calibration_error

HORIZONS = (30, 60, 90)


def returns_on_any_day(n):
    """Half of n customers order again, on a day from 1 to 90 each as likely."""
    rng = np.random.default_rng(0)
    left = np.arange(n) % 2 == 0
    rows = known_law(rng, n)
    return labelled(rows.values, left, rows.customer_rows, rows.as_of_us, np.where(left, np.inf, rng.uniform(1, 90, n)))


def test_every_horizon_is_judged_by_its_own_labels():
    test_set = returns_on_any_day(400)
    said = np.tile(np.linspace(0.9, 0.4, 3), (400, 1))
    found = horizon_slices(test_set, said, HORIZONS, "return")
    assert [part.horizon_days for part in found] == [30, 60, 90]
    for part in found[:-1]:
        np.testing.assert_array_equal(part.labels, test_set.event_days >= part.horizon_days)
    np.testing.assert_array_equal(found[-1].labels, test_set.labels)
    # who has not returned by 60 days had not by 30 either
    assert found[0].labels.mean() >= found[1].labels.mean() >= found[2].labels.mean()


def test_a_horizon_that_was_not_learnt_or_holds_one_outcome_is_left_out():
    test_set = returns_on_any_day(400)
    unlearnt = np.column_stack([np.full(400, np.nan), np.full(400, 0.5), np.full(400, 0.5)])
    assert [part.horizon_days for part in horizon_slices(test_set, unlearnt, HORIZONS, "return")] == [60, 90]
    in_the_first_hour = horizon_slices(test_set, np.full((400, 2), 0.5), (1, 90), "return")
    assert [part.horizon_days for part in in_the_first_hour] == [90]  # nobody orders on the very first day here


def test_the_figures_are_those_of_the_plain_functions():
    rng = np.random.default_rng(1)
    said = rng.beta(2, 2, 3_000)
    part = HorizonSlice(30, rng.random(3_000) < said, said)
    (found,) = horizon_figures([part], np.arange(3_000), rng, 50)
    assert found.brier == brier(part.labels, said)
    assert found.ece == expected_calibration_error(part.labels, said)
    assert found.auc_interval.low < found.auc < found.auc_interval.high
    assert found.brier_interval.low < found.brier < found.brier_interval.high


@pytest.mark.parametrize("too_high", [0.0, 0.03, 0.1])
def test_the_interval_of_the_calibration_error_holds_the_true_error(too_high):
    """Of 50 samples 47.5 should hold it; 42 is 3.5 deviations below."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(50):
        true = rng.uniform(0.2, 0.7, 1_000)
        part = HorizonSlice(30, rng.random(1_000) < true, true + too_high)
        (found,) = horizon_figures([part], np.arange(1_000), rng, 60)
        held += found.ece_interval.low <= too_high <= found.ece_interval.high
    assert held >= 42


@pytest.mark.parametrize("n", [10, 11, 25])
def test_few_customers_fall_into_tenths_without_a_gap(n):
    rng = np.random.default_rng(3)
    said = rng.random(n)
    labels = np.arange(n) % 2 == 0
    (found,) = horizon_figures([HorizonSlice(30, labels, said)], np.arange(n), rng, 5)
    assert 0 <= found.ece_interval.low <= found.ece_interval.high <= 1
