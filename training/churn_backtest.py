"""Judge the recipe rather than one model: refit and judge at cut-off after cut-off, as if it were then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.feature_set import FeatureSet
from features.instants import DAY_US, format_instant
from serving.churn_model import ChurnModel
from training.churn_evaluation import Fitted, fit_as_of, judge_fitted, label_test
from training.churn_judging import Traits, reason_sums
from training.churn_report import ChurnReport
from training.churn_settings import ChurnSettings
from training.cutoffs import backtest_cutoffs, observed_span, split_in_time
from training.log_data import Progress, silent
from training.reason_stability import ReasonStability, reason_stability

__all__ = ["LEAST_CUTOFFS", "ChurnBacktest", "backtest_churn", "reasons_kept"]

LEAST_CUTOFFS = 6
"""As many cut-offs a backtest should have to convince; where the log allows fewer, it says so."""

MOST_CUTOFFS = 8
_REASON_ROWS = 1_000


@dataclass(frozen=True, eq=False)
class ChurnBacktest:
    """Reports of several cut-offs, ascending, each from models fitted as of then.

    stabilities: for each report but the first, how alike its model's reasons are to those of the model before, for the
    same customers. skipped: which cut-offs were not judged, and why. horizon_days: of the label windows.
    """

    reports: tuple[ChurnReport, ...]
    stabilities: tuple[ReasonStability, ...]
    skipped: tuple[tuple[int, str], ...]
    horizon_days: int

    def rows(self) -> list[dict[str, object]]:
        """One row a cut-off and model, for scripts."""
        return [
            {
                "as_of": format_instant(report.as_of_us),
                "model": figures.model,
                "customers": report.n_customers,
                "base_rate": report.base_rate,
                "auc": figures.auc,
                "average_precision": figures.average_precision,
                "brier": figures.brier,
                "ece": figures.ece,
                "calibration_by": report.split.calibration_by,
            }
            for report in self.reports
            for figures in report.figures
        ]

    def table(self) -> list[dict[str, object]]:
        """One row a cut-off, for people; the last columns are the AUC of ours and of each baseline."""
        return [
            {
                "as_of": format_instant(report.as_of_us),
                "n": report.n_customers,
                "left": report.base_rate,
                "said": report.figures[0].mean_probability,
                "ECE": report.figures[0].ece,
                "Brier": report.figures[0].brier,
                "AUC": report.figures[0].auc,
                **{figures.model: figures.auc for figures in report.figures[1:]},
            }
            for report in self.reports
        ]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What all cut-offs together say."""
        found = [_count_sentence(self), *_range_sentences(self.reports)]
        for name in (comparison.baseline for comparison in self.reports[0].comparisons):
            verdicts = [c.verdict for report in self.reports for c in report.comparisons if c.baseline == name]
            found.append(
                f"It beats the {name} baseline at {verdicts.count('beats')} of {len(verdicts)} cut-offs and loses to "
                f"it at {verdicts.count('loses to')}."
            )
        if self.stabilities:
            shared = np.mean([stability.top_overlap for stability in self.stabilities])
            order = np.mean([stability.importance_correlation for stability in self.stabilities])
            found.append(
                f"From one retraining to the next, customers keep {shared:.0%} of their first three reasons; the "
                f"weights of the reasons keep their order with a rank correlation of {order:.2f}."
            )
        return tuple(found)


def backtest_churn(
    view: CustomerView,
    feature_set: FeatureSet,
    settings: ChurnSettings,
    cutoffs: Sequence[int] | None = None,
    *,
    observed_until_us: int | None = None,
    traits: Traits | None = None,
    progress: Progress = silent,
) -> ChurnBacktest:
    """Refit and judge at each of several cut-offs, as if it were then; by default 6 to 8, see `backtest_cutoffs`.

    Cut-offs without enough history before them are skipped and named.

    Raises:
        NotEnoughDataError: every cut-off was skipped; the message gives the last reason.
    """
    first_us, last_us = observed_span(view)
    end_us = last_us if observed_until_us is None else observed_until_us
    spread = {"least": LEAST_CUTOFFS, "most": MOST_CUTOFFS}
    chosen = backtest_cutoffs(first_us, end_us, settings, **spread) if cutoffs is None else sorted(cutoffs)
    reports: list[ChurnReport] = []
    stabilities: list[ReasonStability] = []
    skipped: list[tuple[int, str]] = []
    before: Fitted | None = None
    for place, cutoff in enumerate(chosen, start=1):
        progress(f"refitting and judging at {format_instant(cutoff)[:10]}, cut-off {place} of {len(chosen)}")
        try:
            split = split_in_time(first_us, end_us, settings, test_us=cutoff)
            fitted = fit_as_of(view, feature_set, split, settings, end_us, gated=False)
            test_set = label_test(view, feature_set, split, settings, end_us)
            reports.append(judge_fitted(fitted, test_set, split, settings, view, traits))
        except NotEnoughDataError as error:
            skipped.append((cutoff, str(error)))
            continue
        if before is not None:
            stabilities.append(reasons_kept(before.model, fitted.model, test_set.values[:_REASON_ROWS]))
        before = fitted
    if not reports:
        raise NotEnoughDataError(f"none of {len(chosen)} cut-offs could be judged; the last: {skipped[-1][1]}")
    return ChurnBacktest(tuple(reports), tuple(stabilities), tuple(skipped), settings.label_window_days)


def reasons_kept(earlier: ChurnModel, later: ChurnModel, values: npt.NDArray[np.float64]) -> ReasonStability:
    """How alike the reasons of two models are for the same customers' values, float64 (n, f)."""
    return reason_stability(reason_sums(earlier, values), reason_sums(later, values))


def _count_sentence(found: ChurnBacktest) -> str:
    """How many cut-offs there are and whether their label windows overlap."""
    instants = [report.as_of_us for report in found.reports]
    n, first, last = len(instants), format_instant(instants[0])[:10], format_instant(instants[-1])[:10]
    if n == 1:
        return f"Judged at 1 cut-off alone, {first}: the log is too short for more."
    step = min(after - before for before, after in pairwise(instants)) // DAY_US
    few = f"; the log is too short for {LEAST_CUTOFFS}" if n < LEAST_CUTOFFS else ""
    apart = (
        ""
        if step >= found.horizon_days
        else (f" Their label windows of {found.horizon_days} days overlap, so they are not {n} independent proofs.")
    )
    return f"Refitted and judged at {n} cut-offs, {step} days apart, from {first} to {last}{few}.{apart}"


def _range_sentences(reports: Sequence[ChurnReport]) -> tuple[str, ...]:
    areas, errors = ([getattr(report.figures[0], name) for report in reports] for name in ("auc", "ece"))
    rates = [report.base_rate for report in reports]
    held = sum(report.estimate.calibrated for report in reports)
    figures = (
        f"AUC from {min(areas):.3f} to {max(areas):.3f}; calibration error from {min(errors):.3f} to "
        f"{max(errors):.3f}, while from {min(rates):.1%} to {max(rates):.1%} left."
    )
    return figures, f"The estimate of quality without labels held at {held} of {len(reports)} cut-offs."
