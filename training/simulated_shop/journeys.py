"""The day loop: who leaves, who orders, who looks around, and what becomes of it, for all customers at once."""

from __future__ import annotations

import numpy as np

from training.simulated_shop.arrays import Floats, Ints
from training.simulated_shop.catalogue import Catalogue
from training.simulated_shop.contacts import answer_surveys, ask_support, deliver, try_items
from training.simulated_shop.dynamics import (
    NPS_PER_DAY,
    SUPPORT_PER_DAY,
    Condition,
    browse_probability,
    cause_weights,
    leaving_hazard,
    order_probability,
)
from training.simulated_shop.ledger import TOPICS
from training.simulated_shop.offers import send_offers
from training.simulated_shop.people import People
from training.simulated_shop.seasons import Calendar
from training.simulated_shop.sessions import hold_sessions
from training.simulated_shop.settings import SimulationSettings
from training.simulated_shop.world import Shelf, World

__all__ = ["run"]


def run(
    settings: SimulationSettings, catalogue: Catalogue, people: People, calendar: Calendar, rng: np.random.Generator
) -> World:
    """Let all days pass, and return the world as it is at the end."""
    n = len(people.join_day)
    world = World(
        settings=settings,
        catalogue=catalogue,
        people=people,
        calendar=calendar,
        rng=rng,
        condition=Condition.at_start(people),
        shelf=Shelf.empty(n, len(catalogue.item_ids)),
        left_day=np.full(n, -1, dtype=np.int64),
        cause=np.full(n, -1, dtype=np.int64),
    )
    for day in range(settings.days):
        _live_through(world, day)
    return world


def _live_through(world: World, day: int) -> None:
    """One day. All probabilities follow from the condition at its start; what happens acts from tomorrow on."""
    people, condition, rng = world.people, world.condition, world.rng
    hazard = leaving_hazard(people, world.settings.hazard, day, condition)
    orders = order_probability(people, world.calendar, day, condition.days_since_order, condition.offer_order)
    browses = browse_probability(people, condition.days_since_order, hazard)
    draw = rng.random((5, len(hazard)))
    here = (people.join_day < day) & (world.left_day < 0)
    leaving = np.flatnonzero(here & (draw[0] < hazard))
    _leave(world, day, leaving)
    here[leaving] = False
    first = people.join_day == day
    ordering = np.flatnonzero((here & (draw[1] < orders)) | first)
    looking = here & (draw[2] < browses)
    looking[ordering] = False
    browsing = np.flatnonzero(looking)
    hold_sessions(world, day, ordering, browsing)
    asking = np.flatnonzero(here & (draw[3] < SUPPORT_PER_DAY))
    topic = rng.integers(TOPICS.index("payment"), TOPICS.index("account") + 1, len(asking))
    ask_support(world, day, asking, topic, world.moment(day, rng.uniform(8.0, 20.0, len(asking))))
    surveyed = np.flatnonzero(here & (draw[4] < NPS_PER_DAY))
    answer_surveys(world, day, surveyed)
    deliver(world, day)
    trying = try_items(world, day)
    send_offers(world, day)
    world.orders.add(day, ordering)
    world.evidence.add(day, np.concatenate([browsing, surveyed, trying]))
    condition.end_day(ordering, world.settings)


def _leave(world: World, day: int, rows: Ints) -> None:
    """Customers go; the cause is what adds most to their hazard, -1 where that is the everyday base."""
    world.left_day[rows] = day
    settings = world.settings.hazard
    load: Floats = world.condition.memory[rows] * cause_weights(settings)
    if len(rows):
        world.cause[rows] = np.where(load.max(axis=1) > settings.base_per_day, load.argmax(axis=1), -1)
    cancels = rows[world.rng.random(len(rows)) < settings.cancel_share]
    world.ledger.add("cancel", cancels, world.moment(day, world.rng.uniform(9.0, 21.0, len(cancels))))
    world.cancels.add(day, cancels)
