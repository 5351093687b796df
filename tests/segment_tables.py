"""Feature tables with a few columns only, for tests of segments: what is not given is that of a steady customer."""

import numpy as np

from features.compute import FeatureTable

STEADY = {
    "orders_recency_days": 10.0,
    "orders_count_365d": 12.0,
    "orders_count_all": 21.0,
    "orders_count_90d": 3.0,
    "orders_trend_90d": 0.0,
    "order_gap_mean_days_all": 30.0,
    "order_gap_last_ratio_all": 1.0,
    "order_value_minor_365d": 5_000.0,
    "items_distinct_365d": 24.0,
    "discount_share_365d": 0.1,
    "spend_minor_365d": 60_000.0,
    "tenure_days": 610.0,
    "views_count_90d": 20.0,
}
"""Twenty gaps of 30 days, the last order 10 days ago."""


def table_of(*customers, **columns):
    """A row for each mapping of differences from STEADY; or whole columns by name."""
    if columns:
        n = len(next(iter(columns.values())))
        customers = [{name: values[row] for name, values in columns.items()} for row in range(n)]
    rows = [{**STEADY, **differs} for differs in customers]
    keys = np.array([f"c{row}" for row in range(len(rows))], object)
    values = np.array([[row[name] for name in STEADY] for row in rows], np.float64).reshape(len(rows), len(STEADY))
    return FeatureTable(keys, 0, tuple(STEADY), values, "few columns")


NEVER_ORDERED = {
    "orders_recency_days": np.nan,
    "orders_count_365d": 0.0,
    "orders_count_all": 0.0,
    "orders_count_90d": 0.0,
    "orders_trend_90d": np.nan,
    "order_gap_mean_days_all": np.nan,
    "order_gap_last_ratio_all": np.nan,
    "order_value_minor_365d": np.nan,
    "items_distinct_365d": 0.0,
    "discount_share_365d": np.nan,
    "spend_minor_365d": 0.0,
    "tenure_days": np.nan,
}
