"""A model from a table of customers: what it finds, what it is judged on, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest

from features.errors import NotEnoughDataError
from features.labelled_table import EncodedTable
from features.table_features import TableColumn, TableFeatures
from training.churn import fit_churn
from training.churn_metrics import auc
from training.churn_settings import ChurnSettings
from training.table_churn import (
    fit_table_baselines,
    judges,
    screen_table,
    table_problem,
    table_rows,
    train_table,
)

COLUMNS = (
    TableColumn("tenure", "number"),
    TableColumn("charges", "number"),
    TableColumn("plan", "category", ("monthly", "yearly")),
)
FEATURES = TableFeatures("id", "Churn", "Yes", COLUMNS)
SETTINGS = ChurnSettings(
    problem=table_problem("Churn", "id", 30), full_model_each_outcome=50, bootstrap_replicates=20, min_rows=50, folds=3
)


def world(n=900, seed=3, interaction=0.0):
    """Short tenure and a monthly plan raise the risk; with `interaction` so does one of both high, not both."""
    rng = np.random.default_rng(seed)
    tenure, charges = rng.uniform(0, 72, n), rng.uniform(20, 120, n)
    plan = rng.integers(0, 2, n).astype(float)
    margin = 1.2 - 0.06 * tenure - 1.5 * plan + interaction * np.where((tenure > 36) ^ (charges > 70), 1.0, -1.0)
    labels = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    values = np.column_stack([tenure, charges, plan])
    values[::50, 1] = np.nan
    return EncodedTable(FEATURES, values, np.zeros(values.shape, bool)), labels


def keys(n):
    return [f"k1:{number:032x}" for number in range(n)]


@pytest.fixture(scope="module")
def trained():
    table, labels = world()
    labels[7] = -1
    return train_table(table, labels, keys(len(labels)), SETTINGS, as_of_us=0)


def test_model_reads_the_table_and_tells_of_one_horizon(trained):
    model = trained.model
    assert (model.feature_names, model.fingerprint) == (FEATURES.names, FEATURES.fingerprint())
    assert model.categories == {"plan": ("monthly", "yearly")}
    assert (model.horizons_days, model.awaits, model.baseline) == ((30,), "churn", False)


def test_customers_kept_apart_judge_and_are_not_learnt_from(trained):
    apart = judges(keys(900))
    apart[7] = False  # without a label
    assert trained.report.n_customers == apart.sum()
    assert trained.n_training_rows == 899 - apart.sum()
    assert any("judged on customers kept apart" in sentence for sentence in trained.sentences)


def test_baselines_stand_beside_the_model(trained):
    assert [figures.model for figures in trained.report.figures] == ["churn_model", "logistic", "lightgbm_defaults"]


def test_baselines_know_what_they_said_of_each_customer_held_out():
    table, labels = world(700, seed=5)
    rows = table_rows(table, labels, 0)
    for one in fit_table_baselines(rows, SETTINGS, FEATURES.categories):
        assert one.held_out.shape == (700,)
        # what was fitted on them flatters: by much where trees are grown as they come, hardly where it is a line
        assert auc(rows.labels, one.probabilities(rows.values)) > auc(rows.labels, one.held_out)
    trees = fit_table_baselines(rows, SETTINGS, FEATURES.categories)[1]
    assert auc(rows.labels, trees.probabilities(rows.values)) > auc(rows.labels, trees.held_out) + 0.05


def test_contributions_sum_to_the_margin(trained):
    values = world(200, seed=9)[0].values
    sums = trained.model.contributions(values).sum(axis=1)
    assert np.abs(sums - trained.model.margins(values)).max() < 1e-6


def test_equal_input_gives_equal_bits():
    table, labels = world(250)
    rows = table_rows(table, labels, 0)
    once, again = (fit_churn(rows, None, SETTINGS, categories=FEATURES.categories).to_files() for _ in range(2))
    assert once == again


def test_line_is_enough_where_the_world_is_a_line():
    table, labels = world(700, seed=5)
    unseen, truth = world(4_000, seed=6)
    rows = table_rows(table, labels, 0)
    model = fit_churn(rows, None, SETTINGS, categories=FEATURES.categories)
    plain = fit_table_baselines(rows, SETTINGS, FEATURES.categories)[0]
    ours, line = (auc(truth == 1, one.probabilities(unseen.values)) for one in (model, plain))
    assert ours > line - 0.005  # trees must not spoil what they cannot improve


def test_trees_find_what_no_line_can_say():
    table, labels = world(900, seed=5, interaction=2.0)
    unseen, truth = world(4_000, seed=6, interaction=2.0)
    rows = table_rows(table, labels, 0)
    model = fit_churn(rows, None, SETTINGS, categories=FEATURES.categories)
    plain = fit_table_baselines(rows, SETTINGS, FEATURES.categories)[0]
    ours, line = (auc(truth == 1, one.probabilities(unseen.values)) for one in (model, plain))
    assert ours > line + 0.05


def test_too_few_customers_get_a_baseline_that_is_marked():
    table, labels = world(400)
    found = train_table(
        table, labels, keys(400), replace(SETTINGS, full_model_each_outcome=500, min_each_outcome=10), as_of_us=0
    )
    assert found.model.baseline
    assert found.model.trees is None
    assert "need 500" in found.findings.gate.sentence()
    assert "a logistic model alone" in found.findings.gate.sentence()


def test_far_too_few_customers_are_refused_with_the_numbers():
    table, labels = world(40)
    with pytest.raises(NotEnoughDataError, match=r"the training set has .* at least 50 rows and 30 of each outcome"):
        train_table(table, labels, keys(40), SETTINGS, as_of_us=0)


def test_column_that_is_the_label_is_named_and_not_learnt_from():
    table, labels = world(600)
    columns = (*COLUMNS, TableColumn("final_bill", "number"))
    values = np.column_stack([table.values, labels * 10.0])
    told = EncodedTable(replace(FEATURES, columns=columns), values, np.zeros(values.shape, bool))
    screened = screen_table(table_rows(told, labels, 0), SETTINGS, FEATURES.categories)
    assert [leak.column for leak in screened.findings.leaks] == ["final_bill"]
    assert np.isnan(screened.rows.values[:, 3]).all()
    assert screened.findings.sum_leak is None  # what is blank already is no part of a sum


def test_refit_takes_all_customers_and_keeps_the_figures_of_its_judged_twin():
    table, labels = world(600)
    few = replace(SETTINGS, full_model_each_outcome=10_000)
    judged = train_table(table, labels, keys(600), few, as_of_us=0)
    refit = train_table(table, labels, keys(600), replace(few, refit_on_all=True), as_of_us=0)
    assert refit.n_training_rows == 600 > judged.n_training_rows
    assert refit.report.metrics() == judged.report.metrics()
