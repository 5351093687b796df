"""Who is eligible: customers of whom a churn score means something; and how long a silence their own cycle allows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.instants import DAY_US
from features.tracks import NEVER_US, ORDER, Ints
from features.windows import counts, first_us, last_us
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings

__all__ = ["allowed_silence_us", "eligible", "known_customers"]


def eligible(view: CustomerView, as_of_us: int, settings: ChurnSettings) -> npt.NDArray[np.bool_]:
    """Whether the question may be asked about each customer, by what was recorded before as_of.

    They ordered in `[as_of - eligible_days, as_of)`, have `min_orders` orders, and are not gone already: for the kind
    `cycle` silent for longer than they may be, for `cancel` with a cancellation since their latest order. Who has been
    silent for longer has left already; scoring them would flatter any model.

    Returns:
        bool, shape (n_customers,).
    """
    found = _eligible(view, as_of_us, settings.problem)
    hidden = view.hidden_at(as_of_us)
    if hidden.size:
        found[hidden] = _eligible(view.select(hidden).known_at(as_of_us), as_of_us, settings.problem)
    return found


def known_customers(view: CustomerView, as_of_us: int) -> CustomerView:
    """The customers with at least one event that was known at as_of, and these events."""
    known = view.known_at(as_of_us)
    n_events = np.diff(known.offsets).reshape(-1, max(known.n_customers, 1)).sum(axis=0)
    return known.select(np.flatnonzero(n_events).astype(np.int64))


def allowed_silence_us(view: CustomerView, as_of_us: int, problem: ChurnProblem) -> Ints:
    """int64 (n,): the longest silence that is no churn for each customer, by what was recorded before as_of.

    `cycle_factor` times the own cycle: the mean time between the orders before as_of, held between the least and the
    most days; a customer with fewer than two orders has the cycle `cycle_first_days`.
    """
    found = _allowed_silence_us(view, as_of_us, problem)
    hidden = view.hidden_at(as_of_us)
    if hidden.size:
        found[hidden] = _allowed_silence_us(view.select(hidden).known_at(as_of_us), as_of_us, problem)
    return found


def _eligible(view: CustomerView, as_of_us: int, problem: ChurnProblem) -> npt.NDArray[np.bool_]:
    last = last_us(view, ORDER, as_of_us)
    found: npt.NDArray[np.bool_] = last >= as_of_us - problem.eligible_days * DAY_US
    if problem.min_orders > 1:
        found &= counts(view, ORDER, NEVER_US, as_of_us) >= problem.min_orders
    if problem.kind == "cycle":
        found &= as_of_us - last <= _allowed_silence_us(view, as_of_us, problem)
    if problem.kind == "cancel":
        found &= last_us(view, "cancel", as_of_us) <= last
    return found


def _allowed_silence_us(view: CustomerView, as_of_us: int, problem: ChurnProblem) -> Ints:
    gaps = counts(view, ORDER, NEVER_US, as_of_us) - 1
    span = last_us(view, ORDER, as_of_us) - first_us(view, ORDER, as_of_us)
    cycle = np.full(gaps.size, float(problem.cycle_first_days * DAY_US))
    np.divide(span, gaps, out=cycle, where=gaps > 0)
    bounded = np.clip(cycle, problem.cycle_least_days * DAY_US, problem.cycle_most_days * DAY_US)
    allowed: Ints = np.rint(problem.cycle_factor * bounded).astype(np.int64)
    return allowed
