"""The simulated shop's known answers: how near the models come to what only the simulation knows.

A shop of its own seed is simulated and trained on; the churn model is compared with the probabilities that follow from
each customer's true hazards and cycle, at the test cut-off; the recommender with popularity and the other baselines.
Run: python -m benchmarks.bench_known_answers [--scale 1.0] [--seed 11]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from benchmarks.report import print_and_keep
from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.instants import format_instant
from features.pseudonyms import Pseudonyms
from training.churn_evaluation import OURS, train_churn
from training.churn_metrics import auc, brier, expected_calibration_error
from training.recommender_evaluation import train_recommender
from training.settings import Settings
from training.simulate import SimulatedShop, SimulationSettings, inside, oracle_churn_probability, simulate
from training.training_set import label_cutoff

NDCG_GAIN, AUC_GAP, CALIBRATION = 0.5, 0.03, 0.03


@dataclass(frozen=True)
class KnownAnswers:
    """What was found at one cut-off.

    churn: for each model and for the true hazard (AUC, calibration error, Brier score, distance): the distance is the
        mean difference to the true probability over ten bins of what was said, so no luck of the draw is in it.
    ndcg_at_10: by source of recommendations.
    """

    as_of: str
    n_customers: int
    churn: dict[str, tuple[float, float, float, float]]
    ndcg_at_10: dict[str, float]

    @property
    def failures(self) -> list[str]:
        """The limits that are not kept, in words."""
        ours, oracle = self.churn[OURS], self.churn["the true hazard"]
        gain = self.ndcg_at_10["ours"] / self.ndcg_at_10["popularity"] - 1
        kept = {
            f"calibration error {ours[1]:.4f} is above {CALIBRATION}": ours[1] <= CALIBRATION,
            f"the distance to the true probability {ours[3]:.4f} is above {CALIBRATION}": ours[3] <= CALIBRATION,
            f"AUC is {oracle[0] - ours[0]:.4f} below the true hazard's, more than {AUC_GAP}": oracle[0] - ours[0]
            <= AUC_GAP,
            f"NDCG@10 is {gain:.0%} above popularity, less than {NDCG_GAIN:.0%}": gain >= NDCG_GAIN,
        }
        return [words for words, held in kept.items() if not held]


def known_answers(shop: SimulatedShop, pseudonyms: Pseudonyms, settings: Settings) -> KnownAnswers:
    """Train both models on a simulated shop as on any other, then compare with its truth."""
    view = CustomerView.from_events(inside(shop, pseudonyms.of_column)[0])
    end_us = shop.truth.settings.end_us
    report = train_churn(view, CHURN_FEATURES, settings.churn, observed_until_us=end_us).report
    judged = label_cutoff(view, CHURN_FEATURES, report.as_of_us, settings.churn, observed_until_us=end_us)
    labels, said = report.scored.labels, dict(report.scored.probabilities)
    assert np.array_equal(labels, judged.labels), "the report judged other rows"
    oracle = _oracle(shop, pseudonyms, settings, report.as_of_us)
    true = said["the true hazard"] = np.array([oracle[str(key)] for key in view.customer_keys[judged.customer_rows]])
    churn = {
        name: (auc(labels, p), expected_calibration_error(labels, p), brier(labels, p), _distance(p, true))
        for name, p in said.items()
    }
    slates = train_recommender(view, settings.recommender, settings.evaluation, observed_until_us=end_us).report
    ndcg = {figures.source: figures.ndcg_at_10.mean for figures in slates.figures if figures.segment == "all"}
    return KnownAnswers(format_instant(report.as_of_us), len(labels), churn, ndcg)


def _distance(said: np.ndarray, true: np.ndarray) -> float:
    bins = np.array_split(np.argsort(said), 10)
    return float(np.mean([abs(said[part].mean() - true[part].mean()) for part in bins]))


def _oracle(shop: SimulatedShop, pseudonyms: Pseudonyms, settings: Settings, as_of_us: int) -> dict[str, float]:
    ids, probability = oracle_churn_probability(
        shop.truth, as_of_us, settings.churn.gap_days, settings.churn.label_window_days
    )
    return {pseudonyms.of(one): float(p) for one, p in zip(ids, probability, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=11, help="of the shop; the models were tuned on others")
    options = parser.parse_args()
    shop = simulate(SimulationSettings(scale=options.scale), options.seed)
    found = known_answers(shop, Pseudonyms.fresh(), Settings())
    size = f"{shop.customers.num_rows:,} customers, {shop.events.num_rows:,} events, seed {options.seed}"
    print_and_keep(
        "known_answers_churn",
        f"Churn at {found.as_of}, {found.n_customers:,} eligible customers ({size})",
        [
            dict(
                zip(
                    ("scores of", "AUC", "calibration error", "Brier", "distance to truth"),
                    (name, *values),
                    strict=True,
                )
            )
            for name, values in found.churn.items()
        ],
    )
    print_and_keep(
        "known_answers_recommender",
        f"Recommendations, the last 30 days out of time ({size})",
        [{"source": name, "NDCG@10": value} for name, value in found.ndcg_at_10.items()],
        [f"NOT kept: {words}" for words in found.failures] or ["every limit is kept"],
    )


if __name__ == "__main__":
    main()
