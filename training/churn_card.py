"""The card of a churn model: what it is, whether it can be relied on, for whom, and what it would bring."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from features.churn_features import CHURN_FEATURES
from features.instants import format_instant
from serving.evidence.score_shift import Drift
from training.churn_backtest import ChurnBacktest
from training.churn_evaluation import ChurnTraining
from training.churn_metrics import Interval
from training.churn_report import ChurnReport
from training.churn_slices import SliceFigures
from training.model_card import ModelCard, Picture, Section, Table
from training.plotting import shown_model
from training.segment_card import segment_section
from training.segmenting import Segmented

__all__ = ["backtest_card", "churn_card"]


@cache
def _words() -> dict[str, Any]:
    """The fixed words, read once from the package."""
    return tomllib.loads(resources.files("training").joinpath("churn_card_words.toml").read_text(encoding="utf-8"))


def churn_card(
    trained: ChurnTraining,
    pictures: Mapping[str, bytes],
    facts: Mapping[str, str],
    backtest: ChurnBacktest | None = None,
    segmented: Segmented | None = None,
) -> ModelCard:
    """The card of a churn model; `pictures` by file name, `facts` name the data and the code."""
    report, model = trained.report, trained.model
    start = f"{model.gap_days} days after" if model.gap_days else "the moment of"
    event = "placing no order" if model.awaits == "return" else "leaving"
    sections = [
        _calibration(report, pictures),
        _ranking(report, pictures),
        _contacts(report, pictures),
        *([] if backtest is None else [_backtest(backtest, pictures)]),
        *([_slices(report, pictures)] if report.slices else []),
        *([] if segmented is None else [segment_section(segmented, _shown(pictures, "segments.png"))]),
        _reasons(report, pictures),
        _change(report, pictures),
        _made_of(trained, facts),
        _glossary(),
    ]
    return ModelCard(
        title="Churn model",
        purpose=f"For each customer, the probability of {event} within {_days(model.horizons_days)} from {start} "
        "scoring. The score from 0 to 100 ranks customers; the probability is calibrated.",
        verdicts=trained.sentences if backtest is None else (*trained.sentences, *backtest.sentences),
        sections=tuple(sections),
        limits=tuple(_words()["limits"]),
    )


def backtest_card(backtest: ChurnBacktest, pictures: Mapping[str, bytes]) -> ModelCard:
    """The card of a backtest by itself: the recipe at every cut-off."""
    return ModelCard(
        title="Churn model: backtest",
        purpose="The recipe of the churn model, refitted and judged at several cut-offs in the past with what was "
        "known by then. No model of these is kept.",
        verdicts=backtest.sentences,
        sections=(
            _backtest(backtest, pictures),
            Section(
                "What the words mean", tables=(Table("", ("word", "meaning"), tuple(_words()["glossary"].items())),)
            ),
        ),
        limits=("A recipe that held in the past need not hold when prices, goods or habits change.",),
    )


def _contacts(report: ChurnReport, pictures: Mapping[str, bytes]) -> Section:
    """What a campaign would bring: leavers reached and loyal customers bothered at every cut-off."""
    curve = report.contacts
    known = math.isfinite(curve.rows[0].profit)
    columns = ("contacted", "customers", "probability from", "leavers expected", "leavers reached", "loyal bothered")
    rows = tuple(
        (
            f"{row.share:.0%}",
            f"{row.n_contacted:,}",
            f"{row.lowest_probability:.2f}",
            f"{row.leavers_expected:,.0f}",
            f"{row.leavers_reached:,}",
            f"{row.loyal_bothered:,}",
            f"{row.leavers_share:.0%}",
            *([f"{row.profit:,.0f}"] if known else []),
        )
        for row in curve.rows
    )
    tenth = min(curve.rows, key=lambda row: abs(row.share - 0.1))
    said = (
        f"Contacting the riskiest {tenth.share:.0%} ({tenth.n_contacted:,} customers) would have reached "
        f"{tenth.leavers_reached:,} who then left, {tenth.leavers_share:.0%} of all leavers, and bothered "
        f"{tenth.loyal_bothered:,} who stayed anyway."
    )
    unknown = (
        "No costs are set ([churn.costs] in holdfast.toml), so the picture tells the profit in costs of an offer, for "
        "several answers to what it is worth to reach a leaver."
    )
    words = [said, curve.meaning if known else unknown]
    if report.contacts_by_gain is not None:
        other = report.contacts_by_gain.best
        words.append(
            f"By probability the best cut-off is {curve.best.share:.0%}, with a profit of {curve.best.profit:,.0f}; "
            f"contacting those first of whom the most is expected brings {other.profit:,.0f} at {other.share:.0%}."
        )
    best = {curve.rows.index(curve.best)} if known and curve.best.profit > 0 else set()
    title = "Every cut-off" + ("; the most profitable one is marked" if best else "")
    columns = (*columns, "of all leavers", *(("profit, minor units",) if known else ()))
    table = Table(title, columns, rows, frozenset(best))
    return Section("What would a campaign bring?", tuple(words), (table,), _shown(pictures, "contacts.png"))


def _backtest(backtest: ChurnBacktest, pictures: Mapping[str, bytes]) -> Section:
    """Whether it held before: every cut-off, beside the baselines, and how far reasons stay."""
    names = tuple(shown_model(figures.model) for figures in backtest.reports[0].figures)
    rows = tuple(
        (
            format_instant(report.as_of_us)[:10],
            f"{report.n_customers:,}",
            f"{report.base_rate:.1%}",
            f"{report.figures[0].mean_probability:.1%}",
            f"{report.figures[0].ece:.3f}",
            *(f"{figures.auc:.3f}" for figures in report.figures),
            f"{report.estimate.of('auc').expected:.3f}",
        )
        for report in backtest.reports
    )
    columns = ("cut-off", "customers", "left", "said", "calibration error", *(f"AUC, {name}" for name in names))
    tables = [Table("Cut-off by cut-off", (*columns, "AUC expected without labels"), rows)]
    if backtest.stabilities:
        kept = tuple(
            (
                format_instant(report.as_of_us)[:10],
                f"{found.top_overlap:.0%}",
                f"{found.same_first:.0%}",
                f"{found.importance_correlation:.2f}",
            )
            for report, found in zip(backtest.reports[1:], backtest.stabilities, strict=True)
        )
        columns = ("retrained at", "first three reasons kept", "same first reason", "rank correlation of weights")
        tables.append(Table("Reasons of the same customers, from one retraining to the next", columns, kept))
    skipped = tuple(f"Not judged: {why}" for _, why in backtest.skipped)
    return Section("Did it hold before?", skipped, tuple(tables), _shown(pictures, "backtest.png"))


def _calibration(report: ChurnReport, pictures: Mapping[str, bytes]) -> Section:
    rows = tuple(
        (
            f"{row.horizon_days} days",
            f"{row.mean_probability:.1%}",
            f"{row.base_rate:.1%}",
            _with_interval(row.ece, row.ece_interval),
            _with_interval(row.brier, row.brier_interval),
            _with_interval(row.auc, row.auc_interval),
        )
        for row in report.horizons
    )
    columns = ("within", "said to leave", "left", "calibration error", "Brier score", "AUC")
    event = " Who left by a horizon is who ordered nothing before it." if report.awaits == "return" else ""
    words = (
        f"The question: {report.question}.{event} A probability is only of use if it can be taken at its word; "
        "figures with their 95% intervals:"
    )
    return Section(
        "Can the probabilities be taken at their word?",
        (words,),
        (Table("At every horizon", columns, rows),),
        _shown(pictures, "calibration.png"),
    )


def _ranking(report: ChurnReport, pictures: Mapping[str, bytes]) -> Section:
    rows = tuple(
        (
            shown_model(figures.model),
            _with_interval(figures.auc, figures.auc_interval),
            f"{figures.average_precision:.3f}",
            _with_interval(figures.brier, figures.brier_interval),
            f"{figures.ece:.3f}",
            f"{figures.lift_top_decile:.2f}",
        )
        for figures in report.figures
    )
    columns = ("model", "AUC", "average precision", "Brier score", "calibration error", "lift of the top tenth")
    return Section(
        "Does it find those who leave?",
        tuple(comparison.sentence for comparison in report.comparisons),
        (Table(f"Beside the simpler models, within {report.horizons[-1].horizon_days} days", columns, rows),),
        _shown(pictures, "gain_and_lift.png", "roc_and_precision_recall.png"),
    )


def _slices(report: ChurnReport, pictures: Mapping[str, bytes]) -> Section:
    dimensions = dict.fromkeys(row.dimension for row in report.slices)
    n = sum(bool(row.warning) for row in report.slices)
    found = (
        f"{n} of {len(report.slices)} kinds of customers are marked: the model is much worse for them than for all."
        if n
        else f"None of {len(report.slices)} kinds of customers is much worse off than all."
    )
    return Section(
        "For whom is it better or worse?",
        (found, _words()["slices"]),
        tuple(_slice_table(name, [row for row in report.slices if row.dimension == name]) for name in dimensions),
        _shown(pictures, "slices.png"),
    )


def _slice_table(dimension: str, slices: Sequence[SliceFigures]) -> Table:
    rows = tuple(
        (
            row.group,
            f"{row.n:,}",
            f"{row.mean_probability:.1%}",
            f"{row.base_rate:.1%}",
            _with_interval(row.auc, row.auc_interval),
            f"{row.auc_expected:.3f}",
            f"{row.ece:.3f}",
            row.warning or "none",
        )
        for row in slices
    )
    columns = ("customers", "n", "said to leave", "left", "AUC", "AUC expected", "calibration error", "warning")
    marked = frozenset(place for place, row in enumerate(slices) if row.warning)
    return Table(f"By {dimension}", columns, rows, marked)


def _reasons(report: ChurnReport, pictures: Mapping[str, bytes]) -> Section:
    total = sum(report.weights_of_reasons.values())
    first = ", ".join(name.replace("_", " ") for name in list(report.weights_of_reasons)[:3])
    top = sum(list(report.weights_of_reasons.values())[:3])
    share = f" ({top / total:.0%} of all that moves the probabilities)" if total > 0 else ""
    return Section(
        "What does it look at?", (f"Most of all at: {first}{share}.",), pictures=_shown(pictures, "reasons.png")
    )


def _change(report: ChurnReport, pictures: Mapping[str, bytes]) -> Section:
    names = _words()["estimate"]
    rows = tuple(
        (names[f.name], f"{f.expected:.3f}", f"{f.low:.3f} to {f.high:.3f}", f"{f.true:.3f}", "yes" if f.held else "no")
        for f in report.estimate.figures
    )
    columns = ("figure", "expected", "95% range", "came out", "in the range")
    marked = frozenset(place for place, f in enumerate(report.estimate.figures) if not f.held)
    promise = (
        "Before anybody knows who left, calibrated probabilities tell by themselves how good they should be. Here is "
        f"what they promised at the cut-off, and what came. {report.estimate.sentence}"
    )
    tables = [Table("Quality as estimated without labels, and as it came out", columns, rows, marked)]
    words = [promise]
    if report.drift:
        moved = [drift for drift in report.drift if drift.level != "steady"]
        words.append(f"{len(moved)} of {len(report.drift)} inputs had moved since training.")
        tables.extend([_moved(moved)] if moved else [])
    return Section("Is the world still the one it learnt?", tuple(words), tuple(tables), _shown(pictures, "drift.png"))


def _moved(moved: Sequence[Drift]) -> Table:
    meanings = {feature.name: feature.meaning for feature in CHURN_FEATURES}
    rows = tuple(
        (
            meanings.get(drift.name, drift.name),
            f"{drift.psi:.2f}",
            drift.level,
            f"{drift.missing_before:.0%}",
            f"{drift.missing_now:.0%}",
        )
        for drift in moved
    )
    return Table("Inputs that moved", ("input", "stability index", "in a word", "missing then", "missing now"), rows)


def _made_of(trained: ChurnTraining, facts: Mapping[str, str]) -> Section:
    report, model = trained.report, trained.model
    rows = (
        ("judged at", format_instant(report.as_of_us)),
        ("customers judged", f"{report.n_customers:,}"),
        ("of whom left", f"{report.base_rate:.1%}"),
        ("rows trained on", f"{trained.n_training_rows:,}"),
        ("rows calibrated on", f"{trained.n_calibration_rows:,}"),
        ("trees", str(model.n_trees)),
        ("weight of the law of silence", "not fitted" if model.attrition is None else f"{model.attrition.weight:.2f}"),
        ("features", str(len(model.feature_names))),
        *facts.items(),
    )
    return Section("What was it made of?", tables=(Table("", ("fact", "value"), rows),))


def _glossary() -> Section:
    meanings = tuple(_words()["glossary"].items())
    return Section("What the words mean", tables=(Table("", ("word", "meaning"), meanings),))


def _shown(pictures: Mapping[str, bytes], *names: str) -> tuple[Picture, ...]:
    return tuple(Picture(name, _words()["captions"][name], pictures[name]) for name in names if name in pictures)


def _with_interval(value: float, interval: Interval) -> str:
    if not math.isfinite(value):
        return "undefined"
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _days(horizons: Sequence[int]) -> str:
    words = [str(days) for days in horizons]
    return f"{' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)} days"
