"""Small worlds for tests of forecasts: few features, and laws of when and how much that are known."""

import numpy as np

from features.instants import DAY_US
from serving.calibration import sigmoid
from training.training_set import TrainingSet

NAMES = ("pull", "pace", "worth", "noise")


def shop(rng, n_customers, cutoffs=(0,), *, season=None, year_known=True):
    """Rows of a 90-day silence question at cut-offs given in days.

    Who returns is told by `pull`, `P(churned) = sigmoid(pull + season(day))`; when, by `pace`: T is exponential of mean
    `30 e^(pace / 2)` days, cut off at 90; how much, by `worth`, an amount itself: ln(amount / worth) is normal with
    deviation .5. Over 365 days it is three times as much, and half of those who churned buy after all.
    """
    n = n_customers * len(cutoffs)
    values = rng.normal(size=(n, len(NAMES)))
    values[:, 2] = np.exp(8 + values[:, 2])
    day = np.repeat(cutoffs, n_customers)
    shift = np.zeros(n) if season is None else season(day)
    labels = rng.random(n) < sigmoid(values[:, 0] + shift)
    mean = 30 * np.exp(values[:, 1] / 2)
    # the inverse of the distribution function, cut off at 90
    days = -mean * np.log1p(-rng.random(n) * -np.expm1(-90 / mean))
    amount = values[:, 2] * np.exp(0.5 * rng.normal(size=n))
    in_year = np.where(~labels | (rng.random(n) < 0.5), 3 * amount, 0.0)
    return TrainingSet(
        feature_names=NAMES,
        fingerprint="world",
        values=values,
        labels=labels,
        customer_rows=np.tile(np.arange(n_customers), len(cutoffs)),
        as_of_us=day.astype(np.int64) * DAY_US,
        weights=np.ones(n),
        event_days=np.where(labels, np.inf, np.minimum(days, 89.99)),
        value_minor=np.column_stack([np.where(labels, 0.0, amount), in_year if year_known else np.full(n, np.nan)]),
    )
