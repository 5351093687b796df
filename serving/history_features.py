"""The features of customers from their histories at an instant, and what is known of each then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.tracks import NEVER_US

__all__ = ["Known", "known_at"]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one customer at an instant: feature values float64 (f,), events, and when the last happened."""

    values: npt.NDArray[np.float64]
    events_count: int
    last_event_us: int


def known_at(views: Sequence[CustomerView], as_of_us: int) -> dict[str, Known]:
    """By customer; a customer without an event known then is left out."""
    if not views:
        return {}
    view = views[0] if len(views) == 1 else CustomerView.union(views)
    counts, last_us = _events(view, as_of_us)
    if not counts.any():
        return {}
    values = compute(view, CHURN_FEATURES, as_of_us).values
    return {
        key: Known(values[row], int(counts[row]), int(last_us[row]))
        for row, key in enumerate(view.customer_keys.tolist())
        if counts[row]
    }


def _events(view: CustomerView, as_of_us: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """int64 (n,) twice: how many events of each customer were known at `as_of`, and when the last one happened."""
    n, end = view.n_customers, len(view)
    rows = np.repeat(np.arange(view.offsets.size - 1) % n, np.diff(view.offsets))[:end]
    known = (view.occurred_us[:end] < as_of_us) & (view.recorded_us[:end] < as_of_us)
    rows, occurred_us = rows[known], view.occurred_us[:end][known]
    order = np.lexsort((occurred_us, rows))
    last_us = np.full(n, NEVER_US, np.int64)
    last_us[rows[order]] = occurred_us[order]  # the last one written to a place stays
    return np.bincount(rows, minlength=n), last_us
