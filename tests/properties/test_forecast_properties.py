"""Whatever a churn model was fitted to, what it forecasts hangs together for every row."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.calibration import BetaCalibrator
from serving.churn_model import ChurnModel
from serving.conditional_quantity import ConditionalQuantity, Location
from serving.forecast import VALUE_DAYS
from serving.linear_part import Basis, LinearPart
from serving.season import SeasonShift
from serving.timing import Link, Timing
from serving.trees import Trees
from serving.value import Value
from tests.boosted import NAMES, boosted

HORIZONS = (30, 60, 90)
DAY_US = 86_400_000_000

slopes = st.floats(0.05, 20)
levels = st.floats(-20, 20)
seasons = st.none() | st.builds(SeasonShift, st.tuples(*[st.floats(-2, 2)] * 4), st.just(0))
links = st.builds(Link, slopes, levels, seasons)
residuals = st.lists(st.floats(-30, 30), min_size=6, max_size=6).map(lambda found: np.sort(found).reshape(1, 6))
calibrators = st.builds(BetaCalibrator, slopes, slopes, levels)


@cache
def world():
    """Trees for the margin, trees for numbers, and rows, some of them extreme."""
    booster, values = boosted(rows=120)
    extreme = np.array([[1e300, -1e300, 0.0], [np.nan, np.nan, np.nan], [-1e-300, 1e15, -1e15]])
    numbers = Trees(NAMES, boosted("regression")[0].model_to_string(), "regression")
    return Trees(NAMES, booster.model_to_string()), numbers, np.concatenate([values, extreme])


def model(awaits, calibrator, season, chain, spread):
    trees, numbers, _ = world()
    quantity = ConditionalQuantity(
        Location(LinearPart(3, 0.2, (Basis(2, "log", 0.3),)), numbers, 0.5), np.array([]), spread
    )
    return ChurnModel(
        feature_names=NAMES,
        fingerprint="f" * 64,
        horizons_days=HORIZONS,
        gap_days=0,
        base_rate=0.4,
        linear=LinearPart(3, 0.3, (Basis(0, "log", -1.3, 0.2, 1.5), Basis(1, "missing", 2.0))),
        trees=trees,
        tree_weight=0.7,
        calibrator=calibrator,
        reference=np.array([0.1, 0.9]),
        medians=np.zeros(3),
        awaits=awaits,
        season=season,
        timing=Timing(HORIZONS, quantity, chain),
        value_windows=tuple(Value(days, quantity, calibrator, season) for days in VALUE_DAYS),
    )


@settings(max_examples=40, deadline=None)
@given(
    awaits=st.sampled_from(["return", "churn"]),
    calibrator=calibrators,
    season=seasons,
    chain=st.tuples(links, links),
    spread=residuals,
    day=st.none() | st.integers(-400, 400),
)
def test_a_forecast_hangs_together(awaits, calibrator, season, chain, spread, day):
    values = world()[2]
    made = model(awaits, calibrator, season, chain, spread)
    as_of_us = None if day is None else day * DAY_US
    found = made.forecast(values, as_of_us)
    by_horizon = found.churn_probability_by_horizon
    steps = np.diff(by_horizon, axis=1)
    assert (steps <= 0).all() if awaits == "return" else (steps >= 0).all()
    assert ((by_horizon >= 0) & (by_horizon <= 1)).all()
    np.testing.assert_array_equal(by_horizon[:, -1], made.probabilities(values, as_of_us))
    unlikely = (by_horizon[:, -1] > 0.5) if awaits == "return" else (by_horizon[:, -1] < 0.5)
    days = found.next_event_days
    np.testing.assert_array_equal(np.isnan(days), np.repeat(unlikely[:, None], 3, axis=1))
    likely = days[~unlikely]
    assert (np.diff(likely, axis=1) >= 0).all()
    assert ((likely >= 0) & (likely <= 90)).all()
    assert (np.diff(found.value_minor, axis=2) >= 0).all()
    assert (found.value_minor >= 0).all()
    np.testing.assert_array_equal(found.expected_loss_minor, by_horizon[:, -1] * found.value_if_stays_minor)


def test_one_row_is_forecast_bit_for_bit_as_in_the_batch():
    values = world()[2]
    season = SeasonShift((0.3, -0.2, 0.1, 0.05), 0)
    chain = (Link(0.8, 0.3, season), Link(1.4, -0.2))
    made = model("return", BetaCalibrator(0.8, 1.2, -0.1), season, chain, np.linspace(-3, 3, 50)[None])
    many = made.forecast(values, 40 * DAY_US)
    names = [name for name in vars(many) if name != "horizons_days"]
    for row in range(0, values.shape[0], 3):
        one = made.forecast(values[row : row + 1], 40 * DAY_US)
        for name in names:
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(many, name)[row], err_msg=name)
        np.testing.assert_array_equal(made.margins(values[row : row + 1])[0], made.margins(values)[row])


def test_contributions_sum_to_the_margin_for_every_row():
    values = world()[2]
    made = model("return", BetaCalibrator(1.0, 1.0, 0.0), None, (Link(1, 0), Link(1, 0)), np.zeros((1, 2)))
    np.testing.assert_allclose(made.contributions(values).sum(axis=1), made.margins(values), atol=1e-6, rtol=0)
