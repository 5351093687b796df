"""What the cards of our two kinds of model say, in words for people who do not program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from features.instants import format_instant
from training.churn_evaluation import ChurnTraining
from training.model_card import ModelCard, Picture, Table
from training.recommender_evaluation import RecommenderTraining

__all__ = ["churn_card", "recommender_card"]

_CHURN_CAPTIONS = {
    "roc_and_precision_recall.png": "How well customers who left are told from those who stayed; a curve nearer to the "
    "upper corner is better. The dotted line is guessing.",
    "calibration.png": "Said against happened: of customers told 30%, about 30% should have left. Nearer to the dotted "
    "line is better.",
    "lift.png": "How many times more often than average the customers of each tenth left, the riskiest tenth first.",
}


def churn_card(trained: ChurnTraining, pictures: Mapping[str, bytes], facts: Mapping[str, str]) -> ModelCard:
    """The card of a churn model; `pictures` by file name, `facts` name the data and the code."""
    report, model = trained.report, trained.model
    start = f"{model.gap_days} days after" if model.gap_days else "the moment of"
    rows = tuple(
        (
            figures.model,
            f"{figures.auc:.3f} ({figures.auc_interval.low:.3f} to {figures.auc_interval.high:.3f})",
            f"{figures.average_precision:.3f}",
            f"{figures.ece:.3f}",
            f"{figures.lift_top_decile:.1f}",
        )
        for figures in report.figures
    )
    made_of = (
        ("judged at", format_instant(report.as_of_us)),
        ("customers judged", f"{report.n_customers:,}"),
        ("of whom left", f"{report.base_rate:.1%}"),
        ("rows trained on", f"{trained.n_training_rows:,}"),
        ("rows calibrated on", f"{trained.n_calibration_rows:,}"),
        ("trees", str(model.n_trees)),
        ("features", str(len(model.feature_names))),
        *facts.items(),
    )
    columns = ("model", "AUC (95% interval)", "average precision", "calibration error", "lift of the top tenth")
    return ModelCard(
        title="Churn model",
        purpose=f"For each customer, the probability of placing no order in the {model.horizon_days} days from "
        f"{start} scoring. The score from 0 to 100 ranks customers; the probability is calibrated.",
        verdicts=report.sentences,
        tables=(
            Table("Figures, forward in time", columns, rows),
            Table("What it was made of", ("fact", "value"), made_of),
        ),
        pictures=tuple(Picture(name, _CHURN_CAPTIONS.get(name, name), png) for name, png in pictures.items()),
        limits=(
            "It was judged on customers with an order in the eligible period; for others it is a guess.",
            "It says who is likely to leave, not whom an offer would keep: that needs an experiment.",
            "AUC 0.5 is guessing and 1 is perfect.",
            "A calibration error of 0.03 means that the said probability is off by 3 points on average.",
            "It describes the shop it was trained on; compare it again when prices, goods or habits change.",
        ),
    )


_RECOMMENDER_CAPTIONS = {
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
        ("mixture of taste, popularity, buying again", " / ".join(f"{weight:.0%}" for weight in report.blend)),
        *facts.items(),
    )
    columns = ("source", "purchases", "NDCG@10 (95% interval)", "recall@20", "hit rate@10", "share of items shown")
    return ModelCard(
        title="Recommender",
        purpose="For each customer, the items they are likely to buy next: by their taste, by what is popular now, and "
        "by what they buy again and again. A visitor nobody knows gets what is popular.",
        verdicts=tuple(sentences),
        tables=(
            Table("Figures, forward in time", columns, rows),
            Table("What it was made of", ("fact", "value"), made_of),
        ),
        pictures=tuple(Picture(name, _RECOMMENDER_CAPTIONS.get(name, name), png) for name, png in pictures.items()),
        limits=(
            "The figures are of a model that saw nothing after the test began; the released one is fitted on all.",
            "They tell what customers bought by themselves; what showing an item changes needs an experiment.",
            "Items that nobody has bought or looked at yet cannot be recommended by taste.",
        ),
    )
