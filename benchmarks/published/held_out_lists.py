"""Lists of items by customer, some held out: `train.txt` and `test.txt` (or `.gz`) of lines `customer item item ...`.

All items are ranked, those of the training part left out. Weights of the blend are chosen on a share of each
customer's training items, held out once more; then everything is fitted anew on the whole training part, and the test
part is read once.
"""

from __future__ import annotations

import gzip
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.published.table import PublishedTable
from benchmarks.report import peak_rss_gib
from serving.ranking import Asked, gather, rank, top_k
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource, Excluded, Ints
from training.blending import choose_weights
from training.recommender_metrics import Relevant, hits, ndcg, recall
from training.sources.popularity import PopularitySettings, fit_popularity

K = 20
SHORTLIST = 100
AT_ONCE = 256
BLEND = "holdfast, blended"
T = TypeVar("T")
Fit = Callable[[Histories, int], CandidateSource]


@dataclass(frozen=True)
class Recipe:
    """How the table of one data set is made.

    Attributes:
        title: of the data set.
        fits: the sources of the blend by name.
        papers: sources fitted as their paper says, by the words of the row; not in the blend.
        published: Recall@20 and NDCG@20 by the words of the row.
        least: what the blend is held to, Recall@20 and NDCG@20.
        size: customers, items and training pairs of the files that `least` and `reproduced` are of.
        reproduced: rows of `papers` that must be within .0010 of the published row of the same words.
        fit_minutes, memory_gib: what the whole fit is held to.
        validation_share: of each customer's training items, held out to choose weights.
        validation_customers: at most so many choose.
    """

    title: str
    fits: Mapping[str, Fit]
    papers: Mapping[str, Fit]
    published: Mapping[str, tuple[float, float]]
    least: tuple[float, float]
    size: tuple[int, int, int]
    reproduced: Sequence[str] = ()
    fit_minutes: float = 15.0
    memory_gib: float = 12.0
    validation_share: float = 0.15
    validation_customers: int = 3_000


@dataclass(frozen=True, eq=False)
class Lists:
    """The items of n customers, and what was held out of them."""

    known: list[Ints]
    held_out: list[Ints]
    n_items: int

    @classmethod
    def read(cls, folder: Path) -> Lists:
        """The two files of a folder; ids become places in their sorted order."""
        train, test = (_read_lines(folder, part) for part in ("train", "test"))
        customers = sorted(set(train) | set(test))
        ids = np.unique(np.concatenate([np.empty(0, np.int64), *train.values(), *test.values()]))
        none = np.empty(0, np.int64)
        parts = [[np.searchsorted(ids, np.unique(part.get(one, none))) for one in customers] for part in (train, test)]
        return cls(parts[0], parts[1], len(ids))

    @property
    def size(self) -> tuple[int, int, int]:
        """Customers, items and known pairs."""
        return len(self.known), self.n_items, sum(map(len, self.known))

    def slice(self, share: float, rng: np.random.Generator) -> Lists:
        """A share of each customer's known items held out, drawn evenly, at least one left; the old ones are gone."""
        known, held_out = [], []
        for items in self.known:
            n = min(round(share * len(items) + 1e-9), len(items) - 1)
            out = rng.choice(len(items), max(n, 0), replace=False)
            known.append(np.delete(items, out))
            held_out.append(np.sort(items[out]))
        return Lists(known, held_out, self.n_items)

    @property
    def histories(self) -> Histories:
        """Of all customers, from what is known."""
        return Histories.of_lists([items.tolist() for items in self.known], self.n_items)

    @property
    def relevant(self) -> Relevant:
        """What was held out."""
        customers = np.repeat(np.arange(len(self.held_out)), [len(items) for items in self.held_out])
        items = np.concatenate([np.empty(0, np.int64), *self.held_out])
        return Relevant(customers, items, len(self.held_out), self.n_items)


def _read_lines(folder: Path, part: str) -> dict[int, Ints]:
    for path in (folder / f"{part}.txt.gz", folder / f"{part}.txt"):
        if path.is_file():
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            lines = [np.array(line.split(), np.int64) for line in text.splitlines() if line.strip()]
            return {int(line[0]): line[1:] for line in lines}
    raise SystemExit(f"there is no {part}.txt or {part}.txt.gz at the path given; name the folder with --path")


@dataclass
class Costs:
    """What the parts of the fit cost: seconds by the clock, of the processors, and the peak of memory after each."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_gib: dict[str, float] = field(default_factory=dict)

    def of(self, name: str, work: Callable[[], T]) -> T:
        """Do a part of the fit."""
        clock, cpu = time.perf_counter(), _cpu_seconds()
        done = work()
        self.seconds[name] = time.perf_counter() - clock
        self.cpu_seconds[name] = _cpu_seconds() - cpu
        self.peak_gib[name] = peak_rss_gib()
        return done


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def popularity(histories: Histories, n_items: int) -> CandidateSource:
    """Customers who hold the item; the order of the lists says nothing of time."""
    return fit_popularity(histories, n_items, PopularitySettings(half_life_days=1e9, cap=1e9))


def chosen_weights(lists: Lists, recipe: Recipe, fits: Mapping[str, Fit], costs: Costs) -> dict[str, float]:
    """Weights by source, chosen on a slice of the training part."""
    rng = np.random.default_rng(20_260_101)
    inner = lists.slice(recipe.validation_share, rng)
    histories, relevant = inner.histories, inner.relevant
    sources = [
        costs.of(f"{name}, for the weights", lambda fit=fit: fit(histories, inner.n_items))
        for name, fit in fits.items()
    ]
    rows = np.flatnonzero(relevant.counts > 0)
    rows = np.sort(rng.choice(rows, min(recipe.validation_customers, len(rows)), replace=False))
    some, theirs = histories.select(rows), relevant.select(rows)
    own = Excluded(some.offsets, some.items)
    return costs.of(
        "choosing the weights", lambda: choose_weights(sources, some, theirs, excluded=own, limit=SHORTLIST, k=K)
    )


def judged(lists: Lists, sources: Sequence[CandidateSource], weights: Mapping[str, float]) -> dict[str, Ints]:
    """The first K items of every customer, int64 (n, K): by each source alone and by the blend."""
    histories = lists.histories
    found: dict[str, list[Ints]] = {name: [] for name in (*(source.name for source in sources), BLEND)}
    for start in range(0, histories.n_customers, AT_ONCE):
        part = histories.part(start, min(start + AT_ONCE, histories.n_customers))
        candidates = gather(sources, part, SHORTLIST, None, Excluded(part.offsets, part.items))
        for source, scores in zip(sources, candidates.scores, strict=True):
            first = top_k(scores.astype(np.float64), K)
            places = np.take_along_axis(candidates.places, np.maximum(first, 0), axis=1)
            found[source.name].append(np.where(first >= 0, places, -1))
        counted = tuple(np.full(part.n_customers, weights[source.name]) for source in sources)
        found[BLEND].append(rank(candidates, Asked(tuple(sources), counted), K).places)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def proposed(lists: Lists, source: CandidateSource) -> Ints:
    """The first K items of every customer by one source."""
    histories = lists.histories
    return source.propose(histories, K, None, Excluded(histories.offsets, histories.items)).places


def quality(slates: Ints, relevant: Relevant) -> tuple[float, float]:
    """Recall@K and NDCG@K, means over the customers of whom something was held out."""
    hit = hits(slates, relevant)
    return float(np.nanmean(recall(hit, relevant.counts))), float(np.nanmean(ndcg(hit, relevant.counts)))


def table(name: str, recipe: Recipe, folder: Path) -> PublishedTable:
    """The whole table of a folder."""
    lists, costs = Lists.read(folder), Costs()
    fits: dict[str, Fit] = {"popularity": popularity, **recipe.fits}
    weights = chosen_weights(lists, recipe, fits, costs)
    histories = lists.histories
    sources = [costs.of(key, lambda fit=fit: fit(histories, lists.n_items)) for key, fit in fits.items()]
    ours, whole_cpu = sum(costs.seconds.values()), sum(costs.cpu_seconds.values())
    peak = peak_rss_gib()
    slates = judged(lists, sources, weights)
    for words, fit in recipe.papers.items():
        paper = costs.of(words, lambda fit=fit: fit(histories, lists.n_items))
        slates[words] = proposed(lists, paper)
        del paper
    relevant = lists.relevant  # the test part, read once
    measured = {words: quality(places, relevant) for words, places in slates.items()}
    costs.seconds[BLEND], costs.cpu_seconds[BLEND], costs.peak_gib[BLEND] = ours, whole_cpu, peak
    rows = [_row(words, figures, weights, costs) for words, figures in measured.items()]
    rows += [_row(f"published: {words}", figures, {}, Costs()) for words, figures in recipe.published.items()]
    n_customers, n_items, n_pairs = lists.size
    return PublishedTable(
        name,
        f"{recipe.title}: {n_customers:,} customers, {n_items:,} items, {n_pairs:,} pairs; all items ranked",
        rows,
        [
            f"weights chosen on {recipe.validation_share:.0%} of each customer's training items by NDCG@{K}",
            "the fit of the blend is of all its sources, twice, and of choosing",
        ],
        _limits(recipe, lists, measured, ours / 60, peak),
    )


def _row(words: str, figures: tuple[float, float], weights: Mapping[str, float], costs: Costs) -> dict[str, str]:
    def shown(values: Mapping[str, float], form: str) -> str:
        return format(values[words], form) if words in values else ""

    return {
        "source": words,
        "weight": shown(weights, ".2f"),
        f"Recall@{K}": f"{figures[0]:.4f}",
        f"NDCG@{K}": f"{figures[1]:.4f}",
        "fit, s": shown(costs.seconds, ".1f"),
        "processor, s": shown(costs.cpu_seconds, ".1f"),
        "peak, GiB": shown(costs.peak_gib, ".2f"),
    }


def _limits(
    recipe: Recipe, lists: Lists, measured: Mapping[str, tuple[float, float]], minutes: float, peak: float
) -> dict[str, bool]:
    blend = measured[BLEND]
    popular = measured["popularity"]
    held = {
        f"the fit of the blend takes {minutes:.1f} minutes, at most {recipe.fit_minutes:g}": minutes
        <= recipe.fit_minutes,
        f"and {peak:.2f} GiB, at most {recipe.memory_gib:g}": peak <= recipe.memory_gib,
        f"the blend, {blend[1]:.4f}, is above popularity, {popular[1]:.4f}, in NDCG@{K}": blend[1] > popular[1],
    }
    if lists.size != recipe.size:
        return held
    for measure, found, least in zip((f"Recall@{K}", f"NDCG@{K}"), blend, recipe.least, strict=True):
        held[f"{measure} of the blend, {found:.4f}, is at least {least:.4f}"] = found >= least
    for words in recipe.reproduced:
        near = np.abs(np.subtract(measured[words], recipe.published[words])).max()
        held[f"{words} is within .0010 of what was published (off by {near:.4f})"] = bool(near <= 0.0010)
    return held
