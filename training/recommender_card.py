"""The card of a recommender, in words for people who do not program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from features.instants import format_instant
from training.model_card import ModelCard, Picture, Section, Table
from training.recommender_evaluation import RecommenderTraining
from training.recommender_report import Estimate, RankerChoice, RecommenderReport, SourceFigures

__all__ = ["recommender_card"]

_CAPTIONS = {
    "ndcg_by_source.png": "How near to the top the items stood that were bought. Ours is blue, each source alone grey; "
    "further right is better, the bars show how sure the figure is.",
    "gains.png": "How far ours is ahead of each other, on the same customers. Where a bar crosses the line, the "
    "difference may be chance.",
    "recall_by_history.png": "Of what a customer went on to buy, the share that was among the first 20 items shown, by "
    "how much was known of the customer.",
    "lists_by_source.png": "What the first ten places are like, besides being right. Lists that are all alike show few "
    "items to everybody; lists of rare items alone may be of no use.",
    "lists_by_history.png": "The same, by how much was known of the customer: with little known, lists are more alike.",
}
_FOUND = ("ndcg_by_source.png", "gains.png")
_LISTS = ("lists_by_source.png", "lists_by_history.png")
_KINDS = ("all", "repeat", "new")


def recommender_card(
    trained: RecommenderTraining, sentences: Sequence[str], pictures: Mapping[str, bytes], facts: Mapping[str, str]
) -> ModelCard:
    """The card of a recommender; `sentences` are its verdicts."""
    report = trained.report
    sections = [
        Section(
            "Does it find what customers buy?",
            words=(
                (
                    "All items are ranked, none is left out to make it easier. For new items, no list holds what the "
                    "customer owns."
                ),
            ),
            tables=(_found(report),),
            pictures=_shown(pictures, _FOUND),
        ),
        Section(
            "For whom?",
            words=(
                (
                    f"{report.fallback_share:.1%} of the customers who bought in the test were not known before: they "
                    "are shown what is popular, and are not among those judged."
                ),
            ),
            tables=(_by_history(report),),
            pictures=_shown(pictures, ("recall_by_history.png",)),
        ),
        Section("What are the lists like?", tables=(_lists(report),), pictures=_shown(pictures, _LISTS)),
    ]
    if trained.last_out is not None:
        sections.append(_last_out(trained.last_out))
    sections.append(Section("What was it made of?", tables=(_made_of(trained, facts),)))
    return ModelCard(
        title="Recommender",
        purpose="For each customer, the items they are likely to buy next: by their taste, by what is popular now, and "
        "by what they buy again and again. A visitor nobody knows gets what is popular.",
        verdicts=tuple(sentences),
        sections=tuple(sections),
        limits=(
            "The figures are of a model that saw nothing after the test began; the released one is fitted on all.",
            "They tell what customers bought by themselves; what showing an item changes needs an experiment.",
            "Items that nobody has bought or looked at yet cannot be recommended by taste.",
        ),
    )


def _shown(pictures: Mapping[str, bytes], names: Sequence[str]) -> tuple[Picture, ...]:
    return tuple(Picture(name, _CAPTIONS[name], pictures[name]) for name in names if name in pictures)


def _found(report: RecommenderReport, title: str = "Figures, forward in time") -> Table:
    rows = [
        (
            row.source.replace("_", " "),
            row.segment,
            _interval(row.ndcg_at_10),
            "" if row.source == "ours" else _interval(report.gain_over(row.source, row.segment).gain_abs, "+"),
            f"{row.recall_at_20.mean:.4f}",
            f"{row.map_at_10.mean:.4f}",
            f"{row.hit_rate_at_10.mean:.4f}",
        )
        for kind in _KINDS
        for row in report.figures
        if row.segment == kind
    ]
    columns = ("source", "purchases", "NDCG@10 (95% interval)", "ours minus it", "recall@20", "MAP@10", "hit rate@10")
    marked = frozenset(place for place, row in enumerate(rows) if row[0] == "ours")
    return Table(title, columns, tuple(rows), marked)


def _by_history(report: RecommenderReport) -> Table:
    rows = tuple(
        (
            row.segment.removeprefix("history "),
            f"{row.n_customers:,}",
            _interval(row.ndcg_at_10),
            f"{row.recall_at_20.mean:.4f}",
            *_like(row),
        )
        for row in report.figures
        if row.source == "ours" and row.segment.startswith("history")
    )
    columns = ("items in the history", "customers", "NDCG@10 (95% interval)", "recall@20", *_LIKE)
    return Table("Ours, by what was known of the customer", columns, rows)


def _lists(report: RecommenderReport) -> Table:
    rows = tuple((row.source.replace("_", " "), *_like(row)) for row in report.figures if row.segment == "all")
    return Table("The first ten places", ("source", *_LIKE), rows)


_LIKE = ("novelty, bits", "share of items shown", "Gini", "personalisation", "fallback")


def _like(row: SourceFigures) -> tuple[str, ...]:
    return (
        _or_none(row.novelty_at_10.mean, ".2f"),
        _or_none(row.coverage_at_10, ".1%"),
        _or_none(row.gini_at_10, ".3f"),
        _or_none(row.personalisation_at_10, ".3f"),
        _or_none(row.fallback_at_10, ".1%"),
    )


def _last_out(report: RecommenderReport) -> Section:
    return Section(
        "And by the last purchase of each customer?",
        words=(
            (
                "Published tables often hold out the last purchase of each customer, whenever that was. Then the model "
                "has seen what others did after it, which service never can. These figures belong beside such tables; "
                "what to expect in service stands above."
            ),
        ),
        tables=(_found(report, f"Leave-last-out, {report.n_judged:,} customers"),),
    )


def _made_of(trained: RecommenderTraining, facts: Mapping[str, str]) -> Table:
    report = trained.report
    choice = report.ranker
    rows = (
        ("judged at", format_instant(report.as_of_us)),
        ("on purchases of the next", f"{report.label_days} days"),
        ("customers judged", f"{report.n_judged:,} of {report.n_eligible:,}"),
        ("items", f"{len(trained.recommender.item_ids):,}"),
        ("mixture of the sources", _mixture(report.blend)),
        ("mixture for lists that show nothing owned", _mixture(report.new) if report.new else "the same"),
        (
            "put in order by",
            "the mixture" if choice is None or not choice.used else "a ranker that corrects the mixture",
        ),
        *(() if choice is None else (("because", f"{choice.reason}{_gain(choice)}"),)),
        *facts.items(),
    )
    return Table("", ("fact", "value"), rows)


def _mixture(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {weight:.0%}" for name, weight in weights.items() if weight > 0)


def _interval(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.mean:{sign}.4f} ({estimate.ci_low:{sign}.4f} to {estimate.ci_high:{sign}.4f})"


def _or_none(value: float, form: str) -> str:
    return "none" if math.isnan(value) else format(value, form)


def _gain(choice: RankerChoice) -> str:
    if choice.blend_ndcg_at_10 is None or choice.gain_abs is None:
        return ""
    return (
        f": NDCG@10 of unseen customers before the cut-off {choice.blend_ndcg_at_10.mean:.4f} by the mixture, with the "
        f"ranker {choice.gain_abs.mean:+.4f} ({choice.gain_abs.ci_low:+.4f} to {choice.gain_abs.ci_high:+.4f})"
    )
