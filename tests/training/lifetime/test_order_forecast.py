import numpy as np
import pytest

from features.errors import ConfigurationError, DataError
from training.lifetime.bg_nbd import BgNbd
from training.lifetime.count_metrics import randomised_coverage, ranked_probability_scores
from training.lifetime.order_forecast import OrderForecast, OrderForecaster, fit_order_forecaster
from training.lifetime.order_histories import OrderHistories
from training.lifetime.pareto_gaps import ParetoGaps

LAWS = OrderForecaster(BgNbd(0.243, 4.414, 0.793, 2.426), ParetoGaps(0.675, 1.53, 7.27))
HISTORIES = OrderHistories.from_order_days(np.array([1, 1, 1, 2, 3, 3]), np.array([0, 17, 213, 80, 0, 7]), last_day=272)


def test_both_models_speak_with_equal_weight():
    said = LAWS.forecast(HISTORIES, 39.0, most=50)
    x, t_x, t = HISTORIES.frequency, HISTORIES.recency, HISTORIES.age
    leaving = LAWS.leaving.count_probabilities(x, t_x, t, 39.0, 50)
    changing = LAWS.changing.count_probabilities(HISTORIES, 39.0, 50)
    np.testing.assert_allclose(said.probabilities, (leaving + changing) / 2)
    np.testing.assert_allclose(said.mean, (leaving + changing) @ np.arange(51) / 2)


def test_quantiles_are_in_order_and_probabilities_sum_to_one():
    said = LAWS.forecast(HISTORIES, 39.0)
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1.0)
    assert (said.p10 <= said.p50).all()
    assert (said.p50 <= said.p90).all()
    np.testing.assert_allclose(said.p_buys_again, 1 - said.probabilities[:, 0])


def test_a_longer_window_makes_buying_again_likelier():
    short, long = (LAWS.forecast(HISTORIES, weeks).p_buys_again for weeks in (4.0, 40.0))
    assert (short < long).all()


def test_more_counts_change_nothing_but_the_tail():
    few, many = (LAWS.forecast(HISTORIES, 39.0, most=most) for most in (5, 90))
    np.testing.assert_allclose(few.probabilities[:, :5], many.probabilities[:, :5], atol=1e-9)


def test_it_is_fitted_on_histories_alone():
    rng = np.random.default_rng(0)
    days = np.concatenate([np.zeros(300, np.int64), rng.integers(0, 150, 400)])
    histories = OrderHistories.from_order_days(np.concatenate([np.arange(300), rng.integers(0, 120, 400)]), days, 150)
    first, second = fit_order_forecaster(histories), fit_order_forecaster(histories)
    assert first == second
    assert first.forecast(histories, 10.0).probabilities.shape[0] == 300


@pytest.mark.parametrize(("weeks", "most"), [(0.0, None), (-1.0, None), (4.0, 0)])
def test_an_empty_window_is_refused(weeks, most):
    with pytest.raises(ConfigurationError):
        LAWS.forecast(HISTORIES, weeks, most)


def test_a_quantile_outside_is_refused():
    with pytest.raises(ConfigurationError, match=r"1\.0 was asked for"):
        OrderForecast(1.0, np.array([[1.0]])).quantile(1.0)


def test_coverage_of_the_true_law_is_what_it_says():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([0.7, 0.5, 0.2, 0.1], 20_000)
    counts = (rng.random((20_000, 1)) > np.cumsum(probabilities, axis=1)).sum(axis=1)
    # the spread of one customer's coverage is at most .5
    assert randomised_coverage(probabilities, counts).mean() == pytest.approx(0.8, abs=4 * 0.5 / np.sqrt(20_000))


def test_counts_above_the_last_stand_in_the_last():
    assert randomised_coverage(np.array([[0.05, 0.95]]), np.array([7])) == pytest.approx([0.8 / 0.95])


def test_the_ranked_score_of_certainty_is_the_absolute_error():
    certain = np.eye(4)[[2, 0, 3]]
    assert ranked_probability_scores(certain, np.array([0, 0, 2])).tolist() == [2.0, 0.0, 1.0]
    with pytest.raises(DataError, match="3 forecasts and 2 counts"):
        ranked_probability_scores(certain, np.array([0, 0]))
