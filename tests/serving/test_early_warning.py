"""Early warning: the threshold, the order, the capacity, the cool-down, the hysteresis."""

import math

import numpy as np
import pytest

from features.errors import ConfigurationError, DataError
from features.instants import DAY_US
from serving.early_warning import NEVER_WARNED_US, WarningRule, warn

NOW_US = 20_000 * DAY_US
RULE = WarningRule(rise=math.log(2), rearm_rise=0.1, cool_down_days=10, weekly_capacity=3)


def told(before, now, loss=None, *, warned_days_ago=None, armed=None, n_this_week=0, rule=RULE):
    n = len(now)
    ago = [None] * n if warned_days_ago is None else warned_days_ago
    return warn(
        rule,
        NOW_US,
        probability=np.array(now, float),
        probability_before=np.array(before, float),
        expected_loss=np.array([1.0] * n if loss is None else loss, float),
        warned_us=np.array([NEVER_WARNED_US if days is None else NOW_US - days * DAY_US for days in ago]),
        armed=np.array([True] * n if armed is None else armed),
        n_this_week=n_this_week,
    )


def test_twice_the_odds_are_a_rise_wherever_the_customer_started():
    # odds 1/9 -> 2/9 and 4 -> 8, exactly twice; 1/9 -> 1.9/9 is less
    found = told([1 / 10, 4 / 5, 1 / 10, np.nan], [2 / 11 + 1e-12, 8 / 9 + 1e-12, 1.9 / 10.9, 0.9])
    assert found.risen.tolist() == [True, True, False, False]
    np.testing.assert_allclose(found.rise[:2], math.log(2), atol=1e-9)
    assert math.isnan(found.rise[3])


def test_the_largest_expected_losses_come_first_and_the_others_wait():
    found = told([0.2] * 5, [0.6] * 5, [10.0, 50.0, np.nan, 30.0, 40.0])
    assert found.warned.tolist() == [1, 4, 3]
    assert found.n_held_back == 2


def test_what_was_warned_this_week_counts_against_the_capacity():
    assert told([0.2] * 3, [0.6] * 3, [1, 2, 3], n_this_week=2).warned.tolist() == [2]
    assert not told([0.2] * 3, [0.6] * 3, n_this_week=9).warned.size


def test_a_customer_is_warned_once_a_cool_down():
    found = told([0.2] * 3, [0.6] * 3, warned_days_ago=[9, 10, None])
    assert found.warned.tolist() == [1, 2]


def test_who_was_warned_waits_until_the_rise_has_once_ended():
    found = told([0.2, 0.2, 0.6], [0.6, 0.3, 0.6], warned_days_ago=[30, 30, 30], armed=[False] * 3)
    assert not found.warned.size
    assert found.rearmed.tolist() == [False, False, True]
    assert not told([0.6], [0.6]).rearmed.any()  # who is armed is not armed again


def test_certain_probabilities_have_a_finite_rise():
    assert np.isfinite(told([0.0, 1.0], [1.0, 0.0]).rise).all()


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"weekly_capacity": 0}, "weekly_capacity"),
        ({"cool_down_days": -1}, "cool_down_days"),
        ({"window_days": 0}, "window_days"),
        ({"rearm_rise": 0.7}, "rearm_rise"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(changed, name):
    with pytest.raises(ConfigurationError, match=name):
        WarningRule(**changed)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="lengths"):
        told([0.2, 0.3], [0.6])
