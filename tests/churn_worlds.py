"""Small worlds for churn tests: rows with a known law, and histories of orders on chosen days."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.instants import DAY_US
from features.schema import EVENTS
from training.labels import VALUE_DAYS
from training.training_set import TrainingSet

NAMES = tuple(CHURN_FEATURES.names)
RECENCY = NAMES.index("orders_recency_days")
LATE = NAMES.index("late_deliveries_count_90d")


def true_log_odds(values):
    """The plain law: recency, and late deliveries after a long silence."""
    return (values[:, RECENCY] - 45) / 20 + 1.5 * values[:, LATE] * (values[:, RECENCY] > 60)


def crossed_log_odds(values):
    """A law that no sum of single effects can say: late deliveries turn their sign at 60 days of silence."""
    return (values[:, RECENCY] - 60) / 30 + np.where(values[:, RECENCY] < 60, 1.5, -1.5) * values[:, LATE]


def known_law(rng, n, cutoffs=(0,), shift=0.0, law=true_log_odds):
    """Labelled rows drawn by `law + shift`, the same customers at each cut-off."""
    parts = []
    for cutoff in cutoffs:
        values = rng.normal(size=(n, len(NAMES)))
        values[:, RECENCY] = rng.uniform(0, 120, n)
        values[:, LATE] = rng.poisson(0.5, n)
        labels = rng.random(n) < 1 / (1 + np.exp(-law(values) - shift))
        parts.append((values, labels, np.arange(n), np.full(n, cutoff * DAY_US)))
    values, labels, customers, as_of = (np.concatenate([part[i] for part in parts]) for i in range(4))
    return labelled(values, labels, customers, as_of)


def labelled(values, labels, customers, as_of, event_days=None, value_minor=None):
    """Rows of a 90-day silence question: who churned never orders, who stayed orders after 30 days; no money told."""
    n = labels.size
    return TrainingSet(
        NAMES,
        CHURN_FEATURES.fingerprint(),
        values,
        labels,
        customers,
        as_of,
        np.ones(n),
        np.where(labels, np.inf, 30.0) if event_days is None else event_days,
        np.full((n, len(VALUE_DAYS)), np.nan) if value_minor is None else value_minor,
    )


def orders(days_by_customer: Mapping[str, Sequence[float]], recorded_after: float = 0.0) -> CustomerView:
    """A view of one-line orders on the given days since 1970, each recorded `recorded_after` days later."""
    rows = [
        {
            "event_id": f"{customer}-{day}",
            "customer_key": customer,
            "occurred_at": round(day * DAY_US),
            "recorded_at": round((day + recorded_after) * DAY_US),
            "kind": "purchase",
            "item_id": "bread",
            "order_id": f"{customer}-{day}",
            "quantity": 1,
            "amount_minor": 500,
            "currency": "EUR",
        }
        for customer, days in days_by_customer.items()
        for day in days
    ]
    columns = {column.name: [row.get(column.name) for row in rows] for column in EVENTS.columns}
    return CustomerView.from_events(
        pa.table({name: pa.array(values, EVENTS.arrow.field(name).type) for name, values in columns.items()})
    )
