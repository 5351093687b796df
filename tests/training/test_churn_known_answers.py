"""The simulated shop's known answers: what the model says against the hazard that really drove the customers."""

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from training.churn_evaluation import train_churn
from training.churn_metrics import auc, expected_calibration_error
from training.churn_settings import ChurnSettings
from training.cutoffs import observed_span
from training.simulate import SimulationSettings, inside, oracle_churn_probability, simulate
from training.training_set import label_cutoff

pytestmark = pytest.mark.slow
SETTINGS = ChurnSettings(bootstrap_replicates=100)


@pytest.fixture(scope="module")
def judged():
    shop = simulate(SimulationSettings(scale=0.6), seed=21)
    view = CustomerView.from_events(inside(shop, lambda ids: ids)[0])
    trained = train_churn(view, CHURN_FEATURES, SETTINGS)
    as_of_us = trained.report.as_of_us
    rows = label_cutoff(view, CHURN_FEATURES, as_of_us, SETTINGS, observed_until_us=observed_span(view)[1])
    ids, probability = oracle_churn_probability(shop.truth, as_of_us, SETTINGS.gap_days, SETTINGS.label_window_days)
    truth = dict(zip(ids, probability.tolist(), strict=True))
    true = np.array([truth[key] for key in view.customer_keys[rows.customer_rows]])
    return trained.report, rows.labels, true


def test_probabilities_hold_at_a_later_cutoff(judged):
    report, labels, true = judged
    said = report.scored.probabilities["churn_model"]
    assert report.split.calibration_by == "later_slice"
    assert expected_calibration_error(labels, said) <= 0.03
    # against the true probability itself, no luck of the draw is left: bins by what was said
    order = np.array_split(np.argsort(said), 10)
    assert np.mean([abs(said[part].mean() - true[part].mean()) for part in order]) <= 0.03


def test_ranking_comes_close_to_the_true_hazards(judged):
    report, labels, true = judged
    assert report.figures[0].auc >= auc(labels, true) - 0.03


def test_it_beats_both_baselines(judged):
    assert judged[0].beats_all_baselines, judged[0].sentences
