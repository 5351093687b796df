import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize

from serving.latent_attrition import past_of
from tests.attrition_worlds import HORIZON_DAYS, NAMES, silent_shop
from training.boosting import bin_rows
from training.churn_metrics import auc
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.latent_attrition import _Likelihood, fit_latent_attrition
from training.margin import customer_parts, fit_margin
from training.thinning import evenly


def fitted(rows):
    return fit_latent_attrition(rows, np.arange(rows.n_rows), np.ones(rows.n_rows), HORIZON_DAYS, NAMES)


def test_the_gradient_is_that_of_the_loss():
    rows, _ = silent_shop(np.random.default_rng(0), 300)
    past = past_of(rows.values, NAMES, NAMES)
    likelihood = _Likelihood.of(past, rows.labels, np.ones(300), HORIZON_DAYS, 2)
    at = likelihood.begin + np.random.default_rng(1).normal(0, 0.2, likelihood.begin.size)
    found = likelihood.loss(at)[1]
    steps = 1e-5 * np.eye(at.size)
    expected = [(likelihood.loss(at + step)[0] - likelihood.loss(at - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_search_ends_where_the_loss_is_least():
    rows, _ = silent_shop(np.random.default_rng(8), 800)
    likelihood = _Likelihood.of(past_of(rows.values, NAMES, NAMES), rows.labels, np.ones(800), HORIZON_DAYS, 2)
    found, loss = likelihood.fit()
    assert loss < likelihood.loss(likelihood.begin)[0]
    by_gradient = minimize(lambda at: likelihood.loss(at)[:2], found, jac=True, method="L-BFGS-B")
    assert loss == pytest.approx(by_gradient.fun, abs=2e-4)


def test_few_rows_fit_each_regularity_and_all_rows_judge_it(monkeypatch):
    rows, _ = silent_shop(np.random.default_rng(4), 2_000, regularity=1)
    some = evenly(np.arange(2_000), 150)
    past, labels, weights = past_of(rows.values[some], NAMES, NAMES), rows.labels[some], np.ones(some.size)
    losses = {k: _Likelihood.of(past, labels, weights, HORIZON_DAYS, k).fit()[1] for k in (1, 2, 3)}
    assert min(losses, key=losses.get) == 3  # so say the few; the gaps of this world have no regularity
    monkeypatch.setattr("training.latent_attrition._ROWS_TO_CHOOSE", 150)
    assert fitted(rows).law.regularity == 1


@pytest.mark.slow
def test_the_law_is_found_again_where_the_world_follows_it():
    rows, _ = silent_shop(np.random.default_rng(2), 6_000, regularity=3)
    part = fitted(rows)
    assert part.law.regularity in (2, 3)
    assert 12 < part.law.usual_gap_days < 45
    assert part.law.troubles[0] == pytest.approx(0.03, rel=0.6)
    unseen, unseen_gone = silent_shop(np.random.default_rng(3), 4_000, regularity=3)
    margins = part.margins(unseen.values)
    silence = unseen.values[:, NAMES.index("orders_recency_days")]
    assert 1 - auc(unseen_gone, margins) < (1 - auc(unseen_gone, silence)) / 2
    assert auc(unseen.labels, margins) > 0.75


def test_the_margin_leans_on_the_law_where_customers_leave_unseen():
    rows, _ = silent_shop(np.random.default_rng(4), 2_500)
    settings = ChurnSettings(folds=2)
    unused = np.zeros(len(NAMES), np.bool_)
    binned = bin_rows(rows.values, NAMES, max_bins=63, num_threads=1, categories={}, unused=unused)
    found = fit_margin(rows, binned, customer_parts(rows, settings), settings, categories={}, unused=unused)
    by_part = [found.attrition.margins(rows.values), found.linear.margins(rows.values)]
    assert by_part[0].std() > by_part[1].std()
    together = found.tree_weight * found.trees.margins(rows.values) + sum(by_part)
    np.testing.assert_allclose(found.margins(rows.values), together, atol=1e-12)
    unseen, _ = silent_shop(np.random.default_rng(5), 2_500)
    alone = found.attrition.margins(unseen.values)
    assert auc(unseen.labels, found.margins(unseen.values)) > auc(unseen.labels, alone) - 0.005


@pytest.mark.parametrize("folds", [2, 3])
def test_the_law_that_judges_customers_was_fitted_without_them(monkeypatch, folds):
    rows, _ = silent_shop(np.random.default_rng(8), 900)
    settings, unused = ChurnSettings(folds=folds), np.zeros(len(NAMES), np.bool_)
    parts, fitted_on = customer_parts(rows, settings), []

    def spied(rows, places, *rest):
        fitted_on.append(places)
        return fit_latent_attrition(rows, places, *rest)

    monkeypatch.setattr("training.margin.fit_latent_attrition", spied)
    binned = bin_rows(rows.values, NAMES, max_bins=63, num_threads=1, categories={}, unused=unused)
    fit_margin(rows, binned, parts, settings, categories={}, unused=unused)
    *by_part, last = fitted_on
    assert [places.tolist() for places in by_part] == [part.fitting.tolist() for part in parts]
    assert all(not set(part.held_out) & set(places) for part, places in zip(parts, by_part, strict=True))
    assert last.size == rows.n_rows  # what is released learns from everybody


def test_a_question_that_waits_for_the_leaving_itself_takes_no_law_of_silence():
    rows, _ = silent_shop(np.random.default_rng(6), 1_000)
    settings = ChurnSettings(folds=2, problem=ChurnProblem(kind="cancel"))
    unused = np.zeros(len(NAMES), np.bool_)
    binned = bin_rows(rows.values, NAMES, max_bins=63, num_threads=1, categories={}, unused=unused)
    parts = customer_parts(rows, settings)
    assert fit_margin(rows, binned, parts, settings, categories={}, unused=unused).attrition is None
    unused[NAMES.index("orders_count_all")] = True
    waits = ChurnSettings(folds=2)
    assert fit_margin(rows, binned, parts, waits, categories={}, unused=unused).attrition is None


def test_a_blank_column_is_not_read_when_it_comes_back():
    rows, _ = silent_shop(np.random.default_rng(7), 1_000)
    values = rows.values.copy()
    values[:, NAMES.index("activity_recency_days")] = np.nan
    blank = dataclasses.replace(rows, values=values)
    settings = ChurnSettings(folds=2)
    unused = np.zeros(len(NAMES), np.bool_)
    binned = bin_rows(values, NAMES, max_bins=63, num_threads=1, categories={}, unused=unused)
    found = fit_margin(blank, binned, customer_parts(blank, settings), settings, categories={}, unused=unused)
    assert found.attrition is not None
    np.testing.assert_array_equal(found.margins(values), found.margins(rows.values))
