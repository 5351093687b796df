"""Baskets of customers in the order of time, the last one held out; a sequence is of baskets of one item.

All items are ranked. Everything is chosen for the last basket but one: the sources are fitted on what was before it,
and the weights of the blend are those that find it best. Then all is fitted anew with that basket known, and the last
one is read once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.published.held_out_lists import BLEND, Costs, Fit, popularity
from benchmarks.published.table import PublishedTable
from benchmarks.report import peak_rss_gib
from serving.ranking import Asked, gather, rank, top_k
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource, Excluded, Ints
from training.blending import choose_weights
from training.recommender_metrics import Relevant, hits, ndcg, recall

K = 10
SHORTLIST = 100
AT_ONCE = 256
Baskets = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Orders:
    """What n customers bought, and the basket that came next.

    Attributes:
        known: baskets of catalogue positions, in the order of time.
        coming: the basket after them, without repetitions; empty where nothing is known of it.
        n_items: length of the catalogue.
    """

    known: Sequence[Baskets]
    coming: Sequence[Sequence[int]]
    n_items: int

    @property
    def before(self) -> Orders:
        """As of one basket before; who had one basket alone is there without it and not asked about."""
        coming = [known[-1] if len(known) > 1 else [] for known in self.known]
        return Orders([known[:-1] for known in self.known], coming, self.n_items)

    @property
    def size(self) -> tuple[int, int, int]:
        """Customers, items and lines known."""
        return len(self.known), self.n_items, sum(len(basket) for known in self.known for basket in known)

    @property
    def histories(self) -> Histories:
        """Of all customers, from what is known."""
        return Histories.of_baskets(self.known, self.n_items)

    @property
    def relevant(self) -> Relevant:
        """What came."""
        items = [np.unique(np.array(basket, np.int64)) for basket in self.coming]
        customers = np.repeat(np.arange(len(items)), [len(own) for own in items])
        return Relevant(customers, np.concatenate([np.empty(0, np.int64), *items]), len(items), self.n_items)


@dataclass(frozen=True)
class Recipe:
    """How the table of one data set is made.

    Attributes:
        title: of the data set.
        first: the words for Recall@10; of one item held out it is the hit rate.
        fits: the sources of the blend by name.
        beside: sources that are shown and are not in the blend.
        published: the two figures by the words of the row, with how they were measured.
        new_items_only: what a customer has is not proposed again.
        fit_minutes, memory_gib: what the whole fit is held to.
        validation_customers: at most so many choose the weights.
        baselines: rules that rank by themselves: orders -> int64 (n, 10), by the words of the row.
    """

    title: str
    first: str
    fits: Mapping[str, Fit]
    beside: Mapping[str, Fit]
    published: Mapping[str, tuple[float, float]]
    new_items_only: bool
    fit_minutes: float = 15.0
    memory_gib: float = 12.0
    validation_customers: int = 6_000
    baselines: Mapping[str, Callable[[Orders], Ints]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Measured:
    """A table before it is shown: figures by the words of the row, the weights, and what was used."""

    figures: Mapping[str, tuple[float, float]]
    weights: Mapping[str, float]
    costs: Costs


def named(source: Any, name: str) -> CandidateSource:
    """The same source under another word."""
    found: CandidateSource = dataclasses.replace(source, name=name)
    return found


def _own(histories: Histories, recipe: Recipe) -> Excluded | None:
    return Excluded(histories.bought_offsets, histories.bought.items) if recipe.new_items_only else None


def _weights(orders: Orders, recipe: Recipe, fits: Mapping[str, Fit], costs: Costs) -> dict[str, float]:
    histories, relevant = orders.histories, orders.relevant
    sources = [
        costs.of(f"{name}, for the weights", lambda fit=fit: fit(histories, orders.n_items))
        for name, fit in fits.items()
    ]
    rows = np.flatnonzero(relevant.counts > 0)
    rng = np.random.default_rng(20_260_101)
    rows = np.sort(rng.choice(rows, min(recipe.validation_customers, len(rows)), replace=False))
    some, theirs = histories.select(rows), relevant.select(rows)
    return costs.of(
        "choosing the weights",
        lambda: choose_weights(sources, some, theirs, excluded=_own(some, recipe), limit=SHORTLIST, k=K),
    )


def _slates(
    histories: Histories, sources: Sequence[CandidateSource], weights: Mapping[str, float], recipe: Recipe
) -> dict[str, Ints]:
    """The first K of every customer, int64 (n, K): by each source alone and by the blend."""
    found: dict[str, list[Ints]] = {name: [] for name in (*(source.name for source in sources), BLEND)}
    for start in range(0, histories.n_customers, AT_ONCE):
        part = histories.part(start, min(start + AT_ONCE, histories.n_customers))
        candidates = gather(sources, part, SHORTLIST, None, _own(part, recipe))
        for source, scores in zip(sources, candidates.scores, strict=True):
            first = top_k(scores.astype(np.float64), K)
            places = np.take_along_axis(candidates.places, np.maximum(first, 0), axis=1)
            found[source.name].append(np.where(first >= 0, places, -1))
        counted = tuple(np.full(part.n_customers, weights[source.name]) for source in sources)
        found[BLEND].append(rank(candidates, Asked(tuple(sources), counted), K).places)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def measure(orders: Orders, recipe: Recipe) -> Measured:
    """Choose, fit, and read what came once."""
    costs = Costs()
    fits: dict[str, Fit] = {"popularity": popularity, **recipe.fits}
    weights = _weights(orders.before, recipe, fits, costs)
    histories = orders.histories
    sources = [costs.of(key, lambda fit=fit: fit(histories, orders.n_items)) for key, fit in fits.items()]
    ours, cpu, peak = sum(costs.seconds.values()), sum(costs.cpu_seconds.values()), peak_rss_gib()
    slates = _slates(histories, sources, weights, recipe)
    for words, fit in recipe.beside.items():
        beside = costs.of(words, lambda fit=fit: fit(histories, orders.n_items))
        slates[words] = beside.propose(histories, K, None, _own(histories, recipe)).places
    slates |= {words: rule(orders) for words, rule in recipe.baselines.items()}
    relevant = orders.relevant
    figures = {}
    for words, places in slates.items():
        hit = hits(places, relevant)
        both = (recall(hit, relevant.counts), ndcg(hit, relevant.counts))
        figures[words] = (float(np.nanmean(both[0])), float(np.nanmean(both[1])))
    costs.seconds[BLEND], costs.cpu_seconds[BLEND], costs.peak_gib[BLEND] = ours, cpu, peak
    return Measured(figures, weights, costs)


def shown(name: str, recipe: Recipe, orders: Orders, found: Measured, limits: Mapping[str, bool]) -> PublishedTable:
    """The table for people, with what every blend is held to before the `limits` of this data set."""
    rows = [_row(words, figures, found, recipe) for words, figures in found.figures.items()]
    nothing = Measured({}, {}, Costs())
    rows += [_row(f"published: {words}", figures, nothing, recipe) for words, figures in recipe.published.items()]
    n_customers, n_items, n_lines = orders.size
    minutes, peak = found.costs.seconds[BLEND] / 60, found.costs.peak_gib[BLEND]
    always = {
        f"the fit of the blend takes {minutes:.1f} minutes, at most {recipe.fit_minutes:g}": minutes
        <= recipe.fit_minutes,
        f"and {peak:.2f} GiB, at most {recipe.memory_gib:g}": peak <= recipe.memory_gib,
    }
    return PublishedTable(
        name,
        f"{recipe.title}: {n_customers:,} customers, {n_items:,} items, {n_lines:,} lines known; all items ranked",
        rows,
        [
            f"settings and weights chosen for the last basket but one, by NDCG@{K}; the last one read once",
            "the fit of the blend is of all its sources, twice, and of choosing",
        ],
        {**always, **limits},
    )


def _row(words: str, figures: tuple[float, float], found: Measured, recipe: Recipe) -> dict[str, str]:
    def value(values: Mapping[str, float], form: str) -> str:
        return format(values[words], form) if words in values else ""

    return {
        "source": words,
        "weight": value(found.weights, ".2f"),
        recipe.first: f"{figures[0]:.4f}",
        f"NDCG@{K}": f"{figures[1]:.4f}",
        "fit, s": value(found.costs.seconds, ".1f"),
        "processor, s": value(found.costs.cpu_seconds, ".1f"),
        "peak, GiB": value(found.costs.peak_gib, ".2f"),
    }
