"""What the cards of our two kinds of model say, in words for people who do not program."""

from __future__ import annotations

from collections.abc import Mapping

from features.instants import format_instant
from training.churn_evaluation import ChurnTraining
from training.model_card import ModelCard, Picture, Table

__all__ = ["churn_card"]

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
