import numpy as np
import pytest

from features.errors import DataError
from training.churn_metrics import auc
from training.churn_slices import Grouping, auc_interval, slice_figures


def world(rng, n=6_000):
    """Three groups of equal size and law; what is said of each customer is true."""
    said = rng.beta(2, 3, n)
    return rng.random(n) < said, said, np.repeat(np.arange(3), n // 3)


def test_every_group_has_its_own_figures_and_nobody_is_warned_of_chance():
    left, said, codes = world(np.random.default_rng(0))
    found = slice_figures(left, said, (Grouping("channel", ("web", "app", "store"), codes),))
    assert [(row.dimension, row.group, row.n) for row in found] == [
        ("channel", name, 2_000) for name in ("web", "app", "store")
    ]
    first = codes == 0
    assert found[0].auc == auc(left[first], said[first])
    assert found[0].base_rate == left[first].mean()
    assert found[0].auc_interval.low < found[0].auc < found[0].auc_interval.high
    assert [row.warning for row in found] == ["", "", ""]


def test_a_group_that_is_ranked_by_chance_is_warned_of():
    left, said, codes = world(np.random.default_rng(1))
    third = codes == 2
    said[third] = np.random.default_rng(2).permutation(said[third])
    found = slice_figures(left, said, (Grouping("channel", ("web", "app", "store"), codes),))
    assert [bool(row.warning) for row in found] == [False, False, True]
    assert found[2].warning.startswith("ranks much worse, AUC 0.")
    assert found[2].warning.endswith("; the model fails here")


def test_a_group_of_customers_much_alike_is_warned_of_without_blaming_the_model():
    rng = np.random.default_rng(6)
    said = np.concatenate([rng.beta(0.5, 0.5, 4_000), rng.uniform(0.4, 0.6, 2_000)])
    left = rng.random(6_000) < said
    rows = slice_figures(left, said, (Grouping("stage", ("mixed", "alike"), np.repeat([0, 1], [4_000, 2_000])),))
    assert rows[0].warning == ""
    assert rows[1].warning.endswith("these customers are much alike")
    # of two probabilities drawn evenly from .4 to .6 the expected area is about .5 + .2 / 6 / (2 * .25) = .567
    assert rows[1].auc_expected == pytest.approx(0.567, abs=0.005)


def test_a_group_of_whom_too_much_is_said_is_warned_of_with_the_figure():
    left, said, codes = world(np.random.default_rng(3))
    said[codes == 1] = np.minimum(said[codes == 1] + 0.15, 1.0)
    found = slice_figures(left, said, (Grouping("channel", ("web", "app", "store"), codes),))
    assert [bool(row.warning) for row in found] == [False, True, False]
    assert found[1].off == pytest.approx(0.15, abs=0.03)
    assert "too much" in found[1].warning
    said[codes == 1] = np.maximum(said[codes == 1] - 0.3, 0.0)
    assert "too little" in slice_figures(left, said, (Grouping("x", ("a", "b", "c"), codes),))[1].warning


def test_a_small_group_is_left_out_and_those_of_no_group_too():
    left, said, _ = world(np.random.default_rng(4))
    codes = np.full(left.size, -1)
    codes[:49], codes[49:200] = 0, 1
    (only,) = slice_figures(left, said, (Grouping("country", ("small", "large"), codes),))
    assert (only.group, only.n) == ("large", 151)


def test_a_group_of_one_outcome_has_no_ranking_and_says_so_by_nan():
    left = np.concatenate([np.ones(60, bool), np.zeros(60, bool)])
    found = slice_figures(left, np.full(120, 0.5), (Grouping("x", ("left", "stayed"), np.repeat([0, 1], 60)),))
    assert np.isnan(found[0].auc)
    assert np.isnan(found[0].auc_interval.low)
    assert found[0].warning == "says 50.0% too little"


def test_the_interval_of_the_area_holds_the_truth_in_95_of_100_cases():
    # two normal laws one deviation apart: the area is Phi(1 / sqrt 2) = .7602
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        scores = np.concatenate([rng.normal(1, 1, 40), rng.normal(0, 1, 60)])
        interval = auc_interval(auc(np.arange(100) < 40, scores), 40, 60)
        held += interval.low <= 0.7602 <= interval.high
    assert held / 300 == pytest.approx(0.95, abs=0.04)


def test_a_grouping_of_other_customers_is_refused():
    with pytest.raises(DataError, match="3 rows, not 2"):
        slice_figures(np.array([True, False]), np.zeros(2), (Grouping("x", ("a",), np.zeros(3, int)),))
    with pytest.raises(DataError, match="outside its 1 groups"):
        Grouping("x", ("a",), np.array([0, 1]))
