"""A churn model that also forecasts, with laws that can be worked out by hand; and segments to go with it."""

import math
from dataclasses import replace
from functools import cache

import lightgbm as lgb
import numpy as np

from features.churn_features import CHURN_FEATURES
from serving.behaviour import Behaviour
from serving.calibration import BetaCalibrator
from serving.churn_model import ChurnModel
from serving.conditional_quantity import ConditionalQuantity, Location
from serving.lifecycle import Lifecycle
from serving.linear_part import LinearPart
from serving.rfm import RfmScale
from serving.segments import Segmentation, Stability
from serving.timing import Link, Timing
from serving.trees import Trees
from serving.value import Value
from tests.tiny_shop import churn_model

HORIZONS = (30, 60, 90)
SPREAD = np.array([[-1.0, 0.0, 1.0]])
"""Residuals: the lowest, the median and the highest; between them straight lines."""

AMOUNTS_MINOR = {90: 6_000.0, 365: 20_000.0}
"""Medians of the amount of who orders at all."""


@cache
def forecasting_model(base: float = 0.0) -> ChurnModel:
    """The tiny shop's model; who returns does so after 45 days in the middle, and spends AMOUNTS_MINOR in the middle.

    The horizons are HORIZONS, the residuals SPREAD; nobody orders nothing less or more often than they churn.
    """
    plain = BetaCalibrator(1.0, 1.0, 0.0)
    windows = [Value(days, _around(math.log(amount)), plain) for days, amount in AMOUNTS_MINOR.items()]
    timing = Timing(HORIZONS, _around(0.0), (Link(1.0, 0.0), Link(1.0, 0.0)))
    return replace(churn_model(base), horizons_days=HORIZONS, timing=timing, value_windows=tuple(windows))


def two_segments() -> Segmentation:
    """Big spenders (s1) and bargain hunters (s2); fifths at 1, 2, 3 and 4; a usual cycle of 40 days."""
    fifths = np.arange(1.0, 5.0)
    behaviour = Behaviour(
        ("order_value", "discount"),
        np.array([8.0, 0.1]),
        np.array([2.0, 0.1]),
        np.array([[1.0, -1.0], [-1.0, 1.0]]),
        ({"en": "big spenders", "zh": "高客单价顾客"}, {"en": "bargain hunters", "zh": "偏爱折扣的顾客"}),
    )
    stability = Stability(0.4, 0.9, 0.85, 1_000)
    return Segmentation(RfmScale(fifths, fifths, fifths), Lifecycle(40.0), behaviour, stability, 0)


def _around(location: float) -> ConditionalQuantity:
    return ConditionalQuantity(
        Location(LinearPart(len(CHURN_FEATURES), 0.0, ()), _constant(location), 1.0), np.zeros(0), SPREAD
    )


def _constant(location: float) -> Trees:
    """One tree without a split."""
    names = tuple(CHURN_FEATURES.names)
    rows = np.random.default_rng(0).normal(size=(50, len(names)))
    parameters = {"objective": "regression", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 40}
    data = lgb.Dataset(rows, np.full(50, location), feature_name=list(names))
    return Trees(names, lgb.train(parameters, data, 1).model_to_string(), "regression")
