"""The margin for a table: the simplest of what held-out customers cannot tell apart, and honest margins of them."""

import numpy as np
import pytest

from training.boosting import Growing, bin_rows
from training.churn_settings import ChurnSettings
from training.margin import customer_parts
from training.table_churn import table_problem
from training.table_margin import RUNGS, _simplest, fit_table_margin
from training.training_set import TrainingSet

SETTINGS = ChurnSettings(problem=table_problem("Churn", "id", 30), folds=3)


def rows_of(n=300, seed=1):
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.normal(size=n), rng.normal(size=n), rng.integers(0, 3, n)]).astype(float)
    labels = rng.random(n) < 1 / (1 + np.exp(1 - 1.5 * values[:, 0] - (values[:, 2] == 2)))
    return TrainingSet.of_table(("a", "b", "plan"), "f", values, labels.astype(np.int8), np.arange(n), 0)


def binned(rows, unused=None):
    return bin_rows(rows.values, rows.feature_names, max_bins=63, num_threads=1, categories={2: 3}, unused=unused)


@pytest.fixture(scope="module")
def fitted():
    rows = rows_of()
    parts = customer_parts(rows, SETTINGS)
    unused = np.array([False, True, False])
    return rows, fit_table_margin(rows, binned(rows, unused), parts, SETTINGS, categories={2: 3}, unused=unused)


def test_first_setting_that_is_not_clearly_worse_is_taken():
    # differences to the best: mean .1 with deviation .1 over 4 rows, so 2 standard errors; and mean .02, so .4
    best = np.zeros(4)
    clearly, hardly = np.array([0.0, 0.2, 0.0, 0.2]), np.array([-0.08, 0.12, -0.08, 0.12])
    assert _simplest([clearly, hardly, best - 1e-12], 1.0) == 1
    assert _simplest([clearly, best - 1e-12], 1.0) == 1
    assert _simplest([clearly, best - 1e-12], 2.1) == 0


def test_trees_grown_in_steps_are_those_grown_at_once():
    rows, places = rows_of(), np.arange(0, 300, 2)
    target, start = rows.labels.astype(float), np.full(places.size, -0.3)

    def growing():
        return Growing(binned(rows), places, target, rows.weights, start, RUNGS[0], seed=3)

    steps, once = growing(), growing()
    summed = steps.grow(5, rows.values) + steps.grow(12, rows.values)
    assert summed == pytest.approx(once.grow(12, rows.values), abs=1e-12)
    assert steps.trees(12).text == once.trees(12).text
    assert steps.trees(5).margins(rows.values) == pytest.approx(growing().grow(5, rows.values), abs=1e-12)


def test_every_customer_is_held_out_once(fitted):
    rows, margin = fitted
    assert margin.held_out.tolist() == list(range(rows.n_rows))
    assert np.isfinite(margin.held_out_margins).all()


def test_held_out_margins_rank_as_fits_without_the_customer_do_and_no_better(fitted):
    rows, margin = fitted

    def separation(said):
        return said[rows.labels].mean() - said[~rows.labels].mean()

    assert 0 < separation(margin.held_out_margins) < separation(margin.margins(rows.values))


def test_feature_that_must_not_be_used_changes_nothing(fitted):
    rows, margin = fitted
    moved = rows.values.copy()
    moved[:, 1] = 1e3
    assert margin.margins(moved) == pytest.approx(margin.margins(rows.values), abs=0)
