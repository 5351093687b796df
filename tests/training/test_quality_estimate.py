import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features.errors import DataError, NotEnoughDataError
from training.churn_metrics import auc
from training.quality_estimate import (
    calibration_p_value,
    check_estimate,
    estimate_quality,
    expected_auc,
    expected_brier,
    expected_confusion,
)


def world(rng, n, distort=lambda log_odds: log_odds):
    """Probabilities as said, and outcomes drawn by the true ones; `distort` is what the model gets wrong."""
    log_odds = rng.normal(-0.3, 1.2, n)
    return 1 / (1 + np.exp(-distort(log_odds))), rng.random(n) < 1 / (1 + np.exp(-log_odds))


def checked(rng, n=4_000, distort=lambda log_odds: log_odds):
    said, left = world(rng, n, distort)
    return check_estimate(estimate_quality(said, rng, threshold=0.5), left, said)


def test_the_expected_counts_are_those_of_hand_arithmetic():
    # told: .9 and .6, of whom 1.5 leave and .5 stay; untold: .3 and .2, of whom .5 leave and 1.5 stay
    assert expected_confusion(np.array([0.9, 0.6, 0.3, 0.2]), 0.5) == pytest.approx((1.5, 0.5, 0.5, 1.5))
    assert expected_brier(np.array([0.9, 0.6, 0.3, 0.2])) == pytest.approx((0.09 + 0.24 + 0.21 + 0.16) / 4)


def test_the_expected_area_is_that_of_the_weighted_curve_of_a_second_library():
    # each customer stands twice, as one who left with weight p and as one who stayed with weight 1 - p; that library
    # also pairs a customer with itself, which in 2,000 customers is one pair in 2,000
    said, _ = world(np.random.default_rng(0), 2_000)
    both = np.concatenate([np.ones(said.size), np.zeros(said.size)])
    theirs = roc_auc_score(both, np.concatenate([said, said]), sample_weight=np.concatenate([said, 1 - said]))
    assert expected_auc(said) == pytest.approx(theirs, abs=2e-4)


def test_the_expected_area_is_the_mean_over_outcomes_drawn():
    rng = np.random.default_rng(1)
    said, _ = world(rng, 1_000)
    drawn = [auc(rng.random(said.size) < said, said) for _ in range(400)]
    assert expected_auc(said) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(400))


def test_equal_probabilities_rank_by_chance():
    assert expected_auc(np.full(100, 0.3)) == pytest.approx(0.5)


def test_calibrated_probabilities_know_their_own_quality():
    """95 ranges of 100 hold the truth: of 40 worlds 38 with a deviation of 1.4, so 33 is 3.6 deviations below."""
    rng = np.random.default_rng(2)
    worlds = [checked(rng, 1_000) for _ in range(40)]
    for name in ("churned_share", "auc", "brier", "ece", "accuracy", "precision", "recall"):
        assert sum(found.of(name).held for found in worlds) >= 33, name
    assert sum(found.calibrated for found in worlds) >= 37  # 39.6 are expected at 1%
    assert abs(np.mean([found.of("auc").true - found.of("auc").expected for found in worlds])) < 0.005


@pytest.mark.parametrize(
    "distort",
    [lambda log_odds: 2.0 * log_odds, lambda log_odds: log_odds + 0.5, lambda log_odds: 0.5 * log_odds],
    ids=["too sure", "too high", "too timid"],
)
def test_probabilities_that_do_not_hold_are_found_out_by_the_labels(distort):
    found = checked(np.random.default_rng(3), distort=distort)
    assert not found.calibrated
    assert "did not hold" in found.sentence
    assert not found.of("brier").held or not found.of("churned_share").held


def test_a_verdict_is_in_words_with_both_figures():
    found = checked(np.random.default_rng(4))
    assert found.calibrated
    assert found.sentence.startswith("The estimate held: ")
    assert f"{found.of('churned_share').true:.1%} did" in found.sentence


def test_customers_harder_to_tell_apart_lower_the_estimate_before_any_label():
    rng = np.random.default_rng(5)
    easy, _ = world(rng, 3_000)
    hard = np.clip(easy, 0.35, 0.55)
    before = estimate_quality(easy, rng, threshold=0.5).of("auc")
    after = estimate_quality(hard, rng, threshold=0.5).of("auc")
    assert after.high < before.low


def test_the_calibration_test_rejects_about_one_true_world_in_twenty():
    rng = np.random.default_rng(6)
    p_values = []
    for _ in range(400):
        said, left = world(rng, 500)
        p_values.append(calibration_p_value(left, said))
    # the two tests are nearly independent, so the doubled smaller one rejects .0494; three deviations are .033
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_certainty_that_is_right_is_calibrated_and_certainty_that_is_wrong_is_not():
    assert calibration_p_value(np.array([True, False]), np.array([1.0, 0.0])) == 1.0
    assert calibration_p_value(np.array([False, False]), np.array([1.0, 0.0])) == 0.0


def test_nobody_told_leaves_precision_undefined_and_the_rest_stands():
    found = estimate_quality(np.full(50, 0.2), np.random.default_rng(7), threshold=0.9, replicates=20)
    assert np.isnan(found.of("precision").expected)
    assert found.of("accuracy").expected == pytest.approx(0.8)
    assert found.confusion == pytest.approx((0.0, 0.0, 10.0, 40.0))


def test_what_is_no_probability_is_refused():
    with pytest.raises(DataError, match="from 0 to 1"):
        expected_brier(np.array([0.5, 1.5]))
    with pytest.raises(DataError, match="from 0 to 1"):
        expected_confusion(np.array([0.5, np.nan]), 0.5)
    with pytest.raises(NotEnoughDataError, match="AUC is undefined"):
        expected_auc(np.array([1.0, 1.0]))


def test_labels_of_other_customers_are_refused():
    found = estimate_quality(np.full(50, 0.2), np.random.default_rng(8), threshold=0.9, replicates=5)
    with pytest.raises(DataError, match="50 customers"):
        check_estimate(found, np.ones(49, bool), np.full(49, 0.2))
