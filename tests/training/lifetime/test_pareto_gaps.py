import math

import numpy as np
import pytest

from features.errors import NotEnoughDataError
from training.lifetime.order_histories import OrderHistories
from training.lifetime.pareto_gaps import ParetoGaps, fit_pareto_gaps


def world(model, rng, n, age, until):
    """Order times of n customers, first at 0: the gap after each order is `c (u^(-1 / kappa) - 1)`."""
    kappa = rng.gamma(model.r, 1 / model.beta, n)
    time, here, orders = np.zeros(n), np.ones(n, bool), [[0.0] for _ in range(n)]
    while here.any():
        with np.errstate(over="ignore"):
            time[here] += model.c * np.expm1(rng.exponential(size=here.sum()) / kappa[here])
        here &= time <= until
        for who in np.flatnonzero(here):
            orders[who].append(time[who])
    seen = [[t for t in times if t <= age] for times in orders]
    return (
        OrderHistories(
            customers=np.arange(n),
            gaps=np.concatenate([np.diff(times) for times in seen]),
            frequency=np.array([len(times) - 1 for times in seen]),
            recency=np.array([times[-1] for times in seen]),
            age=np.full(n, age),
        ),
        np.array([len(times) for times in orders]) - np.array([len(times) for times in seen]),
    )


def one(days, last_day):
    return OrderHistories.from_order_days(np.zeros(len(days), np.int64), np.array(days), last_day)


def test_the_likelihood_by_hand():
    # r = 1, beta = 1, c = 2 weeks; one gap of 2 weeks and 4 weeks of silence: B = ln 2 + ln 3,
    # Gamma(2) / Gamma(1) / (1 + B)^2 / (c + gap) = 1 / (1 + ln 6)^2 / 4
    found = ParetoGaps(1.0, 1.0, 2.0).log_likelihood(one([0, 14], 42))
    assert math.exp(found[0]) == pytest.approx(1 / (1 + math.log(6)) ** 2 / 4)


def test_the_fit_finds_the_law_and_no_neighbour_is_likelier():
    law = ParetoGaps(r=0.7, beta=1.5, c=7.0)
    histories, _ = world(law, np.random.default_rng(0), 8_000, 40.0, 40.0)
    found = fit_pareto_gaps(histories)
    assert (found.r, found.beta, found.c) == pytest.approx((0.7, 1.5, 7.0), rel=0.2)
    best = found.log_likelihood(histories).sum()
    assert 0 < 2 * (best - law.log_likelihood(histories).sum()) < 16.3  # chi-squared of 3, .999
    for factors in ((1.01, 1, 1), (0.99, 1, 1), (1, 1.01, 1), (1, 0.99, 1), (1, 1, 1.01), (1, 1, 0.99)):
        near = ParetoGaps(*(v * f for v, f in zip((found.r, found.beta, found.c), factors, strict=True)))
        assert near.log_likelihood(histories).sum() < best


def test_what_it_says_of_a_simulated_shop_comes_true():
    law = ParetoGaps(r=0.9, beta=0.7, c=4.0)
    histories, later = world(law, np.random.default_rng(1), 6_000, 20.0, 32.0)
    counts = law.count_probabilities(histories, 12.0, most=60)
    np.testing.assert_allclose(counts.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(counts[:, 0], law.probability_silent(histories, 12.0))
    mean = counts @ np.arange(61)
    for group in (histories.frequency == 0, histories.silence > 10, histories.frequency > 5):
        happened = later[group]
        assert mean[group].mean() == pytest.approx(happened.mean(), abs=4 * happened.std() / np.sqrt(group.sum()))
        for k in (0, 1, 3):
            share = (happened == k).mean()
            error = 4 * np.sqrt(share * (1 - share) / group.sum())
            assert counts[group, k].mean() == pytest.approx(share, abs=error)


def test_a_clock_of_a_customer_keeps_the_pace():
    # kappas near 1e4 with c = 1e4 weeks are an ordinary Poisson customer of 1 a week
    law = ParetoGaps(r=1e4, beta=1.0, c=1e4)
    counts = law.count_probabilities(one([0, 7, 14], 14), 5.0, most=40)[0]
    poisson = [math.exp(-5) * 5**k / math.factorial(k) for k in range(41)]
    np.testing.assert_allclose(counts, poisson, atol=2e-3)


def test_the_last_count_holds_all_that_are_more():
    law, history = ParetoGaps(0.7, 1.5, 7.0), one([0, 7, 9, 20], 30)
    whole, short = (law.count_probabilities(history, 39.0, most=most)[0] for most in (200, 3))
    np.testing.assert_allclose(short, [*whole[:3], whole[3:].sum()], atol=1e-9)


def test_who_is_all_but_sure_to_stay_silent_gets_no_undefined_number():
    counts = ParetoGaps(r=1e-3, beta=1e9, c=7.0).count_probabilities(one([0], 30), 1e-6, most=3)
    np.testing.assert_allclose(counts, [[1.0, 0.0, 0.0, 0.0]], atol=1e-9)


def test_the_longer_silent_the_less_likely_to_order():
    law = ParetoGaps(0.7, 1.5, 7.0)
    silent = [float(law.probability_silent(one([0, 14], last), 10.0)[0]) for last in (14, 30, 60, 200)]
    assert silent == sorted(silent)


def test_a_shop_where_nobody_came_back_is_refused():
    with pytest.raises(NotEnoughDataError, match="0 of 1 customers ordered twice"):
        fit_pareto_gaps(one([0], 9))
