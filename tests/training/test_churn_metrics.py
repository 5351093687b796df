import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from features.errors import NotEnoughDataError
from training.churn_metrics import (
    auc,
    average_precision,
    bootstrap_over_customers,
    brier,
    calibration_bins,
    expected_calibration_error,
    lift_by_decile,
)


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    labels = rng.random(500) < 0.4
    scores = np.round(np.clip(labels * 0.2 + rng.normal(0.5, 0.2, 500), 0, 1), 2)  # rounded, so there are ties
    return labels, scores, rng.integers(1, 4, 500).astype(float)


def test_ranking_figures_equal_scikit_learns_weighted_or_not(rows):
    labels, scores, weights = rows
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auc(labels, scores, weights) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    weighted = average_precision_score(labels, scores, sample_weight=weights)
    assert average_precision(labels, scores, weights) == pytest.approx(weighted, abs=1e-12)
    assert brier(labels, scores, weights) == pytest.approx(brier_score_loss(labels, scores, sample_weight=weights))


def test_one_outcome_alone_is_refused_not_half():
    with pytest.raises(NotEnoughDataError, match="0 of 3 rows churned"):
        auc(np.zeros(3, bool), np.arange(3.0))


def test_calibration_error_by_hand():
    labels = np.array([False, True, True, True])
    said = np.array([0.1, 0.3, 0.6, 0.8])
    # bins of two: said .2 and happened .5; said .7 and happened 1.0; (.3 + .3) / 2
    assert expected_calibration_error(labels, said, n_bins=2) == pytest.approx(0.3)
    assert [b.n for b in calibration_bins(labels, said, 2)] == [2, 2]


def test_lift_by_hand():
    labels = np.array([True, True, False, False])
    # the riskier half holds one of the two who churned: .5 / .5
    assert lift_by_decile(labels, np.array([0.9, 0.1, 0.8, 0.2]), n_bins=2).tolist() == [1.0, 1.0]
    assert lift_by_decile(labels, np.array([0.9, 0.8, 0.2, 0.1]), n_bins=2).tolist() == [2.0, 0.0]


def test_bootstrap_of_a_mean_is_as_wide_as_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)

    def mean(weights):
        return {"mean": float(np.average(values, weights=weights))}

    found = bootstrap_over_customers(mean, np.arange(400), np.random.default_rng(1), replicates=2000)["mean"]
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_bootstrap_draws_customers_with_all_their_rows():
    seen = []

    def note(weights):
        seen.append(weights.copy())
        return {"sum": float(weights.sum())}

    bootstrap_over_customers(note, np.array([7, 7, 9]), np.random.default_rng(0), replicates=20)
    assert all(weights[0] == weights[1] for weights in seen)
    assert {(w[0], w[2]) for w in seen} == {(2.0, 0.0), (1.0, 1.0), (0.0, 2.0)}
