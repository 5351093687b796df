import dataclasses

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import NotEnoughDataError
from features.feature_set import FeatureSet
from tests.churn_worlds import NAMES, known_law, labelled
from training.churn import fit_churn
from training.churn_baselines import fit_logistic_model
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.screening import screen

SETTINGS = ChurnSettings()
LEAK = NAMES[8]


@pytest.fixture(scope="module")
def later():
    return known_law(np.random.default_rng(2), 1_000, (90,))


def leaking():
    rows = known_law(np.random.default_rng(1), 2_000)
    rows.values[:, 8] = rows.labels
    return rows


def test_a_leaking_column_is_named_and_learnt_from_by_nothing(later):
    rows = leaking()
    found = screen(rows, SETTINGS, CHURN_FEATURES)
    assert found.findings.tags()["leakage_alarm"] == LEAK
    assert found.findings.sentences[0].startswith(f"Alarm: column {LEAK} tells who churned")
    turned = later.values.copy()
    turned[:, 8] = 1.0
    for fitted in (fit_churn(found.rows, later, SETTINGS), fit_logistic_model(found.rows, later)):
        np.testing.assert_array_equal(fitted.probabilities(turned), fitted.probabilities(later.values))


def test_the_rows_given_stay_as_they_were():
    rows = leaking()
    before = rows.values.copy()
    screen(rows, SETTINGS)
    np.testing.assert_array_equal(rows.values, before)


def test_a_trusted_column_is_kept():
    found = screen(leaking(), dataclasses.replace(SETTINGS, trusted_columns=(LEAK,)))
    assert found.findings.leaks == ()
    assert not np.isnan(found.rows.values[:, 8]).any()


def test_ordinary_rows_are_handed_on_as_they_are():
    rows = known_law(np.random.default_rng(1), 2_000)
    found = screen(rows, SETTINGS, CHURN_FEATURES)
    assert found.rows is rows
    assert found.findings.sentences == (found.findings.gate.sentence(),)
    assert found.findings.tags()["leakage_alarm"] == found.findings.tags()["features_barred"] == "none"


def test_constant_columns_are_named_and_fitted_without_harm(later):
    rows = known_law(np.random.default_rng(1), 2_000)
    rows.values[:, 8:15] = 3.0
    found = screen(rows, SETTINGS)
    assert found.findings.constant == NAMES[8:15]
    sentence = f"The same for everybody, so they tell nobody apart: {', '.join(NAMES[8:13])} and 2 others."
    assert found.findings.sentences[-1] == sentence
    model = fit_churn(found.rows, later, SETTINGS)
    assert np.abs(model.contributions(later.values)[:, 8:15]).max() == 0.0


def test_barred_features_are_named_with_the_purposes_that_are_allowed():
    rows = known_law(np.random.default_rng(1), 2_000)
    rows.values[:, 8] = np.nan  # as `label_cutoff` leaves it
    features = list(CHURN_FEATURES)
    features[8] = dataclasses.replace(features[8], purposes=("recommend",))
    found = screen(rows, SETTINGS, FeatureSet("some", tuple(features))).findings
    assert found.barred == (LEAK,)
    assert found.constant == ()
    assert found.sentences[-1] == f"Not learnt from, as they do not serve churn: {LEAK}."


def test_columns_of_which_the_cycle_question_is_made_are_no_leak():
    rows = known_law(np.random.default_rng(1), 2_000)
    rows.values[:, NAMES.index("cycle_position_all")] = rows.labels
    cycle = dataclasses.replace(SETTINGS, problem=ChurnProblem(kind="cycle"))
    assert screen(rows, cycle).findings.leaks == ()
    assert [leak.column for leak in screen(rows, SETTINGS).findings.leaks] == ["cycle_position_all"]


def test_few_customers_are_said_to_be_few():
    rows = known_law(np.random.default_rng(1), 400)
    found = screen(rows, SETTINGS).findings
    assert found.tags()["baseline"] == "true"
    assert "need 500" in found.tags()["gate"]
    enough = screen(rows, dataclasses.replace(SETTINGS, full_model_each_outcome=50)).findings
    assert enough.tags()["baseline"] == "false"


def test_a_label_of_one_class_is_refused():
    n = 300
    rows = labelled(np.zeros((n, len(NAMES))), np.zeros(n, bool), np.arange(n), np.zeros(n, np.int64))
    with pytest.raises(NotEnoughDataError, match="the training set has one outcome only: all 300 rows stayed"):
        screen(rows, SETTINGS)
