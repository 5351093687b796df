import numpy as np
import pytest
from scipy.integrate import quad

from features.errors import DataError, NotEnoughDataError
from training.lifetime.gamma_gamma import GammaGamma, fit_gamma_gamma


def test_the_density_integrates_to_one_and_to_everybodys_mean():
    model = GammaGamma(p=3.0, q=4.0, gamma=15.0)
    density = lambda z: np.exp(model.log_likelihood(2, z))  # noqa: E731
    assert quad(density, 0, np.inf)[0] == pytest.approx(1.0, rel=1e-6)
    assert quad(lambda z: z * density(z), 0, np.inf)[0] == pytest.approx(model.mean_value, rel=1e-5)
    assert model.mean_value == 15.0  # 3 * 15 / 3


def test_one_order_moves_the_estimate_part_of_the_way():
    # p (gamma + n z) / (p n + q - 1) = 2 (10 + 40) / (2 + 2) = 25, between everybody's 10 and the 40 that was seen
    assert GammaGamma(p=2.0, q=3.0, gamma=10.0).expected_value(1, 40.0) == 25.0


def test_without_a_finite_mean_nothing_is_expected_of_strangers():
    model = GammaGamma(p=2.0, q=0.9, gamma=10.0)
    assert model.mean_value == np.inf
    assert model.expected_value([0, 1], [np.nan, 40.0]).tolist() == [np.inf, pytest.approx(100 / 1.9)]


def test_the_fit_finds_the_law_and_the_expectation_comes_true():
    rng = np.random.default_rng(0)
    scale = rng.gamma(3.7, 1 / 15.4, 6_000)
    n = rng.integers(1, 6, 6_000)
    mean = rng.gamma(6.0 * n) / scale / n
    found = fit_gamma_gamma(n, mean)
    assert (found.p, found.q, found.gamma) == pytest.approx((6.0, 3.7, 15.4), rel=0.08)
    own = 6.0 / scale  # each customer's own mean
    few = n == 1
    assert found.expected_value(n, mean)[few].mean() == pytest.approx(own[few].mean(), rel=0.03)
    error = np.abs(found.expected_value(n, mean) - own)[few].mean()
    assert error < 0.85 * np.abs(mean - own)[few].mean()


def test_pence_and_pounds_differ_in_gamma_alone():
    rng = np.random.default_rng(1)
    n, mean = rng.integers(1, 6, 500), rng.gamma(2.0, 20.0, 500)
    pounds, pence = fit_gamma_gamma(n, mean), fit_gamma_gamma(n, 100 * mean)
    assert (pence.p, pence.q, pence.gamma / 100) == pytest.approx((pounds.p, pounds.q, pounds.gamma), rel=1e-4)


def test_worthless_orders_are_left_out():
    rng = np.random.default_rng(2)
    n, mean = rng.integers(1, 6, 300), rng.gamma(2.0, 20.0, 300)
    with_gifts = fit_gamma_gamma(np.append(n, [0, 3, 2]), np.append(mean, [np.nan, 0.0, np.nan]))
    assert with_gifts == fit_gamma_gamma(n, mean)


def test_too_little_to_learn_from_is_refused():
    with pytest.raises(NotEnoughDataError, match="2 customers have an order of a value above 0"):
        fit_gamma_gamma([1, 2], [3.0, 4.0])
    with pytest.raises(NotEnoughDataError, match="0 have two"):
        fit_gamma_gamma([1, 1, 1], [3.0, 4.0, 5.0])
    with pytest.raises(DataError, match="2 numbers of orders and 3 mean values"):
        fit_gamma_gamma([1, 2], [3.0, 4.0, 5.0])
