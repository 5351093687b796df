from __future__ import annotations

import numpy as np
import pytest

from serving.sources.histories import Histories
from training.sources.ease import EaseSettings, fit_ease

RNG = np.random.default_rng(2)
LISTS = [RNG.choice(9, RNG.integers(1, 6), replace=False).tolist() for _ in range(30)]
HISTORIES = Histories.of_lists(LISTS, 9)
X = HISTORIES.matrix(9).toarray().astype(np.float64)
PLAIN = EaseSettings(regularization=2.0, customer_power=0.0, popularity_power=0.0)


def dense(source):
    found = np.zeros((source.n_items, source.n_items))
    rows = np.repeat(np.arange(source.n_items), np.diff(source.neighbours.offsets))
    found[rows, source.neighbours.items] = source.neighbours.weights
    return found


def ridge(x, regularization):
    """Each item regressed on all others, by stacked least squares."""
    found = np.zeros((x.shape[1], x.shape[1]))
    for item in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), item)
        rows = np.vstack([x[:, others], np.sqrt(regularization) * np.eye(len(others))])
        aim = np.concatenate([x[:, item], np.zeros(len(others))])
        found[others, item] = np.linalg.lstsq(rows, aim, rcond=None)[0]
    return found


def test_every_item_is_regressed_on_all_others():
    np.testing.assert_allclose(dense(fit_ease(HISTORIES, 9, PLAIN)), ridge(X, 2.0), atol=1e-5)


def test_weights_of_customers_and_items_are_put_before_the_regression_and_items_back_after_it():
    customers, items = X.sum(axis=1), X.sum(axis=0)
    root = (customers / customers.mean()) ** -0.25
    scale = (items / items.mean()) ** 0.5
    expected = ridge(root[:, None] * X / scale, 2.0) / scale[:, None] * scale
    settings = EaseSettings(regularization=2.0, customer_power=0.5, popularity_power=0.5)
    np.testing.assert_allclose(dense(fit_ease(HISTORIES, 9, settings)), expected, atol=1e-5)


@pytest.mark.parametrize("powers", [0.0, 0.3])
def test_many_items_are_regressed_on_their_nearest_and_on_all_where_all_are_near(powers):
    settings = {"regularization": 2.0, "customer_power": powers, "popularity_power": powers}
    closed = dense(fit_ease(HISTORIES, 9, EaseSettings(**settings)))
    nearest = dense(fit_ease(HISTORIES, 9, EaseSettings(**settings, exact_items=1, regressors=8)))
    np.testing.assert_allclose(nearest, closed, atol=1e-5)


def test_the_strongest_are_kept_of_either_sign():
    whole = dense(fit_ease(HISTORIES, 9, PLAIN))
    cut = dense(fit_ease(HISTORIES, 9, EaseSettings(2.0, 0.0, 0.0, neighbours=3)))
    for row, kept in zip(whole, cut, strict=True):
        assert set(np.flatnonzero(kept)) == set(np.argsort(-np.abs(row))[:3])
    np.testing.assert_array_equal(cut[cut != 0], whole[cut != 0])
