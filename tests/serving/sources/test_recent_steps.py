from __future__ import annotations

import numpy as np
import pytest

from features.errors import ArtefactError, ConfigurationError
from serving.sources.histories import Histories
from serving.sources.recent_steps import MOST_ITEMS, RecentSteps


def weights(steps, baskets, n_items=4):
    items, found = steps.of(Histories.of_baskets([baskets], n_items), 0)
    return dict(zip(items.tolist(), found.tolist(), strict=True))


def test_a_step_further_back_counts_less_and_a_basket_is_one_step():
    # the last basket is {2}, one back {0, 1}, two back {3}
    assert weights(RecentSteps(0.5, 0), [[3], [0, 1], [2]]) == {0: 0.5, 1: 0.5, 2: 1.0, 3: 0.25}


def test_an_older_step_counts_less():
    # the baskets are 2 days and 1 day old; the half-life is a day
    assert weights(RecentSteps(1.0, 1.0), [[0], [1]]) == {0: 0.25, 1: 0.5}


def test_repeats_add_up_to_no_more_than_one():
    # item 0: 0.9 + 0.81 is more than 1; item 1: the last step
    assert weights(RecentSteps(0.9, 0), [[0], [0], [1]]) == {0: 1.0, 1: 1.0}
    assert weights(RecentSteps(0.5, 0), [[0], [0], [1]])[0] == 0.75


def test_only_the_last_occasions_are_read():
    assert weights(RecentSteps(0.5, 0, last=2), [[0], [1, 2], [3]]) == {1: 0.5, 2: 0.5, 3: 1.0}


def test_of_a_basket_of_thousands_the_heaviest_are_read():
    found = weights(RecentSteps(0.5, 0), [list(range(10, 3000)), [5], [3000]], 3001)
    assert len(found) == MOST_ITEMS
    assert (found[5], found[3000], found[10], min(found.values())) == (0.5, 1.0, 0.25, 0.25)


def test_who_did_nothing_has_no_weights():
    items, found = RecentSteps().of(Histories.nobody(0), 0)
    assert (len(items), len(found)) == (0, 0)


@pytest.mark.parametrize("wrong", [{"step_decay": 0.0}, {"half_life_days": -1.0}, {"last": 0}])
def test_numbers_out_of_range_are_refused_as_settings_and_in_files(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        RecentSteps(**wrong)
    with pytest.raises(ArtefactError):
        RecentSteps.from_settings(RecentSteps().to_settings() | wrong)


@pytest.mark.parametrize("wrong", [{}, {"step_decay": 0.5}, RecentSteps().to_settings() | {"last": 1.5}])
def test_settings_that_are_missing_or_of_another_type_are_refused(wrong):
    with pytest.raises(ArtefactError, match="step_decay"):
        RecentSteps.from_settings(wrong)


def test_settings_come_back():
    steps = RecentSteps(0.6, 12.0, 7)
    assert RecentSteps.from_settings(steps.to_settings()) == steps
    assert np.isfinite(steps.half_life_days)
