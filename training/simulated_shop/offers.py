"""Retention offers: sent at random, so that their true effect, which is known here, can also be measured."""

from __future__ import annotations

import numpy as np

from training.simulated_shop.arrays import Floats, Ints
from training.simulated_shop.ledger import TOPICS
from training.simulated_shop.people import People
from training.simulated_shop.settings import OFFER_KINDS
from training.simulated_shop.world import World

__all__ = ["offer_effects", "send_offers"]

_DISCOUNT = OFFER_KINDS.index("discount")


def offer_effects(people: People, memory: Floats) -> tuple[Floats, Floats]:
    """What each offer kind adds to the log hazard and to the log order probability at once, each (n, 4).

    Negative hazard is good. With s the price sensitivity, v the contact aversion (standard normal) and
    m = 1 - exp(-1.5 * what is remembered of incidents), all causes together:

    - discount: hazard .60 - 2.8 s + .25 v, orders 1.0 s
    - free shipping: hazard -.45 + .20 v, orders .20
    - apology call: hazard .35 - 2.4 m + .25 v, orders 0
    - recommendation e-mail: hazard -.25 + .60 v, orders .35 - .15 v

    Both fade with the days of OfferSettings. Where hazard is positive the customer is better left alone.
    """
    s, v = people.price_sensitivity, people.contact_aversion
    m = 1.0 - np.exp(-1.5 * memory.sum(axis=1))
    hazard = (0.60 - 2.8 * s + 0.25 * v, -0.45 + 0.20 * v, 0.35 - 2.4 * m + 0.25 * v, -0.25 + 0.60 * v)
    orders = (1.0 * s, np.full_like(s, 0.20), np.zeros_like(s), 0.35 - 0.15 * v)
    return np.stack(hazard, axis=1), np.stack(orders, axis=1)


def send_offers(world: World, day: int) -> None:
    """On a sending day, draw who gets which offer among those eligible (ordered lately, not in the hold-out).

    Every eligible customer is written into the history with their arm: 0 nothing, 1 + row of OFFER_KINDS otherwise.
    """
    settings = world.settings.offer
    if day < settings.first_day or (day - settings.first_day) % settings.every_days:
        return
    joined = (world.people.join_day < day) & ~world.people.in_holdout
    eligible = np.flatnonzero(joined & (world.condition.days_since_order <= settings.eligible_days))
    draw = world.rng.random(len(eligible))
    kind = world.rng.integers(0, len(OFFER_KINDS), len(eligible))
    arm = np.where(draw < settings.share, 1 + kind, 0)
    hazard, orders = offer_effects(world.people, world.condition.memory)
    treated = np.flatnonzero(arm > 0)
    first, second = np.zeros(len(eligible)), np.zeros(len(eligible))
    first[treated] = hazard[eligible[treated], kind[treated]]
    second[treated] = orders[eligible[treated], kind[treated]]
    number = world.n_offers_considered + np.arange(len(eligible))
    world.n_offers_considered += len(eligible)
    world.offers.add(day, eligible, arm, first, second)
    rows = eligible[treated]
    world.condition.offer_hazard[rows] += first[treated]
    world.condition.offer_order[rows] += second[treated]
    world.shelf.coupon_day[rows[kind[treated] == _DISCOUNT]] = day
    topic = np.asarray([TOPICS.index(name) for name in OFFER_KINDS])[kind[treated]]
    world.ledger.add("offer", rows, _office_hour(world, day, rows), topic=topic, decision=number[treated])


def _office_hour(world: World, day: int, rows: Ints) -> Ints:
    return world.moment(day, world.rng.uniform(9.0, 17.0, len(rows)))
