import dataclasses

import numpy as np
import pytest

from features.errors import ConfigurationError
from serving.calibration import sigmoid
from serving.churn_model import ChurnModel
from tests.forecast_worlds import NAMES, shop
from training.boosting import bin_rows
from training.churn import fit_churn, fit_margins
from training.churn_metrics import auc, expected_calibration_error
from training.churn_settings import ChurnSettings
from training.linear_part import fit_linear_numbers, fit_linear_part
from training.margin import customer_parts, fit_margin, weigh

SETTINGS = ChurnSettings(folds=3)


def margin_of(rows, settings=SETTINGS, categories=None):
    coded = categories or {}
    unused = np.zeros(len(NAMES), np.bool_)
    binned = bin_rows(rows.values, NAMES, max_bins=63, num_threads=1, categories=coded, unused=unused)
    return fit_margin(rows, binned, customer_parts(rows, settings), settings, categories=coded, unused=unused)


def with_labels(rows, log_odds, rng):
    return dataclasses.replace(rows, labels=rng.random(rows.n_rows) < sigmoid(log_odds))


def test_few_rows_hold_every_customer_out_once():
    rows = shop(np.random.default_rng(0), 300, (0, 30, 60))
    parts = customer_parts(rows, SETTINGS)
    assert len(parts) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate([part.held_out for part in parts])), np.arange(rows.n_rows))
    for part in parts:
        assert not set(rows.customer_rows[part.fitting]) & set(rows.customer_rows[part.held_out])


def test_many_rows_hold_out_a_share_of_the_customers():
    rows = shop(np.random.default_rng(0), 300, (0, 30, 60))
    (part,) = customer_parts(rows, ChurnSettings(fold_below_rows=900, validation_share=0.2))
    assert np.unique(rows.customer_rows[part.held_out]).size == 60
    assert part.held_out.size + part.fitting.size == 900


def test_a_linear_law_leans_on_the_linear_part_and_a_crossed_one_on_the_trees():
    rng = np.random.default_rng(1)
    rows = shop(rng, 3_000)
    straight = margin_of(with_labels(rows, 2 * np.sign(rows.values[:, 0]) * np.log1p(np.abs(rows.values[:, 0])), rng))
    crossed = margin_of(with_labels(rows, 2 * np.sign(rows.values[:, 0] * rows.values[:, 1]), rng))
    linear_share = [
        one.linear.margins(rows.values).std() / (one.tree_weight * one.trees.margins(rows.values).std())
        for one in (straight, crossed)
    ]
    assert linear_share[0] > 1 > linear_share[1]


def test_neither_part_makes_the_margin_worse_than_the_linear_one_by_more_than_noise():
    rng = np.random.default_rng(2)
    for law in (lambda x: 0.4 * x[:, 0], lambda x: 1.5 * np.abs(x[:, 0]) - 1.5, lambda x: 0 * x[:, 0] - 0.5):
        rows, test = (with_labels(one, law(one.values), rng) for one in (shop(rng, 1_500), shop(rng, 6_000)))
        linear = fit_linear_part(rows.values, rows.labels, rows.weights)
        both = margin_of(rows).margins(test.values)
        assert auc(test.labels, both) > auc(test.labels, linear.margins(test.values)) - 0.01


def test_held_out_margins_never_saw_their_customers():
    rng = np.random.default_rng(3)
    rows = shop(rng, 400, (0, 30, 60))
    # nothing can be learnt but the customers themselves: each keeps its values and its outcome
    values = np.tile(rng.normal(size=(400, len(NAMES))), (3, 1))
    rows = dataclasses.replace(rows, values=values, labels=np.tile(rng.random(400) < 0.5, 3))
    settings = dataclasses.replace(
        SETTINGS, trees=dataclasses.replace(SETTINGS.trees, min_rows_in_leaf=3, l2=0.0, max_rounds=60)
    )
    found = margin_of(rows, settings)
    np.testing.assert_array_equal(found.held_out, np.arange(rows.n_rows))
    assert auc(rows.labels, found.held_out_margins) < 0.6


def test_weights_are_a_half_each_where_nothing_tells_and_learnt_where_much_does():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=20_000)
    labels = rng.random(truth.size) < sigmoid(truth)
    good, noise = truth, rng.normal(size=truth.size)
    (to_good, to_noise), shift = weigh(np.column_stack([good, noise]), labels, np.ones(truth.size))
    assert (to_good, to_noise, shift) == pytest.approx((1.0, 0.0, 0.0), abs=0.06)
    same = np.zeros((6, 2))
    assert weigh(same, np.arange(6) < 3, np.ones(6))[0] == pytest.approx((0.5, 0.5))


def test_a_weight_is_never_negative():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=5_000)
    labels = rng.random(truth.size) < sigmoid(truth)
    assert weigh(np.column_stack([truth, -truth]), labels, np.ones(truth.size))[0][1] == 0.0


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_calibration_undoes_the_weights_of_a_rare_outcome(balance):
    rng = np.random.default_rng(6)
    law = -2.7  # about one in ten
    training, calibration, test = (
        with_labels(rows, rows.values[:, 0] + law, rng)
        for rows in (shop(rng, 3_000), shop(rng, 3_000), shop(rng, 5_000))
    )
    model = fit_churn(training, calibration, dataclasses.replace(SETTINGS, balance=balance))
    assert expected_calibration_error(test.labels, model.probabilities(test.values)) < 0.02
    level = sigmoid(model.margins(test.values)).mean()
    assert level > 0.3 if balance else level < 0.15


def test_a_balance_beyond_one_is_refused():
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        ChurnSettings(balance=1.5)


def test_categories_are_learnt_by_both_parts_and_an_unknown_one_is_scored():
    rng = np.random.default_rng(7)
    effect = np.array([2.0, -2.0, 0.0, 1.0])

    def coded(n):
        rows = shop(rng, n)
        codes = rng.integers(0, 4, n)
        rows.values[:, 3] = np.where(rng.random(n) < 0.05, np.nan, codes)
        return with_labels(rows, effect[codes] - 0.3, rng)

    training, calibration, test = coded(3_000), coded(2_000), coded(4_000)
    texts = {"noise": ("monthly", "yearly", "prepaid", "trial")}
    model = fit_churn(training, calibration, SETTINGS, categories=texts)
    known = ~np.isnan(test.values[:, 3])
    best = effect[test.values[known, 3].astype(int)]
    assert auc(test.labels[known], model.margins(test.values[known])) > auc(test.labels[known], best) - 0.01
    np.testing.assert_allclose(model.contributions(test.values).sum(axis=1), model.margins(test.values), atol=1e-6)
    unseen = test.values[:20].copy()
    unseen[:, 3] = 7.0
    assert np.isfinite(model.probabilities(unseen)).all()
    again = ChurnModel.from_files(model.to_files())
    assert again.categories == texts
    np.testing.assert_array_equal(again.probabilities(unseen), model.probabilities(unseen))
    # the commonest contract is what is usual
    assert model.medians[3] == np.bincount(training.values[~np.isnan(training.values[:, 3]), 3].astype(int)).argmax()


def test_margins_alone_are_those_of_the_model():
    rng = np.random.default_rng(8)
    training, calibration = shop(rng, 600), shop(rng, 400)
    alone = fit_margins(training, SETTINGS)
    np.testing.assert_array_equal(
        alone(calibration.values), fit_churn(training, calibration, SETTINGS).margins(calibration.values)
    )


def test_numbers_are_found_by_ridge_regression():
    rng = np.random.default_rng(9)
    values = np.abs(rng.normal(size=(5_000, 2)))
    values[:500, 0] = np.nan
    numbers = 3 * np.log1p(np.nan_to_num(values[:, 0])) - 2 + np.isnan(values[:, 0])
    part = fit_linear_numbers(values, numbers)
    np.testing.assert_allclose(part.margins(values), numbers, atol=0.05)
    flat = fit_linear_numbers(np.ones((10, 2)), np.arange(10.0))
    assert (flat.bases, flat.intercept) == ((), 4.5)
