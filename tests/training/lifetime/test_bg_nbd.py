import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln, hyp2f1

from features.errors import DataError, NotEnoughDataError
from training.lifetime.bg_nbd import BgNbd, fit_bg_nbd

PUBLISHED = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)


def lives(model, rng, n, age, until):
    """Orders of n customers, the first at 0, up to `until`; each has a rate and a chance to leave of its own."""
    rate, leave = rng.gamma(model.r, 1 / model.alpha, n), rng.beta(model.a, model.b, n)
    time, here, orders = np.zeros(n), np.ones(n, bool), [[] for _ in range(n)]
    while here.any():
        time[here] += rng.exponential(1 / rate[here])
        here &= time <= until
        for who in np.flatnonzero(here):
            orders[who].append(time[who])
        here &= rng.random(n) >= leave
    x = np.array([sum(t <= age for t in times) for times in orders])
    t_x = np.array([max([t for t in times if t <= age], default=0.0) for times in orders])
    return x, t_x, [[t for t in times if t > age] for times in orders]


def by_integration(model, x, t_x, t, of_rate_and_leave):
    """E[f(lambda, p); a customer at T | x, t_x, T] by two integrals over Bayes' formula, from the first principles."""
    del t_x
    r, alpha, b = model.r + x, model.alpha + t, model.b + x

    def over_rates(p):
        def density(rate):
            return rate ** (r - 1) * math.exp(-rate * alpha) * of_rate_and_leave(rate, p)

        return quad(density, 0, np.inf, limit=200)[0] * alpha**r / math.gamma(r)

    def density(p):
        return p ** (model.a - 1) * (1 - p) ** (b - 1) * over_rates(p) / math.exp(betaln(model.a, b))

    return quad(density, 0, 1, limit=200)[0]


def test_the_likelihood_is_equation_6_by_hand():
    # r = 1, alpha = 1, a = 1, b = 2, x = 2, t_x = 1, T = 3: Gamma(3)/Gamma(1) = 2, B(1, 4)/B(1, 2) = 1/2,
    # (1 + 3)^-3 + 1 / (2 + 2 - 1) * (1 + 1)^-3 = 1/64 + 1/24
    found = BgNbd(1.0, 1.0, 1.0, 2.0).log_likelihood(2, 1.0, 3.0)
    assert math.exp(found) == pytest.approx(1 / 64 + 1 / 24)


def test_alive_is_the_first_terms_share():
    assert BgNbd(1.0, 1.0, 1.0, 2.0).probability_alive(2, 1.0, 3.0) == pytest.approx((1 / 64) / (1 / 64 + 1 / 24))
    assert BgNbd(1.0, 1.0, 1.0, 2.0).probability_alive(0, 0.0, 500.0) == 1.0


def test_the_papers_example_customer():
    # Fader, Hardie and Lee's spreadsheet note, customer with x = 2, t_x = 30.43, T = 38.86, t = 39
    assert float(PUBLISHED.expected_orders(2, 30.43, 38.86, 39.0)) == pytest.approx(1.226, abs=5e-4)


@pytest.mark.parametrize(("x", "t_x", "t"), [(0, 0.0, 30.0), (3, 20.0, 30.0), (12, 29.0, 38.0)])
def test_expected_orders_equal_the_papers_own_form_where_that_is_stable(x, t_x, t):
    r, alpha, a, b = 0.243, 4.414, 0.793, 2.426
    weeks = 39.0
    z = weeks / (alpha + t + weeks)
    bracket = 1 - ((alpha + t) / (alpha + t + weeks)) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, z)
    paper = (a + b + x - 1) / (a - 1) * bracket * PUBLISHED.probability_alive(x, t_x, t)
    assert PUBLISHED.expected_orders(x, t_x, t, weeks) == pytest.approx(paper, rel=1e-10)


@pytest.mark.parametrize("model", [BgNbd(0.9, 4.0, 1.0, 2.4), BgNbd(0.9, 4.0, 0.4, 0.6), BgNbd(0.9, 4.0, 1.8, 0.7)])
def test_expected_orders_where_the_equation_is_0_by_0(model):
    # E[orders | lambda, p] = (1 - e^(-lambda p t)) / p for a customer; a = 1, and a + b + x = 1
    whole = by_integration(model, 0, 0.0, 12.0, lambda rate, p: (1 - math.exp(-rate * p * 10)) / p)
    assert model.expected_orders(0, 0.0, 12.0, 10.0) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("x", "t_x"), [(0, 0.0), (4, 25.0)])
def test_silence_after_a_gap_equals_integration(x, t_x):
    model = BgNbd(0.9, 4.0, 0.8, 2.4)
    orders = by_integration(model, x, t_x, 30.0, lambda rate, p: math.exp(-rate * p * 3) * (1 - math.exp(-rate * 8)))
    alive = float(model.probability_alive(x, t_x, 30.0))
    assert model.probability_silent(x, t_x, 30.0, 8.0, gap_weeks=3.0) == pytest.approx(1 - alive * orders, rel=1e-6)


def test_counts_agree_with_silence_and_expectation():
    x, t_x, t = np.array([0, 1, 5, 30]), np.array([0.0, 3.0, 30.0, 38.0]), np.array([38.0, 30.0, 36.0, 38.9])
    counts = PUBLISHED.count_probabilities(x, t_x, t, 39.0, most=600)
    np.testing.assert_allclose(counts.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(counts[:, 0], PUBLISHED.probability_silent(x, t_x, t, 39.0), atol=1e-12)
    np.testing.assert_allclose(counts @ np.arange(601), PUBLISHED.expected_orders(x, t_x, t, 39.0), rtol=1e-9)


def test_the_last_count_holds_all_that_are_more():
    whole = PUBLISHED.count_probabilities(5, 30.0, 36.0, 39.0, most=300)
    short = PUBLISHED.count_probabilities(5, 30.0, 36.0, 39.0, most=3)
    np.testing.assert_allclose(short, [*whole[:3], whole[3:].sum()], atol=1e-12)
    assert PUBLISHED.count_probabilities(5, 30.0, 36.0, 39.0, most=1)[1] == pytest.approx(1 - whole[0])


def test_a_history_of_thousands_of_orders_overflows_nowhere():
    # 20,000 orders in 100 weeks, the last a minute ago; who never leaves keeps the pace of 200 a week
    steady = BgNbd(0.5, 5.0, 1e-3, 50.0)
    assert float(steady.expected_orders(20_000, 100.0, 100.0, 1.0)) == pytest.approx(20_000 / 105, rel=1e-3)
    assert float(steady.probability_silent(20_000, 100.0, 100.0, 0.1, gap_weeks=5.0)) < 1e-3
    assert 0 <= float(PUBLISHED.probability_alive(20_000, 1.0, 100.0)) < 1e-300


def test_the_fit_finds_the_law_of_a_simulated_shop():
    law = BgNbd(r=0.6, alpha=5.0, a=0.8, b=2.5)
    x, t_x, _ = lives(law, np.random.default_rng(0), 12_000, 40.0, 40.0)
    found = fit_bg_nbd(x, t_x, np.full(x.size, 40.0))
    assert (found.r, found.alpha) == (pytest.approx(0.6, rel=0.08), pytest.approx(5.0, rel=0.12))
    assert found.a / (found.a + found.b) == pytest.approx(0.8 / 3.3, abs=0.02)


def test_what_it_says_of_a_simulated_shop_comes_true():
    law = BgNbd(r=0.9, alpha=5.0, a=0.8, b=2.5)
    x, t_x, later = lives(law, np.random.default_rng(1), 12_000, 20.0, 40.0)
    said = {
        "orders": law.expected_orders(x, t_x, 20.0, 20.0),
        "silent": law.probability_silent(x, t_x, 20.0, 20.0),
        "silent after a gap": law.probability_silent(x, t_x, 20.0, 8.0, gap_weeks=4.0),
    }
    happened = {
        "orders": np.array([len(times) for times in later]),
        "silent": np.array([not times for times in later]),
        "silent after a gap": np.array([not any(24 < t <= 32 for t in times) for times in later]),
    }
    for group in (x == 0, (x > 0) & (t_x < 10), x > 3):
        for what, values in said.items():
            expected = happened[what][group]
            error = 4 * expected.std() / np.sqrt(group.sum())
            assert values[group].mean() == pytest.approx(expected.mean(), abs=error), what


def test_equal_customers_count_as_often_as_they_are():
    x, t_x, t = np.array([0, 0, 1, 4]), np.array([0.0, 0.0, 8.0, 20.0]), np.array([20.0, 20.0, 22.0, 25.0])
    once, thrice = (fit_bg_nbd(np.tile(x, n), np.tile(t_x, n), np.tile(t, n)) for n in (1, 3))
    assert once.r == pytest.approx(thrice.r, rel=1e-3)


def test_another_unit_of_time_changes_alpha_alone():
    x, t_x, _ = lives(BgNbd(0.6, 5.0, 0.8, 2.5), np.random.default_rng(2), 2_000, 40.0, 40.0)
    weeks, days = fit_bg_nbd(x, t_x, np.full(x.size, 40.0)), fit_bg_nbd(x, 7 * t_x, np.full(x.size, 280.0))
    assert (days.r, days.alpha / 7, days.a) == pytest.approx((weeks.r, weeks.alpha, weeks.a), rel=1e-4)


@pytest.mark.parametrize("history", [(-1, 0.0, 9.0), (1, 10.0, 9.0), (0, 3.0, 9.0), (1, np.nan, 9.0)])
def test_an_impossible_history_is_refused(history):
    with pytest.raises(DataError, match="1 of 2 histories are impossible"):
        fit_bg_nbd(*np.array([(1, 2.0, 9.0), history]).T)


def test_a_shop_where_nobody_came_back_is_refused():
    with pytest.raises(NotEnoughDataError, match="0 of 3 customers ordered twice"):
        fit_bg_nbd(np.zeros(3), np.zeros(3), np.full(3, 9.0))
