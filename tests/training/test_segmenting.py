import math

import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import NotEnoughDataError
from features.instants import DAY_US
from tests.churn_worlds import orders
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.segmenting import segment_customers

SETTINGS = ChurnSettings(problem=ChurnProblem(horizons_days=(30,), eligible_days=60))

WORLD = {
    "steady": [10, 40, 70, 100, 125],  # back within 30 days of day 100
    "gone": [10, 40, 70],  # silent
    "long ago": [1, 2],  # not asked: no order in 60 days
    "later": [130],  # not yet a customer
}


def test_groups_count_customers_known_then_and_churners_of_those_asked():
    found = segment_customers(orders(WORLD), CHURN_FEATURES, 101 * DAY_US, SETTINGS, observed_until_us=200 * DAY_US)

    whole = [row for row in found.rows if row.kind == "segment"]
    assert sum(row.n_customers for row in whole) == 3
    assert sum(row.n_judged for row in whole) == 2
    stages = {row.key: row for row in found.rows if row.kind == "stage"}
    # a cycle of 30 days: steady 1 day after the last order, gone 31, neither 45 late; one of the two came back
    assert (stages["active"].n_judged, stages["active"].churn_rate) == (2, 0.5)
    assert stages["lost"].n_judged == 0  # long ago: 99 days at a cycle of (30 + 1) / 2
    assert math.isnan(found.metrics()["segments.rand_mean"])
    assert found.metrics()["segments.count"] == 1.0


def test_label_window_must_be_observed():
    with pytest.raises(NotEnoughDataError):
        segment_customers(orders(WORLD), CHURN_FEATURES, 101 * DAY_US, SETTINGS, observed_until_us=120 * DAY_US)
