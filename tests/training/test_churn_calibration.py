import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from features.errors import DataError, NotEnoughDataError
from features.instants import DAY_US
from serving.calibration import BetaCalibrator, sigmoid, softplus
from training.calibration import fit_calibrator
from training.season import fit_season


def test_a_known_distortion_is_undone():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 40_000)
    labels = rng.random(40_000) < sigmoid(truth)
    found = fit_calibrator(3.0 * truth + 1.0, labels)  # far too sure, and shifted
    assert np.abs(found.probabilities(3.0 * truth + 1.0) - sigmoid(truth)).mean() < 0.01


def test_the_fit_equals_an_unpenalised_logistic_regression_on_its_two_columns():
    rng = np.random.default_rng(1)
    margins = rng.normal(0, 2, 200_000)
    labels = rng.random(200_000) < sigmoid(0.7 * margins - 0.3)
    design = np.column_stack([-softplus(-margins), softplus(margins)])
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(design, labels)
    found = fit_calibrator(margins, labels)
    assert (found.a, found.b, found.c) == pytest.approx((*other.coef_[0], other.intercept_[0]), abs=5e-3)


def test_ten_rows_hardly_move_the_slope_but_move_the_level():
    margins = np.linspace(-1, 1, 10)
    found = fit_calibrator(margins, np.arange(10) != 0)
    assert found.probabilities(margins).mean() == pytest.approx(0.9, abs=0.03)
    assert 0.5 < found.a < 2
    assert 0.5 < found.b < 2


def test_a_reversed_model_is_never_turned_round():
    rng = np.random.default_rng(2)
    margins = rng.normal(size=5_000)
    found = fit_calibrator(margins, rng.random(5_000) < sigmoid(-margins))
    said = found.probabilities(np.linspace(-3, 3, 50))
    assert (np.diff(said) > 0).all()


def test_one_outcome_alone_is_refused():
    with pytest.raises(NotEnoughDataError, match="0 churned of 5"):
        fit_calibrator(np.zeros(5), np.zeros(5, bool))


def test_a_margin_that_is_not_finite_is_refused():
    with pytest.raises(DataError):
        fit_calibrator(np.array([0.0, np.nan]), np.array([True, False]))


def test_extreme_margins_stay_probabilities():
    said = BetaCalibrator(1.0, 1.0, 0.0).probabilities(np.array([-1e6, 0.0, 1e6]))
    assert said.tolist() == [0.0, 0.5, 1.0]


def season_rows(n_cutoffs, step_days=30, n=3_000):
    rng = np.random.default_rng(4)
    cutoffs = np.arange(n_cutoffs) * step_days * DAY_US
    as_of = np.repeat(cutoffs, n)
    shift = 0.5 * np.cos(2 * np.pi * as_of / (365.25 * DAY_US))
    log_odds = rng.normal(0, 1, as_of.size)
    return log_odds, rng.random(as_of.size) < sigmoid(log_odds + shift), as_of, int(cutoffs[-1])


def test_a_known_season_is_found():
    log_odds, labels, as_of, anchor = season_rows(14)
    season = fit_season(log_odds, labels, as_of, anchor)
    for day in (0, 90, 180, 270):
        ahead = anchor + day * DAY_US
        true = 0.5 * (np.cos(2 * np.pi * ahead / (365.25 * DAY_US)) - np.cos(2 * np.pi * anchor / (365.25 * DAY_US)))
        assert season.at(ahead) == pytest.approx(true, abs=0.15)
    assert season.at(anchor) == 0.0


@pytest.mark.parametrize(("n_cutoffs", "step_days"), [(9, 30), (5, 90)], ids=["too short", "a year, but few points"])
def test_without_a_year_the_level_of_the_latest_slice_fades_into_the_mean(n_cutoffs, step_days):
    log_odds, labels, as_of, anchor = season_rows(n_cutoffs, step_days)
    season = fit_season(log_odds, labels, as_of, anchor)
    levels = 0.5 * np.cos(2 * np.pi * np.unique(as_of) / (365.25 * DAY_US))
    assert season.at(anchor) == 0.0
    assert season.at(anchor + 92 * DAY_US) == pytest.approx(levels.mean() - levels[-1], abs=0.1)
    assert season.at(anchor + 300 * DAY_US) == season.at(anchor + 92 * DAY_US)
    assert abs(season.at(anchor + 30 * DAY_US)) < 0.2 * abs(season.at(anchor + 92 * DAY_US))  # 1 - cos(30 degrees)


def test_two_cut_offs_tell_nothing_of_a_mean():
    assert fit_season(*season_rows(2)) is None
