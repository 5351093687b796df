"""Serving's own slates beside those of every source and baseline alone, judged on the same customers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError
from serving.recommender import Recommender
from serving.sources.histories import Histories
from serving.sources.source import Excluded
from training.recommender_metrics import (
    Relevant,
    average_precision,
    bootstrap_means,
    coverage,
    hit_rate,
    hits,
    ndcg,
    recall,
)
from training.recommender_report import Estimate, Gain, SourceFigures
from training.slate_diversity_metrics import exposure_gini, novelty, personalisation

__all__ = ["BLEND", "OURS", "EvaluationSettings", "Judged", "Verdicts", "contenders", "judge"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

OURS, BLEND = "ours", "blend"
_BASELINES: Mapping[str, Mapping[str, float]] = {
    "popularity": {"popularity": 1.0},
    "buy_again": {"buy_again": 1.0},
    "buy_again_popularity": {"popularity": 1e-4, "buy_again": 1.0},
    "als": {"als": 1.0},
}
_POPULARITY = "popularity"
_K, _LONG_K = 10, 20
_CUSTOMERS_AT_ONCE = 256


@dataclass(frozen=True)
class EvaluationSettings:
    """How to judge.

    Attributes:
        label_days: purchases in `[as_of, as_of + label_days)` are relevant.
        history_bounds: ascending; the bins of history length start at them, the last is open.
        max_customers: at most so many customers, drawn with `seed`.
        n_replicates: of the bootstrap over customers.
        seed: of the draw and the bootstrap.
        leave_last_out: whether a training also judges by `evaluate_leave_last_out`, which fits once more.

    Raises:
        ConfigurationError: a number is out of range.
    """

    label_days: int = 30
    history_bounds: tuple[int, ...] = (1, 3, 6, 11, 21, 51)
    max_customers: int = 5_000
    n_replicates: int = 300
    seed: int = 0
    leave_last_out: bool = False

    def __post_init__(self) -> None:
        if min(self.label_days, self.max_customers, self.n_replicates) < 1:
            raise ConfigurationError("label_days, max_customers and n_replicates must be at least 1; see [evaluation]")
        if not self.history_bounds or list(self.history_bounds) != sorted(set(self.history_bounds)):
            raise ConfigurationError("history_bounds must ascend and not be empty; see [evaluation]")


@dataclass(frozen=True)
class Judged:
    """The customers that are judged.

    Attributes:
        histories: what was known of them, in one or several parts, one after the other; each as of its own instant.
        relevant: what they turned to after that, each at least one item.
        repeat: bool (m,), which of these they had bought before.
        lengths: int64 (n,), items in their histories.
    """

    histories: tuple[Histories, ...]
    relevant: Relevant
    repeat: Bools
    lengths: Ints

    @property
    def n_customers(self) -> int:
        """How many customers."""
        return len(self.lengths)


@dataclass(frozen=True)
class Verdicts:
    """Figures of each contender over each segment, and ours against each of the others."""

    figures: tuple[SourceFigures, ...]
    gains: tuple[Gain, ...]


@dataclass(frozen=True)
class _Shown:
    """Slates int64 (n, k), and which places are empty or led by what is popular with all, bool (n, k)."""

    slates: Ints
    fallback: Bools

    def of(self, rows: Ints) -> _Shown:
        return _Shown(self.slates[rows], self.fallback[rows])


def contenders(recommender: Recommender) -> Iterator[tuple[str, Recommender]]:
    """Ours as served; beside a ranker the blend that it corrects; the baselines; each further source alone."""
    yield OURS, recommender
    if recommender.ranker is not None or recommender.new_ranker is not None:
        yield BLEND, replace(recommender, ranker=None, new_ranker=None)
    fitted = recommender.by_name
    for name, weights in _BASELINES.items():
        if all(source in fitted for source in weights):
            yield name, recommender.with_blend(weights)
    for name in fitted:
        if name not in _BASELINES:
            yield name, recommender.with_blend({name: 1.0})


def judge(
    recommender: Recommender,
    judged: Judged,
    history_bounds: Sequence[int],
    shares: Floats,
    rng: np.random.Generator,
    n_replicates: int,
) -> Verdicts:
    """Every contender on the same customers.

    Args:
        recommender: fitted on nothing that it is judged by.
        judged: at least one customer.
        history_bounds: ascending; the bins of history length start at them, the last is open.
        shares: float64 (n_items,), of each item in what was bought, see `bought_shares`.
        rng: of the bootstrap over customers.
        n_replicates: of the bootstrap.
    """
    figures: list[SourceFigures] = []
    ndcgs: dict[tuple[str, str], Floats] = {}
    names = []
    for name, recommending in contenders(recommender):
        names.append(name)
        slates = _shown(recommending, judged, exclude_owned=False)
        unowned = _shown(recommending, judged, exclude_owned=True)
        for segment, relevant, rows in _segments(judged, history_bounds):
            shown = (unowned if segment == "new" else slates).of(rows)
            found, ndcgs[name, segment] = _figures(name, segment, shown, relevant, shares, rng, n_replicates)
            figures.append(found)
    return Verdicts(tuple(figures), tuple(_gains(names[1:], ndcgs, rng, n_replicates)))


def _shown(recommender: Recommender, judged: Judged, *, exclude_owned: bool) -> _Shown:
    eligible = np.ones(len(recommender.item_ids), np.bool_)
    slates, fallback = [], []
    for histories in judged.histories:
        for start in range(0, histories.n_customers, _CUSTOMERS_AT_ONCE):
            part = histories.part(start, min(start + _CUSTOMERS_AT_ONCE, histories.n_customers))
            owned = Excluded(part.bought_offsets, part.bought.items) if exclude_owned else None
            ranked, asked = recommender.ranked(part, eligible, _LONG_K, excluded=owned, news=exclude_owned)
            popular = np.array([source.name == _POPULARITY for source in asked.sources], np.bool_)
            slates.append(ranked.places)
            fallback.append(popular[ranked.source] | (ranked.places < 0))
    return _Shown(np.concatenate(slates), np.concatenate(fallback))


def _segments(judged: Judged, bounds: Sequence[int]) -> Iterator[tuple[str, Relevant, Ints]]:
    """Name, relevant items and rows of the customers of each segment that has any."""
    yield "all", judged.relevant, np.arange(judged.n_customers)
    for name, kept in (("repeat", judged.repeat), ("new", ~judged.repeat)):
        relevant = judged.relevant.only(kept)
        rows = np.flatnonzero(relevant.counts > 0)
        if len(rows):
            yield name, relevant.select(rows), rows
    for place, low in enumerate(bounds):
        last = place + 1 == len(bounds)
        high = np.iinfo(np.int64).max if last else bounds[place + 1] - 1
        rows = np.flatnonzero((judged.lengths >= low) & (judged.lengths <= high))
        if len(rows):
            name = f"history {low}+" if last else f"history {low}-{high}"
            yield name, judged.relevant.select(rows), rows


def _figures(
    source: str,
    segment: str,
    shown: _Shown,
    relevant: Relevant,
    shares: Floats,
    rng: np.random.Generator,
    n_replicates: int,
) -> tuple[SourceFigures, Floats]:
    hit, counts = hits(shown.slates, relevant), relevant.counts
    first, slates = hit[:, :_K], shown.slates[:, :_K]
    values = {
        "ndcg_at_10": ndcg(first, counts),
        "recall_at_10": recall(first, counts),
        "recall_at_20": recall(hit, counts),
        "map_at_10": average_precision(first, counts),
        "hit_rate_at_10": hit_rate(first, counts),
    }
    intervals = bootstrap_means(np.column_stack(list(values.values())), rng, n_replicates)
    (novel,) = bootstrap_means(novelty(slates, shares)[:, None], rng, n_replicates).tolist()
    return SourceFigures(
        source=source,
        segment=segment,
        n_customers=len(slates),
        coverage_at_10=coverage(slates, relevant.n_items),
        gini_at_10=exposure_gini(slates, relevant.n_items),
        personalisation_at_10=personalisation(slates),
        fallback_at_10=float(shown.fallback[:, :_K].mean()),
        novelty_at_10=Estimate(*novel),
        **{name: Estimate(*row) for name, row in zip(values, intervals.tolist(), strict=True)},
    ), values["ndcg_at_10"]


def _gains(
    names: Sequence[str], ndcgs: Mapping[tuple[str, str], Floats], rng: np.random.Generator, n_replicates: int
) -> Iterator[Gain]:
    for name in names:
        for segment in ("all", "repeat", "new"):
            if (name, segment) in ndcgs:
                ours, theirs = ndcgs[OURS, segment], ndcgs[name, segment]
                (interval,) = bootstrap_means((ours - theirs)[:, None], rng, n_replicates).tolist()
                difference = Estimate(*interval)
                base = float(np.mean(theirs))
                yield Gain(name, segment, difference, difference.mean / base if base > 0 else float("nan"))
