"""What happens after an order and in between: deliveries, disappointment, support, satisfaction, reviews."""

from __future__ import annotations

import numpy as np

from features.instants import HOUR_US, MINUTE_US
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.baskets import Lines
from training.simulated_shop.ledger import NONE, TOPICS
from training.simulated_shop.people import CARRIER_LATE_SHARE
from training.simulated_shop.settings import CAUSES, CHANNELS
from training.simulated_shop.words import sentence_codes
from training.simulated_shop.world import World

__all__ = ["answer_surveys", "ask_support", "deliver", "plan_delivery", "try_items"]

_STORE = CHANNELS.index("store")
_LATE, _UNANSWERED, _, _MATCH, _WAIT, _CSAT = range(len(CAUSES))
_UNANSWERED_SHARE = 0.13
_WAIT_THAT_HURTS_MINUTES = 120


def plan_delivery(world: World, day: int, rows: Ints, number: Ints, channel: Ints, lines: Lines, amount: Ints) -> None:
    """Decide when the day's orders will arrive, how late, and what customers will then think of the items.

    `amount` (n_lines,) is what was paid for each line. What is bought in the store is taken home at once.
    """
    rng = world.rng
    chance = np.asarray(CARRIER_LATE_SHARE)[world.people.country[rows]] * world.calendar.busy[day]
    sent = channel != _STORE
    is_late = sent & (rng.random(len(rows)) < chance)
    hours = np.where(is_late, 6 + rng.gamma(1.6, 34.0, len(rows)), -rng.exponential(7.0, len(rows)))
    hours = np.clip(np.round(hours), -36, 400).astype(np.int64)
    promised = np.where(sent, rng.integers(2, 5, len(rows)), 0)
    arrives = day + promised + np.where(is_late, hours // 24, 0)
    columns = {"row": rows[sent], "order": number[sent], "channel": channel[sent], "hours": hours[sent]}
    world.agenda.put("delivery", arrives[sent], columns)
    disappointed = rng.random(len(lines.order)) < _disappointment(world, rows[lines.order], lines.item)
    returned = rng.random(len(lines.order)) < np.where(disappointed, 0.70, 0.02)
    reviewed = rng.random(len(lines.order)) < np.where(disappointed, 0.55, 0.05)
    stars = _stars(world, disappointed, is_late[lines.order])
    kept = disappointed | returned | reviewed
    columns = {
        "row": rows[lines.order],
        "order": number[lines.order],
        "item": lines.item,
        "amount": amount,
        "channel": channel[lines.order],
        "disappointed": disappointed.astype(np.int64),
        "returned": returned.astype(np.int64),
        "stars": np.where(reviewed, stars, 0),
        "late": is_late[lines.order].astype(np.int64),
    }
    tried = arrives[lines.order] + rng.integers(1, 6, len(lines.order))
    world.agenda.put("trial", tried[kept], {key: values[kept] for key, values in columns.items()})


def _disappointment(world: World, rows: Ints, items: Ints) -> Floats:
    """P(the item turns out wrong), (n,): off-taste or of poor quality."""
    match = (world.people.taste[rows] * world.catalogue.factors[items]).sum(axis=1)
    poor = np.maximum(-world.catalogue.quality[items] - 0.8, 0.0)
    return np.asarray(0.012 + 0.20 * np.clip(0.45 - match, 0.0, 1.0) + 0.06 * poor, dtype=np.float64)


def _stars(world: World, disappointed: Flags, late: Flags) -> Ints:
    draw = world.rng.random(len(disappointed))
    good = np.where(draw < 0.55, 5, np.where(draw < 0.85, 4, 3)) - (late & (draw > 0.3))
    return np.asarray(np.where(disappointed, np.where(draw < 0.6, 1, 2), good), dtype=np.int64)


def deliver(world: World, day: int) -> None:
    """Parcels of the day arrive, also with those who have left; who still is a customer may complain of lateness."""
    due = world.agenda.take("delivery", day)
    if due is None:
        return
    rows, hours = due["row"], due["hours"]
    when = world.moment(day, world.rng.uniform(8.0, 19.0, len(rows)))
    world.ledger.add("delivery", rows, when, order=due["order"], channel=due["channel"], value=hours)
    late = np.flatnonzero((hours > 0) & world.is_customer(rows))
    world.incident(day, rows[late], _LATE, np.clip(hours[late] / 48.0, 0.25, 2.5))
    complains = late[world.rng.random(len(late)) < np.minimum(0.25 + hours[late] / 200.0, 0.7)]
    ask_support(world, day, rows[complains], TOPICS.index("late_delivery"), when[complains] + HOUR_US)


def try_items(world: World, day: int) -> Ints:
    """Customers try what they bought: returns, reviews, disappointment. The rows of those who were seen today."""
    due = world.agenda.take("trial", day)
    if due is None:
        return np.zeros(0, dtype=np.int64)
    rng = world.rng
    here = world.is_customer(due["row"])
    due = {key: values[here] for key, values in due.items()}
    rows, wrong = due["row"], due["disappointed"] == 1
    world.incident(day, rows[wrong], _MATCH, 1.0)
    when = world.moment(day, rng.uniform(8.0, 21.0, len(rows)))
    back, words = due["returned"] == 1, due["stars"] > 0
    reason = np.where(wrong, TOPICS.index("not_as_expected"), TOPICS.index("changed_mind"))
    world.ledger.add(
        "return", rows[back], when[back], item=due["item"][back], order=due["order"][back], quantity=1,
        amount=due["amount"][back], channel=due["channel"][back], topic=reason[back],
    )  # fmt: skip
    text = sentence_codes(np.maximum(due["stars"], 1), due["late"] == 1, rng)
    text = np.where(rng.random(len(text)) < 0.85, text, NONE)
    world.ledger.add(
        "review", rows[words], when[words] + 5 * MINUTE_US, item=due["item"][words], order=due["order"][words],
        value=due["stars"][words], text=text[words],
    )  # fmt: skip
    asks = wrong & (rng.random(len(rows)) < 0.15)
    ask_support(world, day, rows[asks], TOPICS.index("product"), when[asks] + 20 * MINUTE_US)
    return np.asarray(rows[back | words | asks])


def ask_support(world: World, day: int, rows: Ints, topic: Ints | int, when: Ints) -> None:
    """Contacts with support (rows who still are customers): waiting, sometimes no answer ever, sometimes a mark.

    A contact that was never answered has topic `complaint_unanswered` and no value.
    """
    if not len(rows):
        return
    rng = world.rng
    busy = world.calendar.busy[day]
    ignored = rng.random(len(rows)) < np.minimum(_UNANSWERED_SHARE * busy, 0.4)
    wait = np.minimum(np.round(rng.lognormal(np.log(40.0), 1.2, len(rows)) * busy), 2_880).astype(np.int64)
    subject = np.where(ignored, TOPICS.index("complaint_unanswered"), topic)
    channel = rng.integers(0, 2, len(rows))
    world.ledger.add("support", rows, when, topic=subject, value=np.where(ignored, NONE, wait), channel=channel)
    world.evidence.add(day, rows)
    world.n_contacts += len(rows)
    world.incident(day, rows[ignored], _UNANSWERED, 1.0)
    long = ~ignored & (wait > _WAIT_THAT_HURTS_MINUTES)
    world.incident(day, rows[long], _WAIT, np.clip(wait[long] / 360.0, 0.0, 1.5))
    answers = ~ignored & (rng.random(len(rows)) < 0.45)
    mood = 4.6 - wait[answers] / 200.0 + rng.normal(0, 0.9, int(answers.sum()))
    points = np.clip(np.round(mood), 1, 5).astype(np.int64)
    asked = np.minimum(when[answers] + 10 * MINUTE_US, world.day_us(day + 1) - MINUTE_US)
    world.ledger.add("csat", rows[answers], asked, value=points)
    poor = points <= 2
    world.incident(day, rows[answers][poor], _CSAT, np.where(points[poor] == 1, 1.0, 0.6))


def answer_surveys(world: World, day: int, rows: Ints) -> None:
    """NPS of these customers: lower the more they remember of incidents."""
    load = world.condition.memory[rows].sum(axis=1)
    points = np.clip(np.round(8.6 - 2.2 * load + world.rng.normal(0, 1.5, len(rows))), 0, 10).astype(np.int64)
    world.ledger.add("nps", rows, world.moment(day, world.rng.uniform(9.0, 21.0, len(rows))), value=points)
