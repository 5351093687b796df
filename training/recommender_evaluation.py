"""Judging a recommender forward in time, by serving's own slates, beside the baselines and each source alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US, format_instant
from features.interactions import interactions
from serving.recommender import Recommender
from serving.sources.histories import Histories
from training.cutoffs import observed_span
from training.leave_last_out import evaluate_leave_last_out
from training.recommender import RecommenderFitSettings, fit_recommender, fit_with_choice
from training.recommender_judging import EvaluationSettings, Judged, judge
from training.recommender_metrics import Relevant, repeats
from training.recommender_report import RecommenderReport
from training.slate_diversity_metrics import bought_shares

__all__ = [
    "EvaluationSettings",
    "RecommenderTraining",
    "backtest_recommender",
    "evaluate_recommender",
    "train_recommender",
]


@dataclass(frozen=True)
class RecommenderTraining:
    """A recommender fitted on everything known at the end of the log, and how its like did out of time before it.

    last_out: how its like did on the last purchase of each customer; None where that was not asked for.
    """

    recommender: Recommender
    report: RecommenderReport
    last_out: RecommenderReport | None = None


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
    histories = recommender.histories(view, as_of_us)
    judged, n_eligible, n_unknown = _judged(recommender, histories, view, settings, rng)
    shares = bought_shares(histories.bought, len(recommender.item_ids))
    found = judge(recommender, judged, settings.history_bounds, shares, rng, settings.n_replicates)
    return RecommenderReport(
        as_of_us=as_of_us,
        label_days=settings.label_days,
        n_items=len(recommender.item_ids),
        n_eligible=n_eligible,
        n_judged=judged.n_customers,
        n_outside=judged.relevant.n_outside,
        n_unknown=n_unknown,
        blend=dict(recommender.settings.blend),
        new=dict(recommender.settings.new),
        figures=found.figures,
        gains=found.gains,
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
    return tuple(_fitted_and_judged(view, as_of_us, fitting, settings, items)[1] for as_of_us in cutoffs)


def train_recommender(
    view: CustomerView,
    fitting: RecommenderFitSettings,
    settings: EvaluationSettings,
    *,
    observed_until_us: int | None = None,
    items: pa.Table | None = None,
) -> RecommenderTraining:
    """Judge at `label_days` before the end of the log, then fit the sources anew on everything.

    Weights and rankers stay as they were judged.

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
    judged, report = _fitted_and_judged(view, end_us - settings.label_days * DAY_US, fitting, settings, items)
    fixed = replace(
        fitting,
        blend=report.blend,
        new=report.new,
        session=judged.settings.session,
        ranker=replace(fitting.ranker, enabled=False),
    )
    known_us = max(end_us, int(view.recorded_us.max(initial=0)) + 1)
    met = interactions(view, known_us, fitting.interactions).item_ids.tolist()
    item_ids = met if items is None else sorted({*met, *items["item_id"].to_pylist()})
    last_out = None
    if settings.leave_last_out:
        last_out = evaluate_leave_last_out(view, fixed, settings, observed_until_us=known_us, items=items)
    recommender = fit_recommender(view, known_us, fixed, items=items, item_ids=item_ids)
    recommender = replace(recommender, ranker=judged.ranker, new_ranker=judged.new_ranker)
    return RecommenderTraining(recommender, report, last_out)


def _fitted_and_judged(
    view: CustomerView,
    as_of_us: int,
    fitting: RecommenderFitSettings,
    settings: EvaluationSettings,
    items: pa.Table | None,
) -> tuple[Recommender, RecommenderReport]:
    fitted = fit_with_choice(view, as_of_us, fitting, items=items)
    report = evaluate_recommender(fitted.recommender, view, as_of_us, settings)
    return fitted.recommender, replace(report, ranker=fitted.choice, new_ranker=fitted.new_choice)


def _judged(
    recommender: Recommender,
    histories: Histories,
    view: CustomerView,
    settings: EvaluationSettings,
    rng: np.random.Generator,
) -> tuple[Judged, int, int]:
    """Who is judged, of how many who could be, and how many more bought without anything known of them."""
    as_of_us = histories.as_of_us
    end_us = as_of_us + settings.label_days * DAY_US
    relevant = Relevant.read(view, as_of_us, end_us, recommender.index)
    lengths = np.diff(histories.offsets)
    buying = relevant.counts > 0
    rows = np.flatnonzero((lengths > 0) & buying)
    if not len(rows):
        raise NotEnoughDataError(
            f"0 customers known at {format_instant(as_of_us)} bought an item of the catalogue in the "
            f"{settings.label_days} days after it, at least 1 is needed; choose an earlier cut-off"
        )
    n_eligible = len(rows)
    if n_eligible > settings.max_customers:
        rows = np.sort(rng.choice(rows, settings.max_customers, replace=False))
    chosen, wanted = histories.select(rows), relevant.select(rows)
    judged = Judged((chosen,), wanted, repeats(chosen, wanted), lengths[rows])
    return judged, n_eligible, int(buying.sum()) - n_eligible
