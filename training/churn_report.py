"""A churn report: figures of the model and its baselines at one cut-off, and the verdicts in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.instants import format_instant
from serving.churn_model import Awaits
from serving.evidence.score_shift import Drift
from training.churn_horizons import HorizonFigures, HorizonSlice
from training.churn_metrics import Interval
from training.churn_slices import SliceFigures
from training.contact_curve import ContactCurve
from training.cutoffs import TimeSplit
from training.quality_estimate import CheckedEstimate

__all__ = ["ChurnFigures", "ChurnReport", "Comparison", "ScoredSlice"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChurnFigures:
    """One model at one cut-off. auc, average_precision, lift: higher is better; brier, ece: lower is better."""

    model: str
    auc: float
    auc_interval: Interval
    average_precision: float
    average_precision_interval: Interval
    brier: float
    brier_interval: Interval
    ece: float
    lift_top_decile: float
    mean_probability: float


@dataclass(frozen=True)
class Comparison:
    """Our AUC minus a baseline's on the same customers, with its bootstrap interval."""

    baseline: str
    auc_difference: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """`beats`, `not distinguishable from` or `loses to`, by whether the interval excludes 0."""
        if self.interval.low > 0:
            return "beats"
        return "loses to" if self.interval.high < 0 else "is not distinguishable from"

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        return (
            f"The model {self.verdict} the {self.baseline} baseline: AUC difference {self.auc_difference:+.4f} "
            f"(95% interval {self.interval.low:+.4f} to {self.interval.high:+.4f})."
        )


@dataclass(frozen=True, eq=False)
class ScoredSlice:
    """What plots are drawn from: labels bool (n,) and, by model, probabilities float64 (n,); and ours by horizon."""

    labels: npt.NDArray[np.bool_]
    probabilities: Mapping[str, Array]
    by_horizon: tuple[HorizonSlice, ...]


@dataclass(frozen=True, eq=False)
class ChurnReport:
    """How the model and the baselines did at one test cut-off; `figures[0]` is ours.

    question: what leaving means, in words. awaits: what the question waits for.
    horizons: ours at each horizon told of, ascending; the last is the headline.
    slices: ours by kind of customer.
    contacts: what contacting the riskiest would have brought; contacts_by_gain: the same if those come first of whom
    the most is expected, None where costs or values are not known.
    estimate: the label-free estimate of quality at the cut-off, and what came of it.
    drift: of the inputs, from the training rows to the rows judged, the largest first; () where not measured.
    weights_of_reasons: mean absolute contribution to the log-odds of each group of features, the largest first.
    """

    as_of_us: int
    question: str
    awaits: Awaits
    n_customers: int
    base_rate: float
    split: TimeSplit
    figures: tuple[ChurnFigures, ...]
    comparisons: tuple[Comparison, ...]
    lift: tuple[float, ...]
    scored: ScoredSlice
    horizons: tuple[HorizonFigures, ...]
    slices: tuple[SliceFigures, ...]
    contacts: ContactCurve
    contacts_by_gain: ContactCurve | None
    estimate: CheckedEstimate
    drift: tuple[Drift, ...]
    weights_of_reasons: Mapping[str, float]

    @property
    def slice_name(self) -> str:
        """Names the judged rows: two reports of one name can be compared."""
        return f"churn at {format_instant(self.as_of_us)}, {self.n_customers} customers, base rate {self.base_rate:.6f}"

    @property
    def beats_all_baselines(self) -> bool:
        """Whether every comparison's interval lies above 0."""
        return all(comparison.interval.low > 0 for comparison in self.comparisons)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdicts in words: one a baseline, how calibration was done and how it held, whom it finds, warnings."""
        how = {
            "later_slice": "Calibrated on a slice later than every training label window.",
            "held_out_customers": "The log is too short for a later calibration slice: calibrated on held-out "
            "customers of the latest training cut-off.",
            "cross_fitted": "A table is of one time: judged on customers kept apart and calibrated on others held out "
            "of fitting in turn. How well the model holds later, only a later table can tell.",
        }
        return (
            *(comparison.sentence for comparison in self.comparisons),
            how[self.split.calibration_by],
            *(_horizon_sentence(row, self.awaits) for row in self.horizons),
            self._campaign_sentence(),
            *self._warning_sentences(),
        )

    def _campaign_sentence(self) -> str:
        row = min(self.contacts.rows, key=lambda row: abs(row.share - 0.1))
        return (
            f"Of the riskiest {row.share:.0%} of the customers {row.leavers_reached:,} of {row.n_contacted:,} left, "
            f"{row.leavers_share:.0%} of all who did."
        )

    def _warning_sentences(self) -> tuple[str, ...]:
        warned = [row for row in self.slices if row.warning]
        if not warned:
            return ()
        names = "; ".join(f"{row.dimension}: {row.group} ({row.n:,})" for row in warned)
        return (
            f"Careful with {len(warned)} of {len(self.slices)} kinds of customers, for whom it does worse: {names}.",
        )

    def metrics(self) -> dict[str, float]:
        """Ours as flat figures for tracking and promotion; those of one horizon end in its days, as in `ece_30d`."""
        ours = self.figures[0]
        found = {
            "auc": ours.auc,
            "auc_ci_low": ours.auc_interval.low,
            "auc_ci_high": ours.auc_interval.high,
            "average_precision": ours.average_precision,
            "brier": ours.brier,
            "ece": ours.ece,
            "lift_top_decile": ours.lift_top_decile,
            "base_rate": self.base_rate,
            "n_customers": float(self.n_customers),
            "auc_expected": self.estimate.of("auc").expected,
            "brier_expected": self.estimate.of("brier").expected,
            "n_slices_warned": float(sum(bool(row.warning) for row in self.slices)),
        }
        if self.drift:
            found["psi_largest"] = self.drift[0].psi
            found["n_inputs_moved"] = float(sum(drift.level != "steady" for drift in self.drift))
        for row in self.horizons:
            for name in ("base_rate", "mean_probability", "auc", "brier", "ece"):
                found[f"{name}_{row.horizon_days}d"] = getattr(row, name)
        return found

    def baseline_metrics(self) -> dict[str, dict[str, float]]:
        """The baselines' figures by name, and the interval of our AUC minus theirs on the same customers."""
        found = {
            f.model: {"auc": f.auc, "average_precision": f.average_precision, "brier": f.brier, "ece": f.ece}
            for f in self.figures[1:]
        }
        for one in self.comparisons:
            bounds = {"auc_difference_ci_low": one.interval.low, "auc_difference_ci_high": one.interval.high}
            found[one.baseline] |= bounds
        return found


def _horizon_sentence(row: HorizonFigures, awaits: Awaits) -> str:
    done = "ordered nothing" if awaits == "return" else "left"
    return (
        f"Within {row.horizon_days} days {row.base_rate:.1%} {done}, and {row.mean_probability:.1%} were said to; "
        f"calibration error {row.ece:.3f} (95% interval {row.ece_interval.low:.3f} to {row.ece_interval.high:.3f})."
    )
