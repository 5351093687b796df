"""The best possible forecast: who knows every trait and every equation, but not who has silently left.

The oracle replays what happened in the open, day by day, with a forward filter for P(still a customer), and then
runs the renewal process forward. A model that learns from events alone can approach it and cannot be expected to
beat it by more than noise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from features.errors import TimeError
from features.instants import DAY_US, format_instant
from training.simulated_shop.arrays import Floats, Ints
from training.simulated_shop.dynamics import (
    NPS_PER_DAY,
    SUPPORT_PER_DAY,
    Condition,
    browse_probability,
    cause_weights,
    leaving_hazard,
    order_probability,
    tenure_factor,
)
from training.simulated_shop.offers import offer_effects
from training.simulated_shop.people import CARRIER_LATE_SHARE, People
from training.simulated_shop.seasons import DAYS_BEYOND_END
from training.simulated_shop.settings import CAUSES, OFFER_KINDS
from training.simulated_shop.truth import Truth

__all__ = ["day_of", "hazard_by_cause", "oracle_churn_probability", "oracle_churn_under", "true_offer_effects"]

_ARRIVAL_DAYS = 4
"""Days after an order on which its expected incidents are counted."""


@dataclass(frozen=True)
class _Belief:
    condition: Condition
    alive: Floats
    """P(still a customer at the start of the day | everything seen before it), (n_customers,); 0 before joining."""


def oracle_churn_probability(
    truth: Truth, as_of_us: int, gap_days: int, label_window_days: int
) -> tuple[list[str], Floats]:
    """P(no order in [as_of + gap, as_of + gap + label_window) | true traits, all that was seen before as_of).

    Returns the ids of the customers who had joined before `as_of` (or before the start) and their probabilities,
    shape (n,), in the order of customer rows.

    The filter, for h the hazard, c the share of leavers who cancel, q = P(no sign of life | still a customer):
    a <- a (1 - h) / (1 - a h c), then 1 after a sign of life, 0 after a cancel, else a q / (a q + 1 - a).
    The future is exact for orders; incidents to come enter by their means.

    Source: forward algorithm of a hidden Markov model, Rabiner 1989, equations 19-21.

    Raises:
        TimeError: as_of is not a midnight in UTC within the simulated time, or the window ends beyond the calendar.
    """
    day = day_of(truth, as_of_us, gap_days + label_window_days)
    belief = _replay(truth, day)
    rows = np.flatnonzero(truth.people.join_day < day)
    probability = _no_order(truth, belief, rows, day, gap_days, label_window_days)
    return [truth.customer_ids[row] for row in rows], probability


def true_offer_effects(
    truth: Truth, as_of_us: int, gap_days: int, label_window_days: int
) -> tuple[list[str], Floats, Floats]:
    """What each offer, sent at as_of, would do to P(no order in [as_of + gap, as_of + gap + label_window)).

    Returns ids, the probability without an offer (n,), and effect_abs (n, len(OFFER_KINDS)): probability with the
    offer minus without; negative is good, positive means better left alone.

    Raises:
        TimeError: as in `oracle_churn_probability`.
    """
    day = day_of(truth, as_of_us, gap_days + label_window_days)
    belief = _replay(truth, day)
    rows = np.flatnonzero(truth.people.join_day < day)
    without = _no_order(truth, belief, rows, day, gap_days, label_window_days)
    hazard, orders = offer_effects(truth.people, belief.condition.memory)
    effects = np.empty((len(rows), len(OFFER_KINDS)))
    for kind in range(len(OFFER_KINDS)):
        condition = dataclasses.replace(
            belief.condition,
            offer_hazard=belief.condition.offer_hazard + hazard[:, kind],
            offer_order=belief.condition.offer_order + orders[:, kind],
        )
        offered = dataclasses.replace(belief, condition=condition)
        effects[:, kind] = _no_order(truth, offered, rows, day, gap_days, label_window_days) - without
    return [truth.customer_ids[row] for row in rows], without, effects


def oracle_churn_under(
    truth: Truth, as_of_us: int, customer_rows: Ints, log_hazard: Floats, log_orders: Floats, label_window_days: int
) -> Floats:
    """P(no order in [as_of, as_of + label_window)) of each customer, (n,), if something is done to them at as_of.

    Args:
        truth: of the shop.
        as_of_us: a midnight.
        customer_rows: (n,), distinct, joined before as_of.
        log_hazard: (n,), added to the log hazard of leaving; fades like that of an offer.
        log_orders: (n,), added to the log order probability; fades like that of an offer.
        label_window_days: length of the window.

    Raises:
        TimeError: as in `oracle_churn_probability`.
    """
    day = day_of(truth, as_of_us, label_window_days)
    belief = _replay(truth, day)
    condition = belief.condition
    condition.offer_hazard[customer_rows] += log_hazard
    condition.offer_order[customer_rows] += log_orders
    return _no_order(truth, belief, customer_rows, day, 0, label_window_days)


def hazard_by_cause(truth: Truth, as_of_us: int) -> Floats:
    """The parts of the daily hazard at as_of, (n_customers, 1 + len(CAUSES)): the everyday base, then CAUSES.

    The parts sum to the hazard (below its ceiling) of who still is a customer.

    Raises:
        TimeError: as_of is not a midnight in UTC within the simulated time.
    """
    day = day_of(truth, as_of_us, 0)
    condition = _replay(truth, day).condition
    settings = truth.settings.hazard
    base = np.full((len(truth.customer_ids), 1), settings.base_per_day)
    parts = np.concatenate([base, condition.memory * cause_weights(settings)], axis=1)
    factor = truth.people.frailty * tenure_factor(settings, day - truth.people.join_day)
    return np.asarray(parts * (factor * np.exp(condition.offer_hazard))[:, None], dtype=np.float64)


def day_of(truth: Truth, as_of_us: int, days_ahead: int) -> int:
    """The day since the start that begins at as_of.

    Raises:
        TimeError: as_of is not a midnight in UTC within the simulated time, or `days_ahead` is beyond the calendar.
    """
    settings = truth.settings
    day, rest = divmod(as_of_us - settings.start_us, DAY_US)
    if rest or not 0 <= day <= settings.days:
        first, last = format_instant(settings.start_us), format_instant(settings.end_us)
        raise TimeError(f"as_of of the oracle must be a midnight in UTC from {first} to {last}")
    if day + days_ahead > settings.days + DAYS_BEYOND_END:
        raise TimeError(f"the oracle looks at most {DAYS_BEYOND_END} days beyond the end; shorten the window")
    return int(day)


def _replay(truth: Truth, until: int) -> _Belief:
    people, settings = truth.people, truth.settings
    condition = Condition.at_start(people)
    alive = (people.join_day < 0).astype(np.float64)
    for day in range(until):
        hazard = leaving_hazard(people, settings.hazard, day, condition)
        orders = order_probability(people, truth.calendar, day, condition.days_since_order, condition.offer_order)
        browses = browse_probability(people, condition.days_since_order, hazard)
        silent = (1 - orders) * (1 - browses) * (1 - SUPPORT_PER_DAY) * (1 - NPS_PER_DAY)
        alive = alive * (1 - hazard) / (1 - alive * hazard * settings.hazard.cancel_share)
        alive = alive * silent / (alive * silent + 1 - alive)
        ordered = truth.orders.row[truth.orders.on(day)]
        alive[ordered] = 1.0
        alive[truth.evidence.row[truth.evidence.on(day)]] = 1.0
        alive[truth.cancels.row[truth.cancels.on(day)]] = 0.0
        happened = truth.incidents.on(day)
        cell = (truth.incidents.row[happened], truth.incidents.code[happened])
        np.add.at(condition.memory, cell, truth.incidents.amounts[happened, 0])
        sent = truth.offers.on(day)
        condition.offer_hazard[truth.offers.row[sent]] += truth.offers.amounts[sent, 0]
        condition.offer_order[truth.offers.row[sent]] += truth.offers.amounts[sent, 1]
        condition.end_day(ordered, settings)
    return _Belief(condition, alive)


def _no_order(truth: Truth, belief: _Belief, rows: Ints, day: int, gap_days: int, label_window_days: int) -> Floats:
    """P(no order in the window), (len(rows),). State 0: no order since as_of; state j: ordered on gap day j - 1."""
    people = truth.people.select(rows)
    since = belief.condition.days_since_order[rows]
    mass = np.zeros((len(rows), gap_days + 1))
    mass[:, 0] = belief.alive[rows]
    ordered_in_window = np.zeros(len(rows))
    future = _Future(truth, belief.condition, rows, people, day)
    fade = np.exp(-1.0 / truth.settings.offer.order_days)
    for ahead in range(gap_days + label_window_days):
        n_states = min(ahead, gap_days) + 1
        days_since = np.empty((len(rows), n_states), dtype=np.int64)
        days_since[:, 0] = since + ahead
        days_since[:, 1:] = ahead - np.arange(n_states - 1)
        offer = (belief.condition.offer_order[rows] * fade**ahead)[:, None]
        chance = order_probability(people, truth.calendar, day + ahead, days_since, offer)
        living = mass[:, :n_states] * (1.0 - future.hazard(ahead, days_since))
        ordering = (living * chance).sum(axis=1)
        mass[:, :n_states] = living * (1.0 - chance)
        if ahead < gap_days:
            mass[:, ahead + 1] = ordering
        else:
            ordered_in_window += ordering
    return np.asarray(np.clip(1.0 - ordered_in_window, 0.0, 1.0), dtype=np.float64)


class _Future:
    """The hazard of the coming days, with incidents to come at their means."""

    def __init__(self, truth: Truth, condition: Condition, rows: Ints, people: People, day: int) -> None:
        settings, intake = truth.settings.hazard, truth.intake
        self._truth, self._people, self._day = truth, people, day
        self._keep = np.exp(-1.0 / np.asarray(settings.memory_days))
        self._weight = cause_weights(settings)
        self._memory = condition.memory[rows] * self._weight
        self._offer = condition.offer_hazard[rows]
        self._pending = condition.days_since_order[rows] <= _ARRIVAL_DAYS
        late = np.asarray(CARRIER_LATE_SHARE)[people.country]
        carrier = late / np.asarray(CARRIER_LATE_SHARE)[truth.people.country].mean()
        per_order = np.tile(intake.per_order, (len(rows), 1))
        per_order[:, CAUSES.index("late_delivery")] *= carrier
        self._per_order = per_order * self._weight
        self._steady = (people.browse_rate[:, None] * intake.per_session + intake.per_day) * self._weight

    def hazard(self, ahead: int, days_since_order: Ints) -> Floats:
        """P(leaving on the day `ahead` days after as_of), (n, states)."""
        settings = self._truth.settings
        faded = self._keep**ahead
        load = settings.hazard.base_per_day + self._memory @ faded
        load = load + self._steady @ ((1.0 - faded) / (1.0 - self._keep))
        states = np.repeat(load[:, None], days_since_order.shape[1], axis=1)
        states[:, 0] += np.where(self._pending, self._of_order(days_since_order[:, 0]), 0.0)
        for state in range(1, days_since_order.shape[1]):
            states[:, state] += self._of_order(days_since_order[:, state])
        tenure = tenure_factor(settings.hazard, self._day + ahead - self._people.join_day)
        offer = np.exp(self._offer * np.exp(-ahead / settings.offer.hazard_days))
        factor = self._people.frailty * tenure * offer
        return np.asarray(np.minimum(states * factor[:, None], settings.hazard.ceiling), dtype=np.float64)

    def _of_order(self, days_since: Ints) -> Floats:
        """What the incidents expected of one order add to the load, (n,)."""
        lag = (days_since - _ARRIVAL_DAYS)[:, None]
        faded = np.where(lag >= 0, self._keep ** np.maximum(lag, 0), 0.0)
        return np.asarray((self._per_order * faded).sum(axis=1), dtype=np.float64)
