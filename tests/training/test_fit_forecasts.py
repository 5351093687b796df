import dataclasses

import numpy as np
import pytest

from features.instants import DAY_US
from serving.calibration import sigmoid
from serving.season import SeasonShift
from tests.forecast_worlds import NAMES, shop
from training.churn import fit_churn
from training.churn_metrics import expected_calibration_error
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.labels import churned_by

SETTINGS = ChurnSettings(folds=3)


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    return shop(rng, 4_000), shop(rng, 3_000, (90,), year_known=False), shop(rng, 4_000, (180,))


@pytest.fixture(scope="module")
def model(sets):
    return fit_churn(sets[0], sets[1], SETTINGS)


@pytest.fixture(scope="module")
def forecast(model, sets):
    return model.forecast(sets[2].values)


def test_every_horizon_is_calibrated(forecast, sets):
    test = sets[2]
    for place, days in enumerate((30, 60, 90)):
        labels = churned_by(test.event_days, days, "return")
        assert expected_calibration_error(labels, forecast.churn_probability_by_horizon[:, place]) < 0.035


def test_shorter_horizons_follow_the_law_of_when(forecast, sets):
    values = sets[2].values
    mean = 30 * np.exp(values[:, 1] / 2)
    returned = 1 - sigmoid(values[:, 0])
    by_30 = 1 - returned * np.expm1(-30 / mean) / np.expm1(-90 / mean)
    assert np.abs(forecast.churn_probability_by_horizon[:, 0] - by_30).mean() < 0.03


def test_the_next_date_lies_between_p10_and_p90_four_times_in_five(forecast, sets):
    days, happened = forecast.next_event_days, sets[2].event_days
    told = ~np.isnan(days[:, 0]) & np.isfinite(happened)
    assert told.sum() > 1_000
    inside = (happened >= days[:, 0]) & (happened <= days[:, 2])
    assert 0.77 < inside[told].mean() < 0.83
    assert (happened < days[:, 1])[told].mean() == pytest.approx(0.5, abs=0.04)


def test_no_date_is_told_where_not_returning_is_likelier(forecast):
    unlikely = forecast.churn_probability_by_horizon[:, -1] > 0.5
    np.testing.assert_array_equal(np.isnan(forecast.next_event_days[:, 0]), unlikely)


@pytest.mark.parametrize(("place", "within"), [(0, 0.03), (1, 0.045)])
def test_value_lies_between_p10_and_p90_four_times_in_five(forecast, sets, place, within):
    # the year's residuals are those of 1,000 held-out rows: the share inside has a standard error of .4 / sqrt(1000)
    # a customer worth nothing stands at a level drawn evenly within the point mass
    paid, nothing = sets[2].value_minor[:, place], forecast.value_none_probability[:, place]
    low, _, high = forecast.value_minor[:, place].T
    drawn = np.random.default_rng(1).random(paid.size) * nothing
    inside = np.where(paid > 0, (paid >= low) & (paid <= high), (drawn >= 0.1) & (drawn <= 0.9))
    assert inside.mean() == pytest.approx(0.8, abs=within)
    assert expected_calibration_error(paid == 0, nothing) < 0.04


def test_mean_value_and_expected_loss_are_those_of_the_law(forecast, sets):
    test = sets[2]
    # the mean of e^N(0, .5^2) is e^.125
    if_any = test.values[:, 2] * np.exp(0.125)
    stays = 1 - sigmoid(test.values[:, 0])
    assert np.corrcoef(forecast.value_mean_minor[:, 0], stays * if_any)[0, 1] > 0.95
    assert forecast.value_mean_minor[:, 0].mean() == pytest.approx((stays * if_any).mean(), rel=0.1)
    # over the longest window learnt, a year, three times as much; lost with the probability of churning
    loss = (1 - stays) * 3 * if_any
    assert forecast.expected_loss_minor.mean() == pytest.approx(loss.mean(), rel=0.1)


def test_a_year_that_the_later_slice_has_not_seen_is_learnt_from_held_out_customers(model):
    assert [window.days for window in model.value_windows] == [90, 365]


def test_what_nobody_has_seen_yet_is_not_told(sets):
    rng = np.random.default_rng(2)
    model = fit_churn(shop(rng, 900, year_known=False), shop(rng, 600, (90,), year_known=False), SETTINGS)
    found = model.forecast(sets[2].values[:5])
    assert np.isnan(found.value_minor[:, 1]).all()
    assert np.isnan(found.value_none_probability[:, 1]).all()
    assert np.isfinite(found.expected_loss_minor).all()  # over 90 days, the longest window learnt


def test_a_label_without_dates_tells_of_no_timing_and_no_money():
    rng = np.random.default_rng(3)
    problem = ChurnProblem(kind="label", horizons_days=(90,), label_column="left", id_column="id")

    def told(rows):
        silent = np.full(rows.n_rows, np.nan)
        days = np.where(rows.labels, np.nan, np.inf)
        return dataclasses.replace(rows, event_days=days, value_minor=np.column_stack([silent, silent]))

    settings = dataclasses.replace(SETTINGS, problem=problem)
    model = fit_churn(told(shop(rng, 900)), told(shop(rng, 600)), settings)
    assert (model.timing, model.value_windows, model.awaits) == (None, (), "churn")
    found = model.forecast(np.zeros((2, 4)))
    np.testing.assert_array_equal(found.churn_probability_by_horizon[:, 0], model.probabilities(np.zeros((2, 4))))
    assert np.isnan(found.next_event_days).all()
    assert np.isnan(found.expected_loss_minor).all()


def test_a_question_that_waits_for_churn_tells_when_it_comes():
    rng = np.random.default_rng(4)

    def turned(rows):
        """The same rows, where what happened after T days was the customer's leaving."""
        return dataclasses.replace(rows, labels=~rows.labels)

    settings = dataclasses.replace(SETTINGS, problem=ChurnProblem(kind="cancel"))
    training, calibration, test = turned(shop(rng, 4_000)), turned(shop(rng, 3_000)), turned(shop(rng, 4_000))
    model = fit_churn(training, calibration, settings)
    found = model.forecast(test.values)
    for place, days in enumerate((30, 60, 90)):
        labels = churned_by(test.event_days, days, "churn")
        assert expected_calibration_error(labels, found.churn_probability_by_horizon[:, place]) < 0.035
    assert (np.diff(found.churn_probability_by_horizon, axis=1) >= 0).all()
    told = ~np.isnan(found.next_event_days[:, 0]) & np.isfinite(test.event_days)
    inside = (test.event_days >= found.next_event_days[:, 0]) & (test.event_days <= found.next_event_days[:, 2])
    assert 0.76 < inside[told].mean() < 0.84


def test_the_season_moves_the_shorter_horizons_and_the_amounts():
    rng = np.random.default_rng(5)
    cutoffs = tuple(range(0, 420, 30))

    def slower(rows):
        """Twice the days and twice the money where the cosine of the year is 1, half of both where it is -1."""
        wave = np.cos(2 * np.pi * rows.as_of_us / DAY_US / 365.25)
        days = np.where(rows.labels, np.inf, 90 * sigmoid(np.log(rows.event_days / 90 + 0.05) + np.log(2) * wave))
        return dataclasses.replace(rows, event_days=days, value_minor=rows.value_minor * 2.0 ** wave[:, None])

    training, calibration = slower(shop(rng, 400, cutoffs)), slower(shop(rng, 1_500, (548,)))
    model = fit_churn(training, calibration, SETTINGS)
    test = slower(shop(rng, 3_000, (731,)))
    found = model.forecast(test.values, 731 * DAY_US)
    for place, days in enumerate((30, 60)):
        labels = churned_by(test.event_days, days, "return")
        assert found.churn_probability_by_horizon[:, place].mean() == pytest.approx(labels.mean(), abs=0.03)
    assert isinstance(model.timing.links[0].season, SeasonShift)
    # from half to twice; a ridge draws a wave seen but once to a little less
    assert found.value_mean_minor[:, 0].mean() == pytest.approx(test.value_minor[:, 0].mean(), rel=0.2)


def test_a_baseline_forecasts_as_well(sets):
    model = fit_churn(sets[0], sets[1], SETTINGS, baseline=True)
    assert (model.baseline, model.n_trees) == (True, 0)
    found, again = (one.forecast(sets[2].values) for one in (model, type(model).from_files(model.to_files())))
    assert not np.isnan(found.value_minor).any()
    np.testing.assert_array_equal(found.churn_probability_by_horizon, again.churn_probability_by_horizon)
    np.testing.assert_allclose(
        model.contributions(sets[2].values).sum(axis=1), model.margins(sets[2].values), atol=1e-9
    )
    assert len(NAMES) + 1 == model.contributions(sets[2].values[:1]).shape[1]
