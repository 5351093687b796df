"""Sequences of purchases of Amazon Beauty, leave-last-out. Settings were chosen on the item before the last."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.published.held_out_last import Orders, Recipe, measure, named, shown
from benchmarks.published.held_out_lists import BLEND, Fit
from benchmarks.published.table import PublishedTable
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource
from training.sources.content import ContentSettings, fit_content
from training.sources.session_knn import SessionKnnSettings, fit_session_knn
from training.sources.transitions import TransitionSettings, fit_transitions

FOLDER = "amazon-beauty-sequences"
SIZE = (22_363, 12_101, 176_139)
LEAST = (0.1000, 0.0640)
PUBLISHED = {
    "popularity": (0.0152, 0.0068),
    "GRU4Rec": (0.0283, 0.0137),
    "SASRec": (0.0605, 0.0318),
    "S3Rec": (0.0647, 0.0327),
}
TRANSITIONS = TransitionSettings(half_life_days=0.0, exact_items=20_000)
COUNTS = replace(TRANSITIONS, past_decay=0.8, step_decay=0.7, exact_items=1)
SESSIONS = SessionKnnSettings(pause_hours=0.0, half_life_days=1e9, step_half_life_days=0.0)


def read(folder: Path) -> tuple[Orders, list[list[str]]]:
    """`Beauty.txt.gz` of lines `customer item item ...`, and the attributes of each item; ids become places."""
    with gzip.open(folder / "Beauty.txt.gz", "rt", encoding="ascii") as lines:
        lists = [np.array(line.split()[1:], np.int64) for line in lines if line.strip()]
    lists = [one for one in lists if len(one) > 1]
    ids = np.unique(np.concatenate(lists))
    with gzip.open(folder / "Beauty_item2attributes.json.gz", "rt", encoding="utf-8") as text:
        attributes = json.load(text)
    places = [np.searchsorted(ids, one).tolist() for one in lists]
    orders = Orders([[[item] for item in one[:-1]] for one in places], [[one[-1]] for one in places], len(ids))
    return orders, [[str(word) for word in attributes.get(str(item), [])] for item in ids.tolist()]


def _following(
    histories: Histories, n_items: int, tokens: Sequence[Sequence[str]], settings: TransitionSettings, name: str
) -> CandidateSource:
    return named(fit_transitions(histories, n_items, settings, tokens), name)


def recipe(tokens: Sequence[Sequence[str]]) -> Recipe:
    """With the attributes of each item."""
    fits: dict[str, Fit] = {
        "transitions": partial(_following, tokens=tokens, settings=TRANSITIONS, name="transitions"),
        "transition counts": partial(_following, tokens=(), settings=COUNTS, name="transition counts"),
        "session_knn": lambda histories, n_items: fit_session_knn(histories, n_items, SESSIONS),
        "content": lambda _, n_items: fit_content(n_items, tokens, ContentSettings()),
    }
    without = "transitions, no attributes"
    return Recipe(
        title="Beauty",
        first="HR@10",
        fits=fits,
        beside={without: partial(_following, tokens=(), settings=TRANSITIONS, name=without)},
        published=PUBLISHED,
        new_items_only=True,
    )


def run(folder: Path) -> PublishedTable:
    """The table of a folder in the form of Beauty's."""
    orders, tokens = read(folder)
    chosen = recipe(tokens)
    found = measure(orders, chosen)
    blend, popular = found.figures[BLEND], found.figures["popularity"]
    limits = {f"the blend, {blend[1]:.4f}, is above popularity, {popular[1]:.4f}, in NDCG@10": blend[1] > popular[1]}
    if orders.size == SIZE:
        for measured, value, least in zip(("HR@10", "NDCG@10"), blend, LEAST, strict=True):
            limits[f"{measured} of the blend, {value:.4f}, is at least {least:.4f}"] = value >= least
    return shown("published_beauty", chosen, orders, found, limits)
