from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from serving.sources.histories import Histories
from training.sources.graph import GraphSettings, fit_graph, main_directions

RNG = np.random.default_rng(4)
N = 12
LISTS = [RNG.choice(N, RNG.integers(1, 7), replace=False).tolist() for _ in range(40)]
HISTORIES = Histories.of_lists(LISTS, N)
X = HISTORIES.matrix(N).toarray().astype(np.float64)
U, D = X.sum(axis=1), X.sum(axis=0)
PAPER = GraphSettings(customer_power=1, sharpening=0, popularity_power=0, low_pass=0.3, factors=4, neighbours=0)


def unowned(scores):
    """What is on the diagonal concerns items that the customer holds alone: it is left out."""
    return np.where(X > 0, np.nan, scores)


def scores_of(source):
    everywhere = np.tile(np.arange(N), (len(X), 1))
    return unowned(source.scores(HISTORIES, everywhere))


def gf_cf(x, low_pass, n_factors):
    """The paper's formula on a dense matrix, by numpy's own singular values."""
    normed = x / np.sqrt(U)[:, None] / np.sqrt(D)
    _, _, v = np.linalg.svd(normed)
    main = v[:n_factors].T @ v[:n_factors]
    return x @ normed.T @ normed + low_pass * x / np.sqrt(D) @ main * np.sqrt(D)


def test_the_filter_of_the_paper_is_its_dense_formula():
    np.testing.assert_allclose(scores_of(fit_graph(HISTORIES, N, PAPER)), unowned(gf_cf(X, 0.3, 4)), atol=1e-5)


def sharpened(settings):
    """Eigenvectors of the whole of P: the response is put on every eigenvalue."""
    normed = X / U[:, None] ** (settings.customer_power / 2) / np.sqrt(D)
    values, v = np.linalg.eigh(normed.T @ normed)
    m = values / values[-1]
    linear = v * (m * np.exp(-settings.sharpening * m)) @ v.T * (D / D.mean()) ** settings.popularity_power
    return X @ (linear + settings.low_pass * np.diag(np.ones(N)))


@pytest.mark.parametrize("neighbours", [0, N])
@pytest.mark.parametrize("kept", [0, 3, N])
def test_the_response_is_put_on_every_main_direction_wherever_it_is_kept(neighbours, kept):
    settings = GraphSettings(0.7, 1.5, 0.2, 0.1, factors=N, kept_factors=kept, neighbours=neighbours)
    np.testing.assert_allclose(scores_of(fit_graph(HISTORIES, N, settings)), unowned(sharpened(settings)), atol=1e-5)


def test_so_many_neighbours_and_factors_are_kept_as_asked_for():
    source = fit_graph(HISTORIES, N, GraphSettings(factors=6, kept_factors=2, neighbours=5))
    assert np.diff(source.neighbours.offsets).max() == 5
    assert source.taken.shape == source.given.shape == (N, 4)  # of the linear and of the low-pass filter


def test_main_directions_are_those_of_a_dense_decomposition():
    found, values = main_directions(csr_matrix(X.astype(np.float32)), 3, seed=1)
    _, expected, v = np.linalg.svd(X)
    assert values == pytest.approx(expected[:3] ** 2, rel=1e-4)
    assert np.abs((found * v[:3].T).sum(axis=0)) == pytest.approx(1.0, abs=1e-4)


def test_an_item_that_nobody_likes_yet_is_no_neighbour_and_no_error():
    found = fit_graph(Histories.of_lists(LISTS, N + 1), N + 1, PAPER)
    assert found.neighbours.offsets[N] == found.neighbours.offsets[N + 1]
    assert not (found.neighbours.items == N).any()
    np.testing.assert_allclose(scores_of(found), unowned(gf_cf(X, 0.3, 4)), atol=1e-5)


def test_nobody_likes_anything():
    source = fit_graph(Histories.of_lists([[], []], 3), 3, GraphSettings())
    assert np.isnan(source.scores(Histories.nobody(0), np.zeros((1, 1), np.int64))).all()
