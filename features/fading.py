"""Sums whose events fade with their age: what weighs on a customer now of all that happened to them.

The exponential is the one transcendental function among the features. NumPy works it out for each element of a
contiguous array by the same instructions, whatever the array's length, and each customer's terms are added one after
the other in order of time, so one customer alone has the same bits as among all; tests hold it to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.expressions import Floats, Moment
from features.instants import DAY_US

__all__ = ["MEMORIES", "Fading"]

MEMORIES = 12
"""How many memories back a fading sum reaches; beyond, an event would weigh less than a hundred-thousandth."""


@dataclass(frozen=True)
class Fading:
    """The sum of `column * exp(-age_days / memory_days)` over the events of a track; never missing, 0 without events.

    The window is `[as_of - 12 * memory_days, as_of)`: an older event would weigh less than exp(-12) = 6e-6 and is left
    out. `column` is of integers or booleans; without one every event counts as 1.
    """

    track: str
    column: str | None = None
    memory_days: int = 30

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        events = moment.view.track(self.track)
        n = moment.view.n_customers
        if not len(events):
            return np.zeros(n)
        if self.column is None:
            places, values = np.arange(len(events)), np.ones(len(events), np.int64)
        else:
            places, values = events.where(self.column)
        age_us = moment.as_of_us - events.occurred_us[places]
        inside = ((age_us > 0) & (age_us <= MEMORIES * self.memory_days * DAY_US)).nonzero()[0]
        if not inside.size:
            return np.zeros(n)
        places = places[inside]
        weights = np.exp(age_us[inside] / (-self.memory_days * DAY_US))
        weights *= values[inside]
        return np.bincount(events.customer_rows[places], weights, minlength=n).astype(np.float64, copy=False)
