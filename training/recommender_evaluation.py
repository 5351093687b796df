"""Judging a recommender forward in time, by serving's own slates, beside popularity, buy-again and ALS alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.customer_view import CustomerView
from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import DAY_US, format_instant
from features.interactions import interactions
from serving.recommender import Recommender
from serving.sources.histories import Purchases
from training.cutoffs import observed_span
from training.recommender import RecommenderFitSettings, fit_recommender, fit_with_choice
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
from training.recommender_report import Estimate, Gain, RecommenderReport, SourceFigures

__all__ = [
    "EvaluationSettings",
    "RecommenderTraining",
    "backtest_recommender",
    "evaluate_recommender",
    "train_recommender",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_BASELINES: Mapping[str, Mapping[str, float]] = {
    "popularity": {"popularity": 1.0},
    "buy_again": {"buy_again": 1.0},
    "buy_again_popularity": {"popularity": 1e-4, "buy_again": 1.0},
    "als": {"als": 1.0},
}
_OURS, _BLEND = "ours", "blend"
_K, _LONG_K = 10, 20


@dataclass(frozen=True)
class EvaluationSettings:
    """How to judge.

    Attributes:
        label_days: purchases in `[as_of, as_of + label_days)` are relevant.
        history_bounds: ascending; the bins of history length start at them, the last is open.
        max_customers: at most so many customers, drawn with `seed`.
        n_replicates: of the bootstrap over customers.
        seed: of the draw and the bootstrap.

    Raises:
        ConfigurationError: a number is out of range.
    """

    label_days: int = 30
    history_bounds: tuple[int, ...] = (1, 3, 6, 11, 21, 51)
    max_customers: int = 5_000
    n_replicates: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.label_days, self.max_customers, self.n_replicates) < 1:
            raise ConfigurationError("label_days, max_customers and n_replicates must be at least 1; see [evaluation]")
        if not self.history_bounds or list(self.history_bounds) != sorted(set(self.history_bounds)):
            raise ConfigurationError("history_bounds must ascend and not be empty; see [evaluation]")


@dataclass(frozen=True)
class RecommenderTraining:
    """A recommender fitted on everything known at the end of the log, and how its like did out of time before it."""

    recommender: Recommender
    report: RecommenderReport


@dataclass(frozen=True)
class _Judged:
    """The customers that are judged: their histories, relevant items, which of these are repeats, history length."""

    view: CustomerView
    relevant: Relevant
    repeat: Bools
    lengths: Ints


def evaluate_recommender(
    recommender: Recommender, view: CustomerView, as_of_us: int, settings: EvaluationSettings
) -> RecommenderReport:
    """Judge on purchases in `[as_of, as_of + label_days)` of customers with an interaction in `[-inf, as_of)`.

    Args:
        recommender: fitted on nothing later than `as_of`.
        view: histories and what came after; slates see only what was known at `as_of`.
        as_of_us: exclusive cut-off, microseconds.
        settings: how to judge.

    Raises:
        NotEnoughDataError: no such customer bought an item of the catalogue.
    """
    rng = np.random.default_rng(settings.seed)
    judged, n_eligible = _judged(recommender, view, as_of_us, settings, rng)
    figures: list[SourceFigures] = []
    ndcgs: dict[tuple[str, str], Floats] = {}
    for name, recommending in _contenders(recommender):
        slates = recommending.rank(judged.view, as_of_us, _LONG_K)
        unowned = recommending.rank(judged.view, as_of_us, _LONG_K, exclude_owned=True)
        for segment, relevant, rows in _segments(judged, settings.history_bounds):
            shown = (unowned if segment == "new" else slates)[rows]
            found, ndcgs[name, segment] = _figures(name, segment, shown, relevant, rng, settings.n_replicates)
            figures.append(found)
    return RecommenderReport(
        as_of_us=as_of_us,
        label_days=settings.label_days,
        n_items=len(recommender.item_ids),
        n_eligible=n_eligible,
        n_judged=judged.view.n_customers,
        n_outside=judged.relevant.n_outside,
        blend=dict(recommender.settings.blend),
        figures=tuple(figures),
        gains=tuple(_gains(ndcgs, rng, settings.n_replicates)),
    )


def backtest_recommender(
    view: CustomerView,
    cutoffs: Sequence[int],
    fitting: RecommenderFitSettings,
    settings: EvaluationSettings,
    *,
    items: pa.Table | None = None,
) -> tuple[RecommenderReport, ...]:
    """Fit on `[-inf, cut-off)` and judge after it, for each cut-off; nothing is carried over.

    `items` are the attributes of items, as `fit_recommender` takes them.
    """
    reports = []
    for as_of_us in cutoffs:
        fitted = fit_with_choice(view, as_of_us, fitting, items=items)
        report = evaluate_recommender(fitted.recommender, view, as_of_us, settings)
        reports.append(replace(report, ranker=fitted.choice))
    return tuple(reports)


def train_recommender(
    view: CustomerView,
    fitting: RecommenderFitSettings,
    settings: EvaluationSettings,
    *,
    observed_until_us: int | None = None,
    items: pa.Table | None = None,
) -> RecommenderTraining:
    """Judge at `label_days` before the end of the log, then fit anew on everything; blend weights stay as judged.

    Where a ranker was judged, one is trained anew and must beat the blend on its own slice too; where the blend was,
    the blend stays.

    Everything is also what was recorded after the last event had occurred: the second fit is as of the instant at
    which all is known.

    Args:
        view: the whole log.
        fitting: how to fit.
        settings: how to judge.
        observed_until_us: exclusive end of what the log covers; by default a microsecond after its last event.
        items: attributes of the items; those of the table that nobody met yet are in the last catalogue too.

    Raises:
        NotEnoughDataError: there is nothing before the cut-off, or nobody to judge by.
    """
    end_us = observed_until_us if observed_until_us is not None else observed_span(view)[1]
    (report,) = backtest_recommender(view, [end_us - settings.label_days * DAY_US], fitting, settings, items=items)
    fixed = replace(fitting, blend=report.blend)
    if report.ranker is not None and not report.ranker.used:
        fixed = replace(fixed, ranker=replace(fitting.ranker, enabled=False))
    known_us = max(end_us, int(view.recorded_us.max(initial=0)) + 1)
    met = interactions(view, known_us, fitting.interactions).item_ids.tolist()
    item_ids = met if items is None else sorted({*met, *items["item_id"].to_pylist()})
    return RecommenderTraining(fit_recommender(view, known_us, fixed, items=items, item_ids=item_ids), report)


def _contenders(recommender: Recommender) -> Iterator[tuple[str, Recommender]]:
    yield _OURS, recommender
    if recommender.ranker is not None:
        yield _BLEND, recommender.with_blend(recommender.settings.blend)
    for name, weights in _BASELINES.items():
        yield name, recommender.with_blend(weights)


def _judged(
    recommender: Recommender,
    view: CustomerView,
    as_of_us: int,
    settings: EvaluationSettings,
    rng: np.random.Generator,
) -> tuple[_Judged, int]:
    end_us = as_of_us + settings.label_days * DAY_US
    relevant = Relevant.read(view, as_of_us, end_us, recommender.index)
    known = interactions(view, as_of_us, recommender.settings.interactions, recommender.item_ids)
    lengths = np.diff(known.weights.indptr).astype(np.int64)
    rows = np.flatnonzero((lengths > 0) & (relevant.counts > 0))
    if not len(rows):
        raise NotEnoughDataError(
            f"0 customers known at {format_instant(as_of_us)} bought an item of the catalogue in the "
            f"{settings.label_days} days after it, at least 1 is needed; choose an earlier cut-off"
        )
    n_eligible = len(rows)
    if n_eligible > settings.max_customers:
        rows = np.sort(rng.choice(rows, settings.max_customers, replace=False))
    chosen, wanted = view.select(rows), relevant.select(rows)
    bought = Purchases.read(chosen, as_of_us, recommender.index)
    repeat = np.isin(wanted.keys, bought.customers * max(wanted.n_items, 1) + bought.items)
    return _Judged(chosen, wanted, repeat, lengths[rows]), n_eligible


def _segments(judged: _Judged, bounds: Sequence[int]) -> Iterator[tuple[str, Relevant, Ints]]:
    """Name, relevant items and rows of the customers of each segment that has any."""
    everybody = np.arange(judged.view.n_customers)
    yield "all", judged.relevant, everybody
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
    source: str, segment: str, slates: Ints, relevant: Relevant, rng: np.random.Generator, n_replicates: int
) -> tuple[SourceFigures, Floats]:
    hit, counts = hits(slates, relevant), relevant.counts
    first = hit[:, :_K]

    values = {
        "ndcg_at_10": ndcg(first, counts),
        "recall_at_10": recall(first, counts),
        "recall_at_20": recall(hit, counts),
        "map_at_10": average_precision(first, counts),
        "hit_rate_at_10": hit_rate(first, counts),
    }
    intervals = bootstrap_means(np.column_stack(list(values.values())), rng, n_replicates)
    return SourceFigures(
        source=source,
        segment=segment,
        n_customers=len(slates),
        coverage_at_10=coverage(slates[:, :_K], relevant.n_items),
        **{name: Estimate(*row) for name, row in zip(values, intervals.tolist(), strict=True)},
    ), values["ndcg_at_10"]


def _gains(ndcgs: dict[tuple[str, str], Floats], rng: np.random.Generator, n_replicates: int) -> Iterator[Gain]:
    for name in (_BLEND, *_BASELINES):
        for segment in ("all", "repeat", "new"):
            if (name, segment) in ndcgs:
                ours, theirs = ndcgs[_OURS, segment], ndcgs[name, segment]
                (interval,) = bootstrap_means((ours - theirs)[:, None], rng, n_replicates).tolist()
                difference = Estimate(*interval)
                base = float(np.mean(theirs))
                yield Gain(name, segment, difference, difference.mean / base if base > 0 else float("nan"))
