from __future__ import annotations

import numpy as np
import pytest

from serving.sources.histories import Histories
from training.sources.rp3beta import Rp3BetaSettings, fit_rp3beta


def test_walks_by_hand():
    # ann likes {0, 1}, ben {1, 2}, cat {1}. From 1 to each customer 1 / 3; from ann to 0 and from ben to 2: 1 / 2.
    # from 0 to ann 1, on to 1: 1 / 2. Item 1 is liked by 3: held back by 3 ** -.5, the others by 1
    source = fit_rp3beta(Histories.of_lists([[0, 1], [1, 2], [1]], 3), 3, Rp3BetaSettings(alpha=1.0, beta=0.5))
    nan = np.nan
    expected = [[nan, 0.5 / 3**0.5, nan], [1 / 6, nan, 1 / 6], [nan, 0.5 / 3**0.5, nan]]
    found = source.scores(Histories.of_lists([[0], [1], [2]], 3), np.tile(np.arange(3), (3, 1)))
    assert found.tolist() == pytest.approx(np.array(expected), nan_ok=True)


def test_the_power_is_of_the_chance_of_each_step():
    # from 1 to ann (1 / 3) ** .5, on to 0 (1 / 2) ** .5
    source = fit_rp3beta(Histories.of_lists([[0, 1], [1, 2], [1]], 3), 3, Rp3BetaSettings(alpha=0.5, beta=0.0))
    found = source.scores(Histories.of_lists([[1]], 3), np.array([[0]]))
    assert found[0, 0] == pytest.approx(6**-0.5)
