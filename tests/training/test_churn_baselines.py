import dataclasses

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.feature_set import FeatureSet
from features.instants import DAY_US
from tests.churn_worlds import NAMES, orders
from training.churn_baselines import fit_baselines, fit_bg_nbd_baselines, repeat_buying
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.lifetime.bg_nbd import fit_bg_nbd
from training.training_set import label_cutoff

PROBLEM = ChurnProblem(horizons_days=(30, 60), eligible_days=90)
SETTINGS = ChurnSettings(problem=PROBLEM)
AS_OF = 300 * DAY_US


def shop(n=600, seed=0):
    """Orders of customers who have a pace of their own and leave after an order with chance .1."""
    rng = np.random.default_rng(seed)
    bought = {}
    for customer in range(n):
        day, pace = rng.uniform(0, 200), 5 + rng.exponential(30)
        days = []
        while day < 400:
            days.append(round(day, 3))
            if rng.random() < 0.1:
                break
            day += rng.exponential(pace)
        bought[f"c{customer:04}"] = days
    return bought


@pytest.fixture(scope="module")
def view():
    return orders(shop())


@pytest.fixture(scope="module")
def calibration_set(view):
    return label_cutoff(view, CHURN_FEATURES, AS_OF, SETTINGS, observed_until_us=400 * DAY_US)


@pytest.fixture(scope="module")
def everybody(view):
    return repeat_buying(view, CHURN_FEATURES, AS_OF)


def test_bg_nbd_reads_repeat_orders_recency_and_age_of_everybody(view, everybody):
    histories = {key: [day for day in days if day < 300] for key, days in shop().items()}
    known = [days for days in histories.values() if days]
    x = np.array([len(days) - 1 for days in known])
    t_x = np.array([days[-1] - days[0] for days in known]) / 7
    age = np.array([300 - days[0] for days in known]) / 7
    by_hand = fit_bg_nbd(x, t_x, age)
    silent = fit_bg_nbd_baselines(everybody, label(view, AS_OF), PROBLEM)[1].probabilities(everybody_as_rows(view))
    np.testing.assert_allclose(silent[: len(known)], by_hand.probability_silent(x, t_x, age, 60 / 7), atol=1e-4)


def label(view, as_of_us):
    return label_cutoff(view, CHURN_FEATURES, as_of_us, SETTINGS, observed_until_us=400 * DAY_US)


def everybody_as_rows(view):
    """All customers who had ordered, in the order of their keys, with every feature."""
    from features.compute import compute

    table = compute(view, CHURN_FEATURES, AS_OF)
    return table.values[table.column("orders_count_all") > 0]


def test_published_is_not_calibrated_and_calibrated_keeps_the_ranking(everybody, calibration_set):
    calibrated, published = fit_bg_nbd_baselines(everybody, calibration_set, PROBLEM)
    assert (calibrated.name, published.name) == ("bg_nbd", "bg_nbd_published")
    said, raw = (b.probabilities(calibration_set.values) for b in (calibrated, published))
    assert np.array_equal(np.argsort(np.argsort(said)), np.argsort(np.argsort(raw)))
    assert said.mean() == pytest.approx(calibration_set.labels.mean(), abs=0.01)


def test_a_gap_before_the_window_lowers_nobodys_risk_to_a_shorter_silence(everybody, calibration_set):
    at_once, later = (
        fit_bg_nbd_baselines(everybody, calibration_set, dataclasses.replace(PROBLEM, gap_days=gap))[1]
        for gap in (0, 14)
    )
    values = calibration_set.values
    assert (later.probabilities(values) > at_once.probabilities(values)).all()  # some leave within the gap


def test_it_stands_beside_the_others_where_everybody_is_known(view, everybody, calibration_set):
    names = [b.name for b in fit_baselines(calibration_set, calibration_set, everybody, PROBLEM)]
    assert names == ["recency", "logistic", "bg_nbd", "bg_nbd_published"]
    assert [b.name for b in fit_baselines(calibration_set, calibration_set)] == ["recency", "logistic"]


def test_another_question_than_silence_has_no_published_probability(everybody, calibration_set):
    cycle = dataclasses.replace(PROBLEM, kind="cycle")
    assert [b.name for b in fit_bg_nbd_baselines(everybody, calibration_set, cycle)] == ["bg_nbd"]


def test_a_shop_where_nobody_ordered_twice_has_no_bg_nbd(calibration_set):
    once = orders({f"c{i}": [float(i)] for i in range(20)})
    assert fit_bg_nbd_baselines(repeat_buying(once, CHURN_FEATURES, AS_OF), calibration_set, PROBLEM) == ()


def test_a_feature_set_without_orders_has_no_bg_nbd(view):
    without = FeatureSet("few", tuple(f for f in CHURN_FEATURES if f.name != "orders_count_all"))
    assert len(without) == len(NAMES) - 1
    assert repeat_buying(view, without, AS_OF) is None
