"""Pictures of a churn report, as PNG bytes: who is ranked first, whether probabilities hold, for whom, and why."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.evidence.score_shift import MOVED, MOVED_MUCH
from training.churn_metrics import calibration_bins, lift_by_decile
from training.churn_report import ChurnReport
from training.plotting import COLOURS, OURS_COLOUR, new_figure, png, shown_model

__all__ = ["calibration_png", "churn_pngs", "drift_png", "gain_png", "ranking_png", "reasons_png", "slices_png"]

Array = npt.NDArray[np.float64]
_MOST_SLICES = 40
_MOST_INPUTS = 12


def churn_pngs(report: ChurnReport) -> dict[str, bytes]:
    """Every picture by its file name."""
    found = {
        "calibration.png": calibration_png(report),
        "gain_and_lift.png": gain_png(report),
        "roc_and_precision_recall.png": ranking_png(report),
        "reasons.png": reasons_png(report),
    }
    if report.slices:
        found["slices.png"] = slices_png(report)
    if report.drift:
        found["drift.png"] = drift_png(report)
    return found


def ranking_png(report: ChurnReport) -> bytes:
    """ROC and precision-recall curves of the model and the baselines, side by side."""
    figure, (roc, recall) = new_figure(11, 4.8, 2)
    for place, row in enumerate(report.figures):
        false_rate, hit_rate, precision = _curves(report.scored.labels, report.scored.probabilities[row.model])
        style = _style(place)
        roc.plot(false_rate, hit_rate, label=f"{shown_model(row.model)}: AUC {row.auc:.3f}", **style)
        recall.plot(hit_rate, precision, label=f"{shown_model(row.model)}: AP {row.average_precision:.3f}", **style)
    roc.plot([0, 1], [0, 1], color="grey", linestyle=":")
    recall.axhline(report.base_rate, color="grey", linestyle=":")
    roc.set(xlabel="share of those who stayed, caught by mistake", ylabel="share of those who left, caught")
    roc.set_title("Telling leavers from stayers (ROC)")
    recall.set(xlabel="share of those who left, caught", ylabel="of those caught, share who left", ylim=(0, 1.02))
    recall.set_title("Precision and recall")
    roc.legend(loc="lower right")
    recall.legend(loc="lower left")
    return png(figure)


def calibration_png(report: ChurnReport) -> bytes:
    """Said against happened in ten groups of equal size: beside the baselines, and at every horizon."""
    figure, (models, horizons) = new_figure(11, 5.2, 2)
    for place, row in enumerate(report.figures):
        said, happened = _bins(report.scored.labels, report.scored.probabilities[row.model])
        label = f"{shown_model(row.model)}: error {row.ece:.3f}"
        models.plot(said, happened, marker="o", markersize=4, label=label, **_style(place))
    for place, (figures, part) in enumerate(zip(report.horizons, report.scored.by_horizon, strict=True)):
        said, happened = _bins(part.labels, part.probabilities)
        label = f"{figures.horizon_days} days: error {figures.ece:.3f}"
        colour = COLOURS[place % len(COLOURS)]
        horizons.plot(said, happened, marker="o", markersize=4, color=colour, label=label)
    models.set_title(f"Within {report.horizons[-1].horizon_days} days, beside the baselines")
    horizons.set_title("This model, by horizon")
    for axes in (models, horizons):
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        axes.set(xlabel="said: mean probability of leaving", ylabel="happened: share that left", xlim=(0, 1))
        axes.set_ylim(0, 1)
        axes.legend(loc="upper left")
    return png(figure)


def gain_png(report: ChurnReport) -> bytes:
    """Share of the leavers among the riskiest customers, and the lift of each tenth."""
    figure, (gain, lift) = new_figure(11, 4.8, 2)
    labels = report.scored.labels
    perfect = [0.0, report.base_rate, 1.0]
    gain.plot(perfect, [0.0, 1.0, 1.0], color="grey", linestyle="--", linewidth=1, label="knowing the future")
    for place, row in enumerate(report.figures):
        said = report.scored.probabilities[row.model]
        hits = np.cumsum(labels[np.argsort(-said, kind="stable")])
        shares = np.linspace(0, 1, 101)[1:]
        reached = hits[np.maximum(np.rint(shares * labels.size).astype(np.int64), 1) - 1] / max(int(hits[-1]), 1)
        gain.plot([0, *shares], [0, *reached], label=shown_model(row.model), **_style(place))
        by_tenth = lift_by_decile(labels, said)
        lift.plot(np.arange(1, by_tenth.size + 1), by_tenth, marker="o", markersize=4, **_style(place))
    gain.plot([0, 1], [0, 1], color="grey", linestyle=":")
    gain.set(xlabel="share of the customers, riskiest first", ylabel="share of all leavers among them", xlim=(0, 1))
    gain.set_ylim(0, 1.02)
    gain.set_title("Gain")
    gain.legend(loc="lower right")
    lift.axhline(1.0, color="grey", linestyle=":")
    lift.set_xticks(np.arange(1, 11))
    lift.set(xlabel="tenth of the customers, riskiest first", ylabel="times as many leavers as on average")
    lift.set_ylim(bottom=0)
    lift.set_title("Lift")
    return png(figure)


def slices_png(report: ChurnReport) -> bytes:
    """What was said and what happened in each kind of customer, and how well leavers were told apart there."""
    rows = report.slices[:_MOST_SLICES]
    places = np.arange(len(rows))[::-1]
    figure, (level, area) = new_figure(11, 1.3 + 0.32 * len(rows), 2, sharey=True)
    level.scatter([row.base_rate for row in rows], places, color="#444444", label="happened", zorder=3)
    level.scatter(
        [row.mean_probability for row in rows], places, color=OURS_COLOUR, marker="D", s=28, label="said", zorder=3
    )
    level.hlines(places, [row.base_rate for row in rows], [row.mean_probability for row in rows], color="#bbbbbb")
    names = [f"{row.dimension}: {row.group} (n = {row.n:,})" for row in rows]
    level.set_yticks(places, names, fontsize=8.5)
    for label, row in zip(level.get_yticklabels(), rows, strict=True):
        if row.warning:
            label.set_color("#b35c00")
            label.set_fontweight("bold")
    level.set(xlabel="share that left", xlim=(0, 1))
    level.set_title("Said and happened")
    level.legend(loc="lower right")
    known = [(row, place) for row, place in zip(rows, places, strict=True) if not np.isnan(row.auc)]
    low = [row.auc - row.auc_interval.low for row, _ in known]
    high = [row.auc_interval.high - row.auc for row, _ in known]
    bars = {"xerr": [low, high], "fmt": "o", "color": OURS_COLOUR, "capsize": 2, "markersize": 4}
    area.errorbar([row.auc for row, _ in known], [place for _, place in known], **bars)
    area.axvline(report.figures[0].auc, color="grey", linestyle=":")
    area.set(xlabel="AUC with 95% interval; dotted: all customers")
    area.set_title("Telling leavers from stayers")
    return png(figure)


def reasons_png(report: ChurnReport) -> bytes:
    """How much each group of features moves the probability, on average over customers."""
    weights = dict(list(report.weights_of_reasons.items())[:_MOST_INPUTS])
    figure, (axes,) = new_figure(8, 1.2 + 0.34 * len(weights), 1)
    places = np.arange(len(weights))[::-1]
    axes.barh(places, list(weights.values()), color=OURS_COLOUR)
    axes.set_yticks(places, [name.replace("_", " ") for name in weights])
    axes.set(xlabel="mean distance by which it moves a customer's log-odds, up or down")
    axes.set_title("What the model looks at")
    return png(figure)


def drift_png(report: ChurnReport) -> bytes:
    """The inputs that moved most between training and the test cut-off."""
    rows = report.drift[:_MOST_INPUTS]
    figure, (axes,) = new_figure(8, 1.2 + 0.34 * len(rows), 1)
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [row.psi for row in rows], color=OURS_COLOUR)
    axes.set_yticks(places, [row.name for row in rows], fontsize=9)
    for limit, words in ((MOVED, "moved"), (MOVED_MUCH, "moved much")):
        axes.axvline(limit, color="#b35c00", linestyle=":")
        axes.annotate(words, (limit, 1.0), xycoords=("data", "axes fraction"), fontsize=8, color="#b35c00")
    axes.set(xlabel="population stability index", xlim=(0, max(1.15 * MOVED_MUCH, 1.05 * rows[0].psi)))
    axes.set_title("Inputs that moved most", pad=14)
    return png(figure)


def _style(place: int) -> dict[str, object]:
    """Ours is drawn strong and on top, the baselines thin."""
    if place == 0:
        return {"color": OURS_COLOUR, "linewidth": 2.2, "zorder": 5}
    return {"color": COLOURS[place % len(COLOURS)], "linewidth": 1.3}


def _bins(labels: npt.NDArray[np.bool_], said: Array) -> tuple[list[float], list[float]]:
    bins = calibration_bins(labels, said)
    return [b.mean_probability for b in bins], [b.churned_share for b in bins]


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
