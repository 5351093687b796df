"""Visits: what is shown, viewed, put into the basket and ordered, through which channel and at what hour."""

from __future__ import annotations

import numpy as np

from features.instants import MINUTE_US, SECOND_US
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.baskets import Lines, draw_items, fill_baskets
from training.simulated_shop.contacts import plan_delivery
from training.simulated_shop.ledger import NONE, TOPICS
from training.simulated_shop.settings import CAUSES, CHANNELS
from training.simulated_shop.world import World

__all__ = ["hold_sessions"]

_STORE = CHANNELS.index("store")
_OUT_OF_STOCK = TOPICS.index("out_of_stock")
_STOCK_CAUSE = CAUSES.index("out_of_stock")
_COUPON_DAYS = 14
_N_SHOWN = 3


def hold_sessions(world: World, day: int, ordering: Ints, browsing: Ints) -> None:
    """The day's visits of customers who order (rows) and of those who only look (rows)."""
    rows = np.concatenate([ordering, browsing])
    if not len(rows):
        return
    n_orders = len(ordering)
    drawn = draw_items(world, rows, day)
    channel = _channel(world, rows, np.arange(len(rows)) < n_orders)
    start = _start(world, rows, day, channel)
    lines = fill_baskets(world, ordering, day, drawn[:n_orders])
    online = channel != _STORE
    _logins_and_impressions(world, day, rows[online], start[online], channel[online])
    _views(world, day, rows, start, channel, drawn, n_orders)
    _views_of_lines(world, rows, start, channel, lines)
    _stock_outs(world, day, rows, start, channel, lines)
    _purchases(world, day, ordering, start[:n_orders], channel[:n_orders], lines)


def _channel(world: World, rows: Ints, ordering: Flags) -> Ints:
    """By preference; those who only look do so online."""
    share = world.people.channel_share[rows].copy()
    share[~ordering, _STORE] = 0.0
    reached = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    drawn = (world.rng.random(len(rows))[:, None] > reached).sum(axis=1)
    return np.asarray(np.minimum(drawn, len(CHANNELS) - 1), np.int64)


def _start(world: World, rows: Ints, day: int, channel: Ints) -> Ints:
    hours = world.people.usual_hour[rows] + world.rng.normal(0, 2.0, len(rows))
    return world.moment(day, np.where(channel == _STORE, np.clip(hours, 9.0, 19.5), hours))


def _logins_and_impressions(world: World, day: int, rows: Ints, start: Ints, channel: Ints) -> None:
    rng = world.rng
    signed_in = rng.random(len(rows)) < 0.30
    world.ledger.add("login", rows[signed_in], start[signed_in] - 20 * SECOND_US, channel=channel[signed_in])
    shown = np.flatnonzero(rng.random(len(rows)) < 0.10)
    if not len(shown):
        return
    popular = np.argsort(-np.where(world.catalogue.in_stock[day], world.catalogue.popularity, -np.inf), kind="stable")
    items = popular[np.argsort(rng.random((len(shown), 60)), axis=1)[:, :_N_SHOWN]]
    number = world.n_recommendations + np.arange(len(shown))
    world.n_recommendations += len(shown)
    who = np.repeat(rows[shown], _N_SHOWN)
    when, through = np.repeat(start[shown], _N_SHOWN) - 10 * SECOND_US, np.repeat(channel[shown], _N_SHOWN)
    flat, named = items.ravel(), np.repeat(number, _N_SHOWN)
    world.ledger.add("impression", who, when, item=flat, channel=through, recommendation=named)
    liking = (world.people.taste[who] * world.catalogue.factors[flat]).sum(axis=1)
    seen = rng.random(len(who)) < 0.03 + 0.5 * np.maximum(liking, 0.0) ** 2
    clicked = {"item": flat[seen], "channel": through[seen], "recommendation": named[seen]}
    world.ledger.add("view", who[seen], when[seen] + 5 * SECOND_US, **clicked)


def _views(world: World, day: int, rows: Ints, start: Ints, channel: Ints, drawn: Ints, n_orders: int) -> None:
    """Looking around: 1 to 4 items without an order, up to 2 beside one; the first may be kept in mind or put aside."""
    rng, shelf = world.rng, world.shelf
    looking = np.arange(len(rows)) >= n_orders
    n_views = np.where(looking, 1 + rng.integers(0, 4, len(rows)), rng.integers(0, 3, len(rows)))
    n_views = np.where(channel == _STORE, 0, n_views)
    missing = ~world.catalogue.in_stock[day][drawn]
    for j in range(4):
        seen = np.flatnonzero(j < n_views)
        item, gone = drawn[seen, j], missing[seen, j]
        when = start[seen] + (j * 45 + rng.integers(0, 30, len(seen))) * SECOND_US
        topic = np.where(gone, _OUT_OF_STOCK, NONE)
        world.ledger.add("view", rows[seen], when, item=item, channel=channel[seen], topic=topic)
        world.incident(day, rows[seen[gone]], _STOCK_CAUSE, 1.0)
    mind = np.flatnonzero(looking & ~missing[:, 0] & (rng.random(len(rows)) < 0.7))
    shelf.interest[rows[mind]] = drawn[mind, 0]
    shelf.interest_day[rows[mind]] = day
    aside = mind[rng.random(len(mind)) < 0.25]
    world.ledger.add("cart", rows[aside], start[aside] + 4 * MINUTE_US, item=drawn[aside, 0], channel=channel[aside])


def _views_of_lines(world: World, rows: Ints, start: Ints, channel: Ints, lines: Lines) -> None:
    online = channel[lines.order] != _STORE
    rng = world.rng
    for kind, chance, after in (("view", 0.85, 5 * MINUTE_US), ("cart", 0.62, 9 * MINUTE_US)):
        seen = online & (rng.random(len(online)) < chance)
        order = lines.order[seen]
        when = start[order] + after + rng.integers(0, 180, len(order)) * SECOND_US
        world.ledger.add(kind, rows[order], when, item=lines.item[seen], channel=channel[order])


def _stock_outs(world: World, day: int, rows: Ints, start: Ints, channel: Ints, lines: Lines) -> None:
    """What was wanted in an order and was not there; seen in the store too (the assistant looks it up)."""
    order = lines.missed_order
    when = start[order] + 3 * MINUTE_US + world.rng.integers(0, 60, len(order)) * SECOND_US
    world.ledger.add("view", rows[order], when, item=lines.missed_item, channel=channel[order], topic=_OUT_OF_STOCK)
    world.incident(day, rows[order], _STOCK_CAUSE, 1.0)


def _purchases(world: World, day: int, rows: Ints, start: Ints, channel: Ints, lines: Lines) -> None:
    rng = world.rng
    number = world.n_orders + np.arange(len(rows))
    world.n_orders += len(rows)
    quantity = 1 + (rng.random(len(lines.order)) < 0.12) + (rng.random(len(lines.order)) < 0.04)
    listed = world.catalogue.price_minor[lines.item] * quantity
    discount = np.round(listed * _discount_share(world, rows, day)[lines.order]).astype(np.int64)
    when = start + 15 * MINUTE_US
    who = rows[lines.order]
    world.ledger.add(
        "purchase",
        who,
        when[lines.order],
        item=lines.item,
        order=number[lines.order],
        quantity=quantity,
        amount=listed - discount,
        discount=discount,
        channel=channel[lines.order],
    )
    plan_delivery(world, day, rows, number, channel, lines, listed - discount)


def _discount_share(world: World, rows: Ints, day: int) -> Floats:
    """Share of the list price not charged: promotion days, coupons of the price sensitive, a discount offer."""
    draw = world.rng.random((2, len(rows)))
    coupon = np.where(draw[0] < 0.05 + 0.30 * world.people.price_sensitivity[rows], 0.10, 0.0)
    promotion = np.where(world.calendar.promotion[day] & (draw[1] < 0.7), 0.20, 0.0)
    offered = np.where(day - world.shelf.coupon_day[rows] <= _COUPON_DAYS, 0.15, 0.0)
    return np.asarray(np.maximum(np.maximum(coupon, promotion), offered), dtype=np.float64)
