import dataclasses

import numpy as np
import pytest

from features.errors import ConfigurationError, DataError, NotEnoughDataError
from serving.calibration import sigmoid
from tests.churn_worlds import NAMES, known_law, true_log_odds
from training.churn import choose_bands, fit_churn
from training.churn_baselines import fit_baselines, fit_logistic_model, fit_recency_rule
from training.churn_metrics import auc, expected_calibration_error
from training.churn_settings import ChurnSettings

SETTINGS = ChurnSettings()


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    return known_law(rng, 6_000), known_law(rng, 2_000, (90,), shift=0.6), known_law(rng, 4_000, (180,), shift=0.6)


@pytest.fixture(scope="module")
def model(sets):
    return fit_churn(sets[0], sets[1], SETTINGS)


def test_it_ranks_nearly_as_well_as_the_law_itself(model, sets):
    test = sets[2]
    best = auc(test.labels, true_log_odds(test.values))
    assert best - 0.01 < auc(test.labels, model.probabilities(test.values)) <= best + 0.005


def test_the_calibration_slice_sets_the_level(model, sets):
    # training rows churn less by 0.6 in log-odds than calibration and test rows
    test = sets[2]
    said = model.probabilities(test.values)
    assert expected_calibration_error(test.labels, said) < 0.03
    assert np.abs(said - sigmoid(true_log_odds(test.values) + 0.6)).mean() < 0.04


def test_the_same_input_gives_the_same_bytes(model, sets):
    assert fit_churn(sets[0], sets[1], SETTINGS).to_files() == model.to_files()


def test_nothing_of_the_calibration_labels_moves_the_trees(model, sets):
    turned = dataclasses.replace(sets[1], labels=~sets[1].labels)
    assert fit_churn(sets[0], turned, SETTINGS).trees.text == model.trees.text


def test_without_a_calibration_slice_each_customer_is_judged_by_fits_without_them():
    rng = np.random.default_rng(8)
    rows = known_law(rng, 2_000)
    noise = dataclasses.replace(rows, labels=rng.random(rows.n_rows) < 0.3)  # nothing to learn from
    said = fit_churn(noise, None, SETTINGS).probabilities(noise.values)
    # a calibrator that had seen its own rows would have spread what was learnt by heart; this one draws it to the mean
    assert said.mean() == pytest.approx(noise.labels.mean(), abs=0.02)
    assert np.quantile(said, 0.95) - np.quantile(said, 0.05) < 0.12


def test_the_model_says_what_it_is(model, sets):
    assert (model.horizon_days, model.gap_days) == (90, 0)
    assert model.base_rate == pytest.approx(sets[1].labels.mean())
    np.testing.assert_array_equal(model.medians, np.median(sets[0].values, axis=0))


def test_a_column_that_only_names_the_cutoff_is_not_split_on():
    rng = np.random.default_rng(1)
    rows = known_law(rng, 1_500, (0, 90))
    late = rows.as_of_us > 0
    rows.values[:, 3] = late  # constant within each cut-off, and telling in training
    rows = dataclasses.replace(rows, labels=rows.labels | (late & (rng.random(rows.n_rows) < 0.5)))
    found = fit_churn(rows, known_law(rng, 800, (180,)), SETTINGS)
    assert np.abs(found.contributions(rows.values)[:, 3]).max() == 0.0


def test_too_few_rows_are_refused_with_the_numbers():
    rng = np.random.default_rng(2)
    with pytest.raises(NotEnoughDataError, match=r"150 rows.*at least 200 rows"):
        fit_churn(known_law(rng, 150), known_law(rng, 300), SETTINGS)


def test_rows_of_other_features_are_refused(sets):
    with pytest.raises(DataError, match="different feature sets"):
        fit_churn(sets[0], dataclasses.replace(sets[1], fingerprint="other"), SETTINGS)


def test_the_recency_rule_ranks_by_recency_alone(sets):
    training, calibration, test = sets
    rule = fit_recency_rule(training, calibration)
    recency = test.values[:, NAMES.index("orders_recency_days")]
    assert auc(test.labels, rule.probabilities(test.values)) == auc(test.labels, recency)


def test_the_logistic_model_finds_a_linear_law_and_takes_missing_values():
    rng = np.random.default_rng(3)

    def linear(n):
        rows = known_law(rng, n)
        true = 1.5 * rows.values[:, 5]
        rows = dataclasses.replace(rows, labels=rng.random(n) < sigmoid(true))
        rows.values[rng.random(n) < 0.1, 6] = np.nan
        return rows, true

    (training, _), (calibration, _), (test, true) = linear(8_000), linear(2_000), linear(4_000)
    said = fit_logistic_model(training, calibration).probabilities(test.values)
    assert auc(test.labels, said) > auc(test.labels, true) - 0.01
    assert expected_calibration_error(test.labels, said) < 0.035


def test_both_baselines_are_always_fitted(sets):
    assert [baseline.name for baseline in fit_baselines(sets[0], sets[1])] == ["recency", "logistic"]


def test_bands_hold_the_shares_asked_for():
    said = np.random.default_rng(4).random(10_000)
    names = choose_bands(said, high_share=0.1, medium_share=0.2).of_many(said).tolist()
    assert names.count("high") == pytest.approx(1_000, abs=1)
    assert names.count("medium") == pytest.approx(2_000, abs=1)


def test_band_shares_that_leave_no_low_are_refused():
    with pytest.raises(ConfigurationError):
        choose_bands(np.arange(3.0) / 3, high_share=0.5, medium_share=0.5)


def test_where_nothing_can_be_learnt_everybody_gets_the_base_rate():
    rng = np.random.default_rng(5)
    rows, later = known_law(rng, 260), known_law(rng, 2_000, (90,))
    for part in (rows, later):
        part.values[:] = 1.0
    found = fit_churn(rows, later, SETTINGS)
    said = found.probabilities(later.values[:3])
    assert said == pytest.approx(later.labels.mean(), abs=0.01)
    assert found.percentile(said).tolist() == [50.0] * 3
    assert type(found).from_files(found.to_files()).probabilities(later.values[:3]).tolist() == said.tolist()
