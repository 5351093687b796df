"""Baskets of the grocer Ta-Feng, the next one asked for. Settings were chosen on the last basket of the history."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from benchmarks.published.held_out_last import K, Orders, Recipe, measure, named, shown
from benchmarks.published.held_out_lists import BLEND
from benchmarks.published.table import PublishedTable
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource, Ints
from training.sources.next_basket import NextBasketSettings, fit_next_basket
from training.sources.transitions import TransitionSettings, fit_transitions

FOLDER = "ta-feng-baskets"
PERSONAL_THEN_GLOBAL = "personal, then global frequency"
TIFU_KNN = "TIFU-kNN, as published"
ABOVE = 1.05
PUBLISHED = {
    "global frequency, all customers": (0.0803, 0.0875),
    "personal frequency, all customers": (0.1062, 0.1014),
    "personal, then global, all customers": (0.1195, 0.1069),
}
PERSONAL = NextBasketSettings(neighbours=0, own_share=1.0, group_size=100, within=1.0, between=1.0)
PAPER = NextBasketSettings(group_size=7, within=0.9, between=0.7, neighbours=300, own_share=0.7)
TRANSITIONS = TransitionSettings(
    past_decay=0.8,
    step_decay=0.8,
    future_decay=0.5,
    backward=0.0,
    regularization=400.0,
    popularity_power=0.0,
    half_life_days=0.0,
    exact_items=20_000,
)


def read(folder: Path) -> Orders:
    """`history.json.gz` and `future.json.gz`: by customer a list of baskets, `[-1]` at either end."""

    def baskets(name: str) -> dict[str, list[list[int]]]:
        with gzip.open(folder / name, "rt", encoding="ascii") as text:
            return {whose: [one for one in found if one != [-1]] for whose, found in json.load(text).items()}

    history, future = baskets("history.json.gz"), baskets("future.json.gz")
    ids = np.unique([item for part in (history, future) for own in part.values() for one in own for item in one])
    place = {int(item): number for number, item in enumerate(ids)}
    known = [[[place[item] for item in one] for one in own] for own in history.values()]
    coming = [[place[item] for item in future[whose][0]] for whose in history]
    return Orders(known, coming, len(ids))


def personal_then_global(orders: Orders) -> Ints:
    """The customer's goods by how often, ties by the whole shop's count, then the shop's goods."""
    histories = orders.histories
    everywhere = np.bincount(histories.bought.items, histories.bought.counts, minlength=orders.n_items)
    behind = everywhere / (everywhere.sum() + 1.0)
    found = np.empty((histories.n_customers, K), np.int64)
    for row in range(histories.n_customers):
        scores = behind.copy()
        own = slice(histories.bought_offsets[row], histories.bought_offsets[row + 1])
        scores[histories.bought.items[own]] += histories.bought.counts[own]
        found[row] = np.argsort(-scores, kind="stable")[:K]
    return found


def _personal(histories: Histories, n_items: int) -> CandidateSource:
    return named(fit_next_basket(histories, n_items, PERSONAL), "personal frequency")


RECIPE = Recipe(
    title="Ta-Feng (half of the customers)",
    first="Recall@10",
    fits={
        "next_basket": lambda histories, n_items: fit_next_basket(histories, n_items, NextBasketSettings()),
        "transitions": lambda histories, n_items: fit_transitions(histories, n_items, TRANSITIONS),
        "personal frequency": _personal,
    },
    beside={TIFU_KNN: lambda histories, n_items: fit_next_basket(histories, n_items, PAPER)},
    published=PUBLISHED,
    new_items_only=False,
    baselines={PERSONAL_THEN_GLOBAL: personal_then_global},
)


def run(folder: Path) -> PublishedTable:
    """The table of a folder in the form of Ta-Feng's."""
    orders = read(folder)
    found = measure(orders, RECIPE)
    blend, plain = found.figures[BLEND][0], found.figures[PERSONAL_THEN_GLOBAL][0]
    words = f"Recall@10 of the blend, {blend:.4f}, is above {ABOVE} times {PERSONAL_THEN_GLOBAL}, {plain:.4f}"
    return shown("published_tafeng", RECIPE, orders, found, {words: blend > ABOVE * plain})
