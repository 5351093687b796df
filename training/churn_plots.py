"""Pictures of a churn report, as PNG bytes: who is ranked first, whether probabilities hold, what a campaign gains."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from features.instants import format_instant
from training.churn_metrics import calibration_bins, lift_by_decile
from training.churn_report import ChurnReport

__all__ = ["calibration_png", "churn_pngs", "lift_png", "ranking_png"]

Array = npt.NDArray[np.float64]


def churn_pngs(report: ChurnReport) -> dict[str, bytes]:
    """Every picture by its file name."""
    return {
        "roc_and_precision_recall.png": ranking_png(report),
        "calibration.png": calibration_png(report),
        "lift.png": lift_png(report),
    }


def ranking_png(report: ChurnReport) -> bytes:
    """ROC and precision-recall curves of the model and the baselines, side by side."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    roc, recall = figure.subplots(1, 2)
    for row in report.figures:
        false_rate, hit_rate, precision = _curves(report.scored.labels, report.scored.probabilities[row.model])
        roc.plot(false_rate, hit_rate, label=f"{row.model}: AUC {row.auc:.3f}")
        recall.plot(hit_rate, precision, label=f"{row.model}: AP {row.average_precision:.3f}")
    roc.plot([0, 1], [0, 1], color="grey", linestyle=":")
    recall.axhline(report.base_rate, color="grey", linestyle=":")
    roc.set(xlabel="share of those who stayed", ylabel="share of those who churned", title="ROC")
    recall.set(xlabel="recall", ylabel="precision", title="Precision and recall", ylim=(0, 1.02))
    for axes in (roc, recall):
        axes.legend(loc="lower right")
    return _png(figure, report)


def calibration_png(report: ChurnReport) -> bytes:
    """Said against happened, ten groups of equal size a model; on the line is right."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for row in report.figures:
        bins = calibration_bins(report.scored.labels, report.scored.probabilities[row.model])
        said, happened = [b.mean_probability for b in bins], [b.churned_share for b in bins]
        axes.plot(said, happened, marker="o", label=f"{row.model}: ECE {row.ece:.3f}")
    axes.set(
        xlabel="mean churn probability", ylabel="share that churned", xlim=(0, 1), ylim=(0, 1), title="Calibration"
    )
    axes.legend(loc="upper left")
    return _png(figure, report)


def lift_png(report: ChurnReport) -> bytes:
    """Churned share of each tenth over the overall share, riskiest tenth first."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for row in report.figures:
        lift = lift_by_decile(report.scored.labels, report.scored.probabilities[row.model])
        axes.plot(np.arange(1, lift.size + 1), lift, marker="o", label=row.model)
    axes.axhline(1.0, color="grey", linestyle=":")
    axes.set_xticks(np.arange(1, 11))
    axes.set(xlabel="tenth of the customers, riskiest first", ylabel="lift", title="Lift by decile")
    axes.legend(loc="upper right")
    return _png(figure, report)


def _curves(labels: npt.NDArray[np.bool_], said: Array) -> tuple[Array, Array, Array]:
    """False-positive rate, recall and precision at each distinct probability, from the top down."""
    order = np.argsort(-said, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(said[order]) != 0, True))
    hits = np.cumsum(labels[order])[ends].astype(np.float64)
    shown = (ends + 1).astype(np.float64)
    start = np.zeros(1)
    false_rate = np.concatenate([start, (shown - hits) / float((~labels).sum())])
    recall = np.concatenate([start, hits / float(labels.sum())])
    return false_rate, recall, np.concatenate([(hits / shown)[:1], hits / shown])


def _png(figure: Figure, report: ChurnReport) -> bytes:
    figure.suptitle(f"{report.n_customers:,} customers at {format_instant(report.as_of_us)[:10]}")
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": ""})
    return out.getvalue()
