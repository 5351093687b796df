"""Pictures of a recommender report, as PNG bytes: which source finds what, for whom, and what its lists are like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from features.instants import format_instant
from training.plotting import COLOURS, OURS_COLOUR, new_figure, png
from training.recommender_judging import OURS
from training.recommender_report import LEAVE_LAST_OUT, Estimate, RecommenderReport, SourceFigures

__all__ = ["gains_png", "lists_by_history_png", "lists_png", "ndcg_png", "recall_by_history_png", "recommender_pngs"]

_HISTORY = "history "
_KINDS = {"all": "all purchases", "repeat": "bought again", "new": "new to the customer"}
_USUAL = ("popularity", "buy_again", "als")
_BESIDE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8}
_OTHERS_COLOUR = "#5b6770"
_LIKE: tuple[tuple[str, str, Callable[[SourceFigures], float]], ...] = (
    ("novelty", "bits: one more for items\nbought half as often", lambda row: row.novelty_at_10.mean),
    ("coverage", "share of the catalogue\non some list", lambda row: row.coverage_at_10),
    ("unevenness (Gini)", "0: every item as often,\ntowards 1: a few items", lambda row: row.gini_at_10),
    ("personalisation", "0: the same for all,\n1: nothing in common", lambda row: row.personalisation_at_10),
    ("fallback", "share of places empty or\nled by what is popular", lambda row: row.fallback_at_10),
)


def recommender_pngs(report: RecommenderReport) -> dict[str, bytes]:
    """Every picture by its file name."""
    return {
        "ndcg_by_source.png": ndcg_png(report),
        "gains.png": gains_png(report),
        "recall_by_history.png": recall_by_history_png(report),
        "lists_by_source.png": lists_png(report),
        "lists_by_history.png": lists_by_history_png(report),
    }


def ndcg_png(report: RecommenderReport) -> bytes:
    """NDCG@10 of each source on all, repeated and new items, with 95% intervals."""
    sources = _best_first(report)
    kinds = _kinds(report)
    figure, panels = new_figure(4 * len(kinds), 1.6 + 0.33 * len(sources), len(kinds), sharey=True)
    for axes, kind in zip(panels, kinds, strict=True):
        _dots(axes, sources, [report.of(source, kind).ndcg_at_10 for source in sources])
        axes.set(xlabel="NDCG@10", title=_KINDS[kind], xlim=(0, None))
    return _finished(figure, report)


def gains_png(report: RecommenderReport) -> bytes:
    """NDCG@10 of ours minus that of each other, on the same customers, with 95% intervals."""
    sources = [source for source in _best_first(report) if source != OURS]
    kinds = _kinds(report)
    figure, panels = new_figure(4 * len(kinds), 1.6 + 0.33 * len(sources), len(kinds), sharey=True)
    for axes, kind in zip(panels, kinds, strict=True):
        _dots(axes, sources, [report.gain_over(source, kind).gain_abs for source in sources])
        axes.axvline(0, color="#1f2328", linewidth=1)
        axes.set(xlabel="NDCG@10, ours minus it", title=_KINDS[kind])
    return _finished(figure, report)


def recall_by_history_png(report: RecommenderReport) -> bytes:
    """Recall@20 of ours and of what it has to beat over the number of items in the history, with 95% intervals."""
    figure, (axes,) = new_figure(8.5, 5, 1)
    segments = _histories(report)
    shown = _few(report)
    for number, source in enumerate(shown):
        estimates = [report.of(source, segment).recall_at_20 for segment in segments]
        places = np.arange(len(segments)) + 0.06 * (number - (len(shown) - 1) / 2)
        drawn = _line(number, source)
        axes.errorbar(places, _means(estimates), _bars(estimates), ms=5, label=_word(source), **drawn)
    _history_ticks(axes, report, segments)
    axes.set(ylabel="Recall@20", title="Of what was bought, the share among the first 20 shown", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _finished(figure, report)


def lists_png(report: RecommenderReport) -> bytes:
    """What the first ten places of each source are like: novelty, coverage, Gini, personalisation, fallback."""
    sources = _best_first(report)
    figure, panels = new_figure(13, 1.9 + 0.33 * len(sources), len(_LIKE), sharey=True)
    for axes, (title, words, figure_of) in zip(panels, _LIKE, strict=True):
        values = np.array([figure_of(report.of(source)) for source in sources])
        axes.barh(np.arange(len(sources)), np.nan_to_num(values), 0.62, color=_colours(sources))
        for place, value in enumerate(values.tolist()):
            axes.annotate(_figure(value), (0.0 if math.isnan(value) else value, place), (3, 0), **_BESIDE)
        axes.set(xlabel=words, title=title)
        axes.margins(x=0.28)
        axes.grid(visible=False)
        _source_ticks(axes, sources)
    return _finished(figure, report, "")


def lists_by_history_png(report: RecommenderReport) -> bytes:
    """What the lists of ours and of what it has to beat are like, over the number of items in the history."""
    chosen = [one for one in _LIKE if one[0] in ("novelty", "personalisation", "fallback")]
    figure, panels = new_figure(13, 4.4, len(chosen))
    segments, shown = _histories(report), _few(report)
    for axes, (title, words, figure_of) in zip(panels, chosen, strict=True):
        for number, source in enumerate(shown):
            values = [figure_of(report.of(source, segment)) for segment in segments]
            axes.plot(values, ms=4, label=_word(source), **_line(number, source))
        _history_ticks(axes, report, segments, counted=False)
        axes.set(ylabel=words.replace("\n", " "), title=title, ylim=(0, None) if title == "novelty" else (-0.04, 1.04))
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _finished(figure, report, "")


def _dots(axes: Any, sources: Sequence[str], estimates: Sequence[Estimate]) -> None:
    for place, (colour, estimate) in enumerate(zip(_colours(sources), estimates, strict=True)):
        axes.errorbar([estimate.mean], [place], xerr=_bars([estimate]), fmt="o", ms=6, capsize=3, color=colour)
    _source_ticks(axes, sources)


def _source_ticks(axes: Any, sources: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(sources)), [_word(source) for source in sources])
    axes.set_ylim(len(sources) - 0.4, -0.6)  # the first on top


def _history_ticks(axes: Any, report: RecommenderReport, segments: Sequence[str], *, counted: bool = True) -> None:
    words = [segment.removeprefix(_HISTORY) for segment in segments]
    if counted:
        counts = [report.of(OURS, segment).n_customers for segment in segments]
        words = [f"{one}\nn = {count:,}" for one, count in zip(words, counts, strict=True)]
    axes.set_xticks(np.arange(len(segments)), words)
    axes.set_xlabel("items in the history" + (", and customers" if counted else ""))


def _best_first(report: RecommenderReport) -> list[str]:
    """Ours, then the others from the best to the worst over all purchases."""
    others = {row.source: row.ndcg_at_10.mean for row in report.figures if row.segment == "all" and row.source != OURS}
    return [OURS, *sorted(others, key=lambda source: -others[source])]


def _few(report: RecommenderReport) -> list[str]:
    """Ours, what it has to beat, and the best of the further sources."""
    ordered = _best_first(report)
    further = [source for source in ordered if source not in (OURS, "blend", "buy_again_popularity", *_USUAL)]
    return [OURS, *(source for source in _USUAL if source in ordered), *further[:1]]


def _kinds(report: RecommenderReport) -> list[str]:
    present = {row.segment for row in report.figures}
    return [kind for kind in _KINDS if kind in present]


def _histories(report: RecommenderReport) -> list[str]:
    return list(dict.fromkeys(row.segment for row in report.figures if row.segment.startswith(_HISTORY)))


def _colours(sources: Sequence[str]) -> list[str]:
    return [OURS_COLOUR if source == OURS else _OTHERS_COLOUR for source in sources]


def _line(number: int, source: str) -> dict[str, Any]:
    """Ours is thicker, and drawn over the others."""
    style = {"linewidth": 2.4, "zorder": 4} if source == OURS else {"linewidth": 1.3, "zorder": 3}
    return {"marker": "o", "color": COLOURS[number % len(COLOURS)], **style}


def _word(source: str) -> str:
    return {"als": "ALS", "ease": "EASE", "rp3beta": "RP3beta", "session_knn": "session kNN"}.get(
        source, "buy again, then popular" if source == "buy_again_popularity" else source.replace("_", " ")
    )


def _figure(value: float) -> str:
    if math.isnan(value):
        return "none"
    digits = 1 if value >= 10 else 3 if 0 < value < 0.01 else 2
    return f"{value:.{digits}f}"


def _means(estimates: Sequence[Estimate]) -> list[float]:
    return [estimate.mean for estimate in estimates]


def _bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    return [[max(e.mean - e.ci_low, 0.0) for e in estimates], [max(e.ci_high - e.mean, 0.0) for e in estimates]]


def _finished(figure: Figure, report: RecommenderReport, said: str = "; whiskers: 95% intervals") -> bytes:
    by = f"purchases in {report.label_days} days from {format_instant(report.as_of_us)[:10]}"
    if report.split == LEAVE_LAST_OUT:
        by = "the last purchase of each (this split leaks time)"
    figure.suptitle(f"judged on {report.n_judged:,} customers, {by}{said}", fontsize=9)
    return png(figure)
