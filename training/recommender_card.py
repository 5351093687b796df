"""The card of a recommender, in words for people who do not program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from features.instants import format_instant
from training.model_card import ModelCard, Picture, Section, Table
from training.recommender_evaluation import RecommenderTraining
from training.recommender_report import RankerChoice

__all__ = ["recommender_card"]

_CAPTIONS = {
    "recall_by_history.png": "Of what a customer went on to buy, the share that was among the first 20 items shown, by "
    "how much was known of the customer.",
    "ndcg_by_source.png": "How near to the top the items stood that were bought, over all purchases, repeated ones and "
    "new ones. Higher is better; the bars show how sure the figure is.",
}


def recommender_card(
    trained: RecommenderTraining, sentences: Sequence[str], pictures: Mapping[str, bytes], facts: Mapping[str, str]
) -> ModelCard:
    """The card of a recommender; `sentences` are its verdicts."""
    report = trained.report
    choice = report.ranker
    rows = tuple(
        (
            row.source.replace("_", " "),
            row.segment,
            f"{row.ndcg_at_10.mean:.4f} ({row.ndcg_at_10.ci_low:.4f} to {row.ndcg_at_10.ci_high:.4f})",
            f"{row.recall_at_20.mean:.4f}",
            f"{row.hit_rate_at_10.mean:.4f}",
            f"{row.coverage_at_10:.1%}",
        )
        for row in report.figures
        if not row.segment.startswith("history")
    )
    made_of = (
        ("judged at", format_instant(report.as_of_us)),
        ("on purchases of the next", f"{report.label_days} days"),
        ("customers judged", f"{report.n_judged:,} of {report.n_eligible:,}"),
        ("items", f"{len(trained.recommender.item_ids):,}"),
        ("mixture of the sources", ", ".join(f"{name} {weight:.0%}" for name, weight in report.blend.items())),
        (
            "put in order by",
            "the mixture" if choice is None or not choice.used else "a ranker that corrects the mixture",
        ),
        *(() if choice is None else (("because", f"{choice.reason}{_gain(choice)}"),)),
        *facts.items(),
    )
    columns = ("source", "purchases", "NDCG@10 (95% interval)", "recall@20", "hit rate@10", "share of items shown")
    return ModelCard(
        title="Recommender",
        purpose="For each customer, the items they are likely to buy next: by their taste, by what is popular now, and "
        "by what they buy again and again. A visitor nobody knows gets what is popular.",
        verdicts=tuple(sentences),
        sections=(
            Section(
                "Does it find what customers buy?",
                tables=(Table("Figures, forward in time", columns, rows),),
                pictures=tuple(Picture(name, _CAPTIONS.get(name, name), png) for name, png in pictures.items()),
            ),
            Section("What was it made of?", tables=(Table("", ("fact", "value"), made_of),)),
        ),
        limits=(
            "The figures are of a model that saw nothing after the test began; the released one is fitted on all.",
            "They tell what customers bought by themselves; what showing an item changes needs an experiment.",
            "Items that nobody has bought or looked at yet cannot be recommended by taste.",
        ),
    )


def _gain(choice: RankerChoice) -> str:
    if choice.blend_ndcg_at_10 is None or choice.gain_abs is None:
        return ""
    return (
        f": NDCG@10 of unseen customers before the cut-off {choice.blend_ndcg_at_10.mean:.4f} by the mixture, with the "
        f"ranker {choice.gain_abs.mean:+.4f} ({choice.gain_abs.ci_low:+.4f} to {choice.gain_abs.ci_high:+.4f})"
    )
