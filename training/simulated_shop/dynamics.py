"""The equations: when a living customer orders and browses, and how likely they are to leave, day by day.

The day loop draws from these probabilities and the oracle computes with them, so they are written once. Everything
here is a function of fixed traits, the calendar and what has happened in the open; nothing depends on the hidden
fact of having left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.simulated_shop.arrays import Floats, Ints
from training.simulated_shop.people import People
from training.simulated_shop.seasons import Calendar
from training.simulated_shop.settings import CAUSES, HazardSettings, SimulationSettings

__all__ = [
    "NPS_PER_DAY",
    "SUPPORT_PER_DAY",
    "Condition",
    "browse_probability",
    "cause_weights",
    "leaving_hazard",
    "order_probability",
    "tenure_factor",
]

SUPPORT_PER_DAY = 0.0025
"""Contacts without a cause (a question about an invoice), a customer-day."""
NPS_PER_DAY = 0.0010
"""Answers to a survey, a customer-day."""

_ORDER_CEILING = 0.6


@dataclass
class Condition:
    """What has happened to each customer so far, as it acts on the coming day. Arrays over customer rows."""

    days_since_order: Ints
    memory: Floats
    """Decayed severities of incidents, (n_customers, len(CAUSES))."""
    offer_hazard: Floats
    """Added to the log hazard by offers in force."""
    offer_order: Floats
    """Added to the log order probability by offers in force."""

    @classmethod
    def at_start(cls, people: People) -> Condition:
        """The condition on day 0, before anything was seen."""
        n = len(people.join_day)
        return cls(people.first_gap.copy(), np.zeros((n, len(CAUSES))), np.zeros(n), np.zeros(n))

    def end_day(self, ordered_rows: Ints, settings: SimulationSettings) -> None:
        """Turn to the next day: memories fade, one more day without an order except for those who ordered."""
        self.days_since_order += 1
        self.days_since_order[ordered_rows] = 1
        self.memory *= np.exp(-1.0 / np.asarray(settings.hazard.memory_days))
        self.offer_hazard *= np.exp(-1.0 / settings.offer.hazard_days)
        self.offer_order *= np.exp(-1.0 / settings.offer.order_days)


def order_probability(
    people: People, calendar: Calendar, day: int, days_since_order: Ints | Floats, offer_order: Floats
) -> Floats:
    """P(order on this day | still a customer): a renewal process around the customer's own cycle.

    `g(u) / cycle` with `u = days since order / cycle` and `g(u) = .30 + 1.3 / (1 + exp(-5 (u - .6)))`,
    times season and weekday, promotion (more for the price sensitive) and offers in force.
    Arrays may be (n,) or (n, states).
    """
    shape = (-1,) + (1,) * (days_since_order.ndim - 1)
    cycle = people.cycle_days.reshape(shape)
    pull = 0.30 + 1.3 / (1.0 + np.exp(-5.0 * (days_since_order / cycle - 0.6)))
    factor = calendar.order_factor[day] * np.exp(offer_order)
    if calendar.promotion[day]:
        factor = factor * (1.15 + 0.9 * people.price_sensitivity.reshape(shape))
    return np.asarray(np.minimum(pull / cycle * factor, _ORDER_CEILING), dtype=np.float64)


def browse_probability(people: People, days_since_order: Ints, hazard: Floats) -> Floats:
    """P(browsing session | still a customer): rises as the next order comes due, falls as the hazard rises."""
    due = 0.6 + 0.8 / (1.0 + np.exp(-5.0 * (days_since_order / people.cycle_days - 0.7)))
    return np.asarray(np.minimum(people.browse_rate * due / (1.0 + 60.0 * hazard), 0.5), dtype=np.float64)


def tenure_factor(settings: HazardSettings, tenure_days: Floats | Ints) -> Floats:
    """New customers are lost more easily: `1 + extra * exp(-tenure / tenure_days)`."""
    fading = np.exp(-np.maximum(tenure_days, 0) / settings.tenure_days)
    return np.asarray(1.0 + settings.new_customer_extra * fading, dtype=np.float64)


def cause_weights(settings: HazardSettings) -> Floats:
    """Daily hazard per unit of memory: mass spread over the memory's days."""
    keep = np.exp(-1.0 / np.asarray(settings.memory_days))
    return np.asarray(np.asarray(settings.mass) * (1.0 - keep), dtype=np.float64)


def leaving_hazard(people: People, settings: HazardSettings, day: int, condition: Condition) -> Floats:
    """P(leaving at the start of this day | still a customer), (n,)."""
    load = settings.base_per_day + condition.memory @ cause_weights(settings)
    tenure = tenure_factor(settings, day - people.join_day)
    hazard = people.frailty * tenure * load * np.exp(condition.offer_hazard)
    return np.asarray(np.minimum(hazard, settings.ceiling), dtype=np.float64)
