"""Which items: taste, popularity, price, season, what is at home, what was looked at, and what is out of stock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.catalogue import Catalogue
from training.simulated_shop.people import People
from training.simulated_shop.settings import SimulationSettings
from training.simulated_shop.world import World

__all__ = ["N_DRAWS", "OWNED_PENALTY", "PRICE_WEIGHT", "Lines", "affinity", "draw_items", "fill_baskets"]

N_DRAWS = 6
MAX_LINES = 5
_INTEREST_DAYS = 28
OWNED_PENALTY = 3.0
PRICE_WEIGHT = 2.0


@dataclass(frozen=True)
class Lines:
    """The lines of the day's orders, by order; and what was wanted but could not be bought."""

    order: Ints
    """Row of the order among the day's orders."""
    item: Ints
    missed_order: Ints
    missed_item: Ints


def affinity(people: People, catalogue: Catalogue, settings: SimulationSettings, rows: Ints, items: Ints) -> Floats:
    """The fixed log weight of items for customers, (len(rows), len(items)): taste, popularity and price."""
    liking = people.taste[rows] @ catalogue.factors[items].T
    weight = settings.taste_strength * liking + catalogue.popularity[items]
    weight -= PRICE_WEIGHT * people.price_sensitivity[rows, None] * catalogue.relative_price[items]
    return np.asarray(weight, dtype=np.float64)


def draw_items(world: World, rows: Ints, day: int) -> Ints:
    """Items that come to mind in a session, (len(rows), N_DRAWS).

    Column 0, 2, 4 are drawn by weight; column 1 is often a neighbour of 0, column 3 a complement of 0.
    """
    rng, catalogue = world.rng, world.catalogue
    items = np.arange(len(catalogue.item_ids))
    weight = affinity(world.people, catalogue, world.settings, rows, items)
    weight += catalogue.season[world.calendar.month[day]]
    weight -= OWNED_PENALTY * world.shelf.owned[rows]
    weight -= weight.max(axis=1, keepdims=True)
    reached = np.cumsum(np.exp(weight), axis=1)
    reached /= reached[:, -1:]
    place = np.arange(len(rows))[:, None]
    target = rng.random((len(rows), N_DRAWS)) + place
    found = np.searchsorted((reached + place).ravel(), target.ravel(), side="right").reshape(target.shape)
    drawn = np.minimum(found - place * len(items), len(items) - 1)
    near = catalogue.neighbours[drawn[:, 0], rng.integers(0, catalogue.neighbours.shape[1], len(rows))]
    goes_with = catalogue.complements[drawn[:, 0], rng.integers(0, catalogue.complements.shape[1], len(rows))]
    drawn[:, 1] = np.where(rng.random(len(rows)) < 0.45, near, drawn[:, 1])
    drawn[:, 3] = np.where(rng.random(len(rows)) < 0.30, goes_with, drawn[:, 3])
    return np.asarray(drawn, dtype=np.int64)


def fill_baskets(world: World, rows: Ints, day: int, drawn: Ints) -> Lines:
    """What these customers order today: consumables that are due, the item in mind, then what comes to mind.

    Every order has at least one line; where all that was wanted is out of stock, the most popular item in stock.
    """
    rng, shelf = world.rng, world.shelf
    pantry = shelf.pantry_item[rows]
    interest = np.where(day - shelf.interest_day[rows] <= _INTEREST_DAYS, shelf.interest[rows], -1)
    wanted = np.concatenate([pantry, interest[:, None], drawn], axis=1)
    include = np.ones(wanted.shape, dtype=np.bool_)
    n_slots = pantry.shape[1]
    include[:, :n_slots] = _due(world, rows, day)
    include[:, n_slots] = (interest >= 0) & (rng.random(len(rows)) < 0.55)
    include &= ~_repeated(wanted, include)
    n_lines = np.minimum(1 + rng.poisson(world.people.basket_extra[rows]), MAX_LINES)
    n_lines = np.maximum(n_lines, np.minimum(include[:, :n_slots].sum(axis=1), MAX_LINES))
    include &= np.cumsum(include, axis=1) <= n_lines[:, None]
    in_stock = world.catalogue.in_stock[day]
    missed = include & ~in_stock[wanted]
    bought = include & in_stock[wanted]
    empty = ~bought.any(axis=1)
    wanted[empty, -1] = int(np.argmax(np.where(in_stock, world.catalogue.popularity, -np.inf)))
    bought[empty, -1] = True
    missed[empty, -1] = False
    _put_on_shelf(world, rows, day, wanted, bought)
    order, column = np.nonzero(bought)
    missed_order, missed_column = np.nonzero(missed)
    return Lines(order, wanted[order, column], missed_order, wanted[missed_order, missed_column])


def _due(world: World, rows: Ints, day: int) -> Flags:
    """Which consumables are bought again, (n, PANTRY_SLOTS): likely once most of the item's interval has passed."""
    item = world.shelf.pantry_item[rows]
    interval = np.maximum(world.catalogue.repeat_days[item], 1.0)
    passed = (day - world.shelf.pantry_day[rows]) / interval
    chance = np.where(item >= 0, 0.85 / (1.0 + np.exp(-9.0 * np.clip(passed - 0.8, -5, 5))), 0.0)
    return np.asarray(world.rng.random(chance.shape) < chance, dtype=np.bool_)


def _repeated(wanted: Ints, include: Flags) -> Flags:
    """Whether an earlier included column of the row holds the same item."""
    same = (wanted[:, :, None] == wanted[:, None, :]) & include[:, None, :]
    earlier = np.tri(wanted.shape[1], k=-1, dtype=np.bool_)
    return np.asarray((same & earlier).any(axis=2), dtype=np.bool_)


def _put_on_shelf(world: World, rows: Ints, day: int, wanted: Ints, bought: Flags) -> None:
    shelf, lasts = world.shelf, world.catalogue.repeat_days == 0
    order, column = np.nonzero(bought & lasts[wanted])
    shelf.owned[rows[order], wanted[order, column]] = True
    world.at_home.add(day, rows[order], wanted[order, column], -1.0)
    for j in range(wanted.shape[1]):
        chosen = np.flatnonzero(bought[:, j] & ~lasts[wanted[:, j]])
        if not len(chosen):
            continue
        who, item = rows[chosen], wanted[chosen, j]
        known = shelf.pantry_item[who] == item[:, None]
        slot = np.where(known.any(axis=1), known.argmax(axis=1), shelf.pantry_day[who].argmin(axis=1))
        kept = known.any(axis=1) | (world.rng.random(len(who)) < 0.5)
        shelf.pantry_item[who[kept], slot[kept]] = item[kept]
        shelf.pantry_day[who[kept], slot[kept]] = day
        world.at_home.add(day, who[kept], item[kept], slot[kept].astype(np.float64))
    used = wanted[:, shelf.pantry_item.shape[1]]
    done = rows[bought[:, shelf.pantry_item.shape[1]] & (used >= 0)]
    shelf.interest[done] = -1
