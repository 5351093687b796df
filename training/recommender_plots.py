"""Pictures of a recommender report, as PNG bytes: who gains from history, and which source does how well."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure

from features.instants import format_instant
from training.recommender_report import Estimate, RecommenderReport

__all__ = ["ndcg_png", "recall_by_history_png", "recommender_pngs"]

_HISTORY = "history "


def recommender_pngs(report: RecommenderReport) -> dict[str, bytes]:
    """Every picture by its file name."""
    return {"recall_by_history.png": recall_by_history_png(report), "ndcg_by_source.png": ndcg_png(report)}


def recall_by_history_png(report: RecommenderReport) -> bytes:
    """Recall@20 of each source over the number of items in the history, with 95% intervals."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    segments = list(dict.fromkeys(row.segment for row in report.figures if row.segment.startswith(_HISTORY)))
    places = np.arange(len(segments))
    for source in _sources(report):
        estimates = [report.of(source, segment).recall_at_20 for segment in segments]
        axes.errorbar(places, [e.mean for e in estimates], yerr=_bars(estimates), marker="o", capsize=3, label=source)
    counts = [report.of("ours", segment).n_customers for segment in segments]
    axes.set_xticks(
        places,
        [f"{segment.removeprefix(_HISTORY)}\n(n={count})" for segment, count in zip(segments, counts, strict=True)],
    )
    axes.set(xlabel="items in the history (customers)", ylabel="Recall@20", title="Recall by history length")
    axes.set_ylim(bottom=0)
    axes.legend()
    return _png(figure, report)


def ndcg_png(report: RecommenderReport) -> bytes:
    """NDCG@10 of each source on all, repeated and new items, with 95% intervals."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    sources = _sources(report)
    present = {row.segment for row in report.figures}
    segments = [segment for segment in ("all", "repeat", "new") if segment in present]
    width = 0.8 / len(sources)
    for number, source in enumerate(sources):
        estimates = [report.of(source, segment).ndcg_at_10 for segment in segments]
        places = np.arange(len(segments)) + (number - (len(sources) - 1) / 2) * width
        axes.bar(places, [e.mean for e in estimates], width, yerr=_bars(estimates), capsize=3, label=source)
    axes.set_xticks(np.arange(len(segments)), [f"{segment} items" for segment in segments])
    axes.set(ylabel="NDCG@10", title="NDCG@10 by source")
    axes.legend()
    return _png(figure, report)


def _sources(report: RecommenderReport) -> list[str]:
    return list(dict.fromkeys(row.source for row in report.figures))


def _bars(estimates: list[Estimate]) -> list[list[float]]:
    return [[max(e.mean - e.ci_low, 0.0) for e in estimates], [max(e.ci_high - e.mean, 0.0) for e in estimates]]


def _png(figure: Figure, report: RecommenderReport) -> bytes:
    figure.suptitle(
        f"judged on {report.n_judged} customers, purchases in {report.label_days} days from "
        f"{format_instant(report.as_of_us)[:10]}",
        fontsize=9,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
