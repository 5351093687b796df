"""A world that follows the law of silence: customers with their own rates, troubles, and a moment of leaving."""

import numpy as np

from features.instants import DAY_US
from serving.attrition_law import LOADS, MEMORY_DAYS
from serving.latent_attrition import COUNTED
from training.training_set import TrainingSet

NAMES = (*COUNTED, *LOADS)
HORIZON_DAYS = 90
AT = 400
"""The day of the cut-off; customers come at even pace before."""


def silent_shop(rng, n, *, regularity=2, hazard=0.002, trouble=0.03):
    """The rows of one cut-off, and for each whether the customer had left by then, bool (n,).

    Gaps are Erlang with a mean of the customer's own, lognormal about 25 days; on other days they look in, one day in
    twenty. One order in ten comes late by two days, which adds `trouble` to the daily hazard, fading.
    """
    rows, gone, returned = [], [], []
    while len(rows) < n:
        mean, joined = 25 * np.exp(0.4 * rng.normal()), int(rng.integers(0, AT - 10))
        left, orders, visits, late = _life(rng, mean, joined, regularity, hazard, trouble)
        past = [day for day in orders if day < AT]
        if AT - past[-1] > 180:
            continue
        signs = sorted([day for day in {int(day) for day in visits} if day < AT])
        last = max(past[-1], signs[-1] if signs else 0)
        days = {int(day) for day in past} | set(signs)
        since_late = AT - max((day for day in late if day < AT), default=np.nan)
        load = sum(48.0 * np.exp(-(AT - day) / MEMORY_DAYS) for day in late if day < AT)
        gap = np.mean(np.diff(past)) if len(past) > 1 else np.nan
        rows.append(
            [len(past), gap, AT - joined, AT - past[-1], AT - last, len(days), since_late, 0.0, load, *[0.0] * 5]
        )
        gone.append(left < AT)
        returned.append(any(AT <= day < AT + HORIZON_DAYS for day in orders))
    labels = ~np.array(returned)
    return training_set(np.array(rows), labels), np.array(gone)


def training_set(values, labels):
    """Rows of one cut-off over NAMES."""
    n = len(labels)
    return TrainingSet(
        feature_names=NAMES,
        fingerprint="silence",
        values=np.asarray(values, dtype=np.float64),
        labels=labels,
        customer_rows=np.arange(n),
        as_of_us=np.full(n, AT * DAY_US),
        weights=np.ones(n),
        event_days=np.where(labels, np.inf, 30.0),
        value_minor=np.full((n, 2), np.nan),
    )


def _life(rng, mean, joined, regularity, hazard, trouble):
    """The day of leaving, the days of orders, of looking in, and of late deliveries."""
    day, orders, late, load = float(joined), [float(joined)], [], 0.0
    left = np.inf
    while day < AT + HORIZON_DAYS and left == np.inf:
        if rng.random() < 0.1:
            late.append(day)
            load += trouble
        gap = rng.gamma(regularity, mean / regularity)
        # the hazard over the gap: a base, and what fades
        total = rng.exponential()
        grid = np.linspace(0.0, gap, 40)
        summed = hazard * grid + load * MEMORY_DAYS * -np.expm1(-grid / MEMORY_DAYS)
        if summed[-1] > total:
            left = day + float(np.interp(total, summed, grid))
            break
        load *= np.exp(-gap / MEMORY_DAYS)
        day += gap
        orders.append(day)
    end = min(left, AT + HORIZON_DAYS)
    visits = joined + np.cumsum(rng.exponential(20.0, 60))
    return left, orders, visits[visits < end].tolist(), late
