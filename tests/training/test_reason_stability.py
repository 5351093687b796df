import numpy as np
import pytest
from scipy.stats import spearmanr

from features.errors import DataError, NotEnoughDataError
from training.reason_stability import reason_stability


def test_a_model_agrees_with_itself():
    sums = np.random.default_rng(0).normal(size=(200, 6))
    found = reason_stability(sums, sums)
    assert (found.top_overlap, found.same_first, found.n) == (1.0, 1.0, 200)
    assert found.importance_correlation == pytest.approx(1.0)


def test_overlap_counts_shared_reasons_of_the_first_three():
    # first three of the earlier: 0, 1, 2; of the later: 1, 2, 3 - two of three are shared, the first differs
    earlier, later = np.array([[5.0, 4.0, 3.0, 1.0]]), np.array([[1.0, 5.0, 4.0, 3.0]])
    found = reason_stability(earlier, later)
    assert found.top_overlap == pytest.approx(2 / 3)
    assert found.same_first == 0.0


def test_what_lowers_the_risk_is_no_reason():
    # the earlier has two reasons, the later one, and they share it: one of two
    earlier, later = np.array([[5.0, 4.0, -3.0]]), np.array([[5.0, -4.0, -3.0]])
    assert reason_stability(earlier, later).top_overlap == pytest.approx(0.5)
    # nobody has a reason on either side: nothing has changed
    assert reason_stability(-np.ones((1, 3)), -np.ones((1, 3))).top_overlap == 1.0


def test_the_correlation_is_that_of_a_second_library():
    rng = np.random.default_rng(1)
    earlier, later = rng.normal(size=(50, 8)), rng.normal(size=(50, 8)) * np.arange(1, 9)
    theirs = spearmanr(np.abs(earlier).mean(axis=0), np.abs(later).mean(axis=0)).statistic
    assert reason_stability(earlier, later).importance_correlation == pytest.approx(theirs)


def test_unrelated_models_share_reasons_by_chance_alone():
    rng = np.random.default_rng(2)
    found = reason_stability(np.abs(rng.normal(size=(4_000, 9))), np.abs(rng.normal(size=(4_000, 9))))
    assert found.top_overlap == pytest.approx(3 / 9, abs=0.02)
    assert found.same_first == pytest.approx(1 / 9, abs=0.02)


def test_reasons_of_other_customers_or_of_nobody_are_refused():
    with pytest.raises(DataError, match="not of the same customers"):
        reason_stability(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(NotEnoughDataError, match="2 groups"):
        reason_stability(np.ones((2, 1)), np.ones((2, 1)))
