"""Judging by the last purchase of each customer, as published tables do: beside the split in time, not instead of it.

Each customer's last purchase is taken out of the log with all that this customer did from then on, a recommender is
fitted on what is left, and every item is ranked for every customer as of the day of their own last purchase. That leaks
time: the model has seen what others did after that day, and so knows of fashions that nobody knew of then. The figures
say nothing of what to expect in service; they are there to be put beside tables that were made the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US
from features.interactions import ItemIndex
from serving.recommender import Recommender
from training.recommender import RecommenderFitSettings, fit_with_choice
from training.recommender_judging import EvaluationSettings, Judged, judge
from training.recommender_metrics import Relevant, repeats
from training.recommender_report import LEAVE_LAST_OUT, RecommenderReport
from training.slate_diversity_metrics import bought_shares

__all__ = ["HeldOut", "evaluate_leave_last_out"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A log without the last purchase of each customer who bought at two instants or more.

    Attributes:
        known: the view of what is left; the customers are those of the whole log.
        rows: int64 (m,), ascending, the customers with something held out.
        last_us: int64 (m,), the instant of what is held out: everything bought at that instant.
    """

    known: CustomerView
    rows: Ints
    last_us: Ints

    @classmethod
    def of(cls, view: CustomerView) -> HeldOut:
        """What is left of a log; of customers with purchases at a single instant everything is."""
        track = view.track("purchase")
        first, last = np.full((2, view.n_customers), np.iinfo(np.int64).max)
        last[:] = np.iinfo(np.int64).min
        np.minimum.at(first, track.customer_rows, track.occurred_us)
        np.maximum.at(last, track.customer_rows, track.occurred_us)
        twice = first < last
        known = view.before(np.where(twice, last, np.iinfo(np.int64).max))
        rows = np.flatnonzero(twice)
        return cls(known, rows, last[rows])

    def relevant(self, view: CustomerView, index: ItemIndex) -> Relevant:
        """What was held out, of the customers `rows` counted from 0; `view` is the whole log."""
        track = view.track("purchase")
        last = np.full(view.n_customers, np.iinfo(np.int64).min)
        last[self.rows] = self.last_us
        return Relevant.of_lines(view, track.occurred_us == last[track.customer_rows], index).select(self.rows)


def evaluate_leave_last_out(
    view: CustomerView,
    fitting: RecommenderFitSettings,
    settings: EvaluationSettings,
    *,
    observed_until_us: int,
    items: pa.Table | None = None,
) -> RecommenderReport:
    """Fit on everything but the last purchase of each customer, and judge by that.

    Args:
        view: the whole log.
        fitting: how to fit; what is chosen is chosen at the end of what is left of the log.
        settings: how to judge; `label_days` plays no part.
        observed_until_us: exclusive end of what the log covers, microseconds.
        items: attributes of the items.

    Raises:
        NotEnoughDataError: nobody bought twice, or none of what was held out is in the catalogue.
    """
    rng = np.random.default_rng(settings.seed)
    held_out = HeldOut.of(view)
    if not len(held_out.rows):
        raise NotEnoughDataError("0 customers bought at two instants or more, at least 1 is needed to hold one out")
    fitted = fit_with_choice(held_out.known, observed_until_us, fitting, items=items)
    recommender = fitted.recommender
    judged, n_eligible, n_outside = _judged(recommender, view, held_out, settings, rng)
    known = recommender.histories(held_out.known, observed_until_us)
    shares = bought_shares(known.bought, len(recommender.item_ids))
    found = judge(recommender, judged, settings.history_bounds, shares, rng, settings.n_replicates)
    return RecommenderReport(
        as_of_us=observed_until_us,
        label_days=0,
        n_items=len(recommender.item_ids),
        n_eligible=n_eligible,
        n_judged=judged.n_customers,
        n_outside=n_outside,
        n_unknown=0,
        blend=dict(recommender.settings.blend),
        new=dict(recommender.settings.new),
        figures=found.figures,
        gains=found.gains,
        ranker=fitted.choice,
        split=LEAVE_LAST_OUT,
    )


def _judged(
    recommender: Recommender,
    view: CustomerView,
    held_out: HeldOut,
    settings: EvaluationSettings,
    rng: np.random.Generator,
) -> tuple[Judged, int, int]:
    """Who is judged, in the order of the days of what is held out; of how many; pairs with items nobody else met."""
    relevant = held_out.relevant(view, recommender.index)
    chosen = np.flatnonzero(relevant.counts > 0)
    if not len(chosen):
        raise NotEnoughDataError("0 of the items held out were met by anybody else, at least 1 is needed")
    n_eligible = len(chosen)
    if n_eligible > settings.max_customers:
        chosen = np.sort(rng.choice(chosen, settings.max_customers, replace=False))
    parts, order = [], []
    days = held_out.last_us[chosen] // DAY_US
    for day in np.unique(days):
        own = chosen[days == day]
        order.append(own)
        parts.append(recommender.histories(held_out.known.select(held_out.rows[own]), int(day + 1) * DAY_US))
    wanted = [relevant.select(own) for own in order]
    repeat = [repeats(part, one) for part, one in zip(parts, wanted, strict=True)]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    judged = Judged(tuple(parts), Relevant.together(wanted), np.concatenate(repeat), lengths)
    return judged, n_eligible, relevant.n_outside
