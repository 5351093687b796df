"""The simulated shop's known answers: how near the models come to what only the simulation knows.

A shop of its own seed is simulated; its log ends 275 days before its life does, so that a year's value can be judged.
Models are trained on the log as on any other. At each horizon the churn probabilities are compared with what happened
and with the probabilities that follow from each customer's true hazards and cycle; next purchase dates and values with
what came; the recommender with popularity and the other baselines.
Each is judged by limits of its own; the exit code is 1 if any limit of what was run is missed.
Run: python -m benchmarks.bench_known_answers [--scale 1.0] [--seed 11] [--only churn]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from benchmarks.report import print_and_keep
from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.instants import DAY_US, format_instant
from features.pseudonyms import Pseudonyms
from features.windows import totals
from serving.forecast import VALUE_DAYS, Forecast
from training.churn_baselines import fit_logistic_model, fit_recency_rule
from training.churn_evaluation import OURS, label_fitting, label_test, train_churn
from training.churn_horizons import HorizonFigures, HorizonSlice, horizon_figures
from training.churn_metrics import Interval, bootstrap_over_customers
from training.churn_settings import ChurnSettings
from training.cutoffs import TimeSplit
from training.labels import churned_by
from training.recommender_evaluation import train_recommender
from training.settings import Settings
from training.simulate import SimulatedShop, SimulationSettings, inside, oracle_churn_probability, simulate
from training.training_set import TrainingSet

LOG_DAYS, LIVES_ON_DAYS = 730, 275
TRUE = "the true hazard"
NDCG_GAIN = 0.5
Row = dict[str, object]


@dataclass(frozen=True)
class Limits:
    """What a shop of 20,000 customers is held to; a smaller one has more luck of the draw in it.

    auc_gap: of the headline horizon, to the true hazard. calibration: of every horizon.
    """

    auc_gap: float = 0.015
    calibration: float = 0.02
    coverage: tuple[float, float] = (0.77, 0.83)


@dataclass(frozen=True)
class Verdict:
    """Which limits a model misses, in words; none: it keeps all of its own, and nothing is said of another model."""

    of: str
    missed: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """What is printed and kept.

        >>> Verdict("the recommender", ()).notes
        ['the recommender keeps every limit set for it']
        """
        return [f"NOT kept by {self.of}: {words}" for words in self.missed] or [
            f"{self.of} keeps every limit set for it"
        ]


@dataclass(frozen=True)
class Shop:
    """A simulated shop: all of its life, and the log that ends before."""

    simulated: SimulatedShop
    pseudonyms: Pseudonyms
    whole: CustomerView
    log: CustomerView
    end_us: int

    @classmethod
    def lived(cls, scale: float, seed: int) -> Shop:
        """As many founders and as many new customers a day as in a shop of 730 days of that scale, for 1,005 days."""
        standard = SimulationSettings(scale=scale)
        days = LOG_DAYS + LIVES_ON_DAYS
        founders = standard.founder_share
        grown = founders + (1 - founders) * days / LOG_DAYS
        simulated = simulate(replace(standard, scale=scale * grown, days=days, founder_share=founders / grown), seed)
        pseudonyms = Pseudonyms.fresh()
        events = inside(simulated, pseudonyms.of_column)[0]
        end_us = simulated.truth.settings.end_us - LIVES_ON_DAYS * DAY_US
        known = pc.and_(*(pc.less(events[name].cast("int64"), end_us) for name in ("occurred_at", "recorded_at")))
        return cls(
            simulated,
            pseudonyms,
            CustomerView.from_events(events),
            CustomerView.from_events(events.filter(known)),
            end_us,
        )

    def true_probabilities(self, keys: np.ndarray, as_of_us: int, settings: ChurnSettings, days: int) -> np.ndarray:
        """P(no order in the horizon) of each customer, for one who knows every trait and equation."""
        ids, found = oracle_churn_probability(self.simulated.truth, as_of_us, settings.gap_days, days)
        known = {self.pseudonyms.of(one): float(p) for one, p in zip(ids, found, strict=True)}
        return np.array([known[str(key)] for key in keys])

    def values(self, keys: np.ndarray, start_us: int, days: int) -> np.ndarray:
        """What each customer ordered in the days from `start`, minor units, though the log ends before."""
        return totals(self.whole, "purchase", "amount_minor", start_us, start_us + days * DAY_US)[
            self.whole.rows_of([str(key) for key in keys])
        ]


@dataclass(frozen=True)
class Coverage:
    """How often p10 to p90 held what came, of `n` customers, with a 95% bootstrap interval."""

    of: str
    n: int
    covered: float
    interval: Interval


@dataclass(frozen=True)
class KnownAnswers:
    """What was found at one cut-off.

    by_horizon: for each model and the true hazard the figures of each horizon.
    distance: mean difference to the true probability over ten bins of what was said, by model and horizon: no luck of
    the draw is in it.
    """

    as_of: str
    n_customers: int
    by_horizon: Mapping[str, tuple[HorizonFigures, ...]]
    distance: Mapping[tuple[str, int], float]
    coverages: tuple[Coverage, ...]

    @property
    def rows(self) -> list[Row]:
        """The table of horizons."""
        return [
            {
                "horizon": figures.horizon_days,
                "scores of": name,
                "AUC": figures.auc,
                "95% of it": _shown(figures.auc_interval),
                "calibration error": figures.ece,
                "95% of that": _shown(figures.ece_interval),
                "Brier": figures.brier,
                "distance to truth": self.distance[name, figures.horizon_days],
            }
            for place in range(len(self.by_horizon[OURS]))
            for name, all_figures in self.by_horizon.items()
            for figures in [all_figures[place]]
        ]

    def failures(self, limits: Limits) -> list[str]:
        """The limits that are not kept, in words."""
        found = []
        for ours in self.by_horizon[OURS]:
            far = self.distance[OURS, ours.horizon_days]
            said = {"calibration error": ours.ece, "distance to the true probability": far}
            found += [
                f"{what} at {ours.horizon_days} days {error:.4f} is above {limits.calibration}"
                for what, error in said.items()
                if error > limits.calibration
            ]
        gap = self.by_horizon[TRUE][-1].auc - self.by_horizon[OURS][-1].auc
        if gap > limits.auc_gap:
            found.append(f"AUC is {gap:.4f} below the true hazard's, more than {limits.auc_gap}")
        low, high = limits.coverage
        return found + [
            f"p10 to p90 of {one.of} covers {one.covered:.3f}, outside {low} to {high}"
            for one in self.coverages
            if not low <= one.covered <= high
        ]


def known_answers(shop: Shop, settings: ChurnSettings) -> KnownAnswers:
    """Train the churn model on the shop's log, then compare with its truth."""
    trained = train_churn(shop.log, CHURN_FEATURES, settings, observed_until_us=shop.end_us)
    split = trained.split
    test = label_test(shop.log, CHURN_FEATURES, split, settings, shop.end_us)
    keys = shop.log.customer_keys[test.customer_rows]
    as_of_us = test.cutoffs[-1]
    forecast = trained.model.forecast(test.values, as_of_us)
    baselines = _baselines(shop, split, settings)
    by_horizon: dict[str, list[HorizonSlice]] = {}
    distance = {}
    for place, days in enumerate(settings.problem.horizons_days):
        labels = churned_by(test.event_days, days, "return")
        true = shop.true_probabilities(keys, as_of_us, settings, days)
        said = {OURS: forecast.churn_probability_by_horizon[:, place]}
        said |= {name: fitted[place].probabilities(test.values) for name, fitted in baselines.items()} | {TRUE: true}
        for name, probabilities in said.items():
            by_horizon.setdefault(name, []).append(HorizonSlice(days, labels, probabilities))
            distance[name, days] = _distance(probabilities, true)
    return KnownAnswers(
        format_instant(as_of_us),
        test.n_rows,
        {
            name: horizon_figures(slices, test.customer_rows, np.random.default_rng(0), settings.bootstrap_replicates)
            for name, slices in by_horizon.items()
        },
        distance,
        tuple(_coverages(shop, forecast, test, keys, settings)),
    )


def _baselines(shop: Shop, split: TimeSplit, settings: ChurnSettings) -> dict[str, list]:
    """The recency rule and the logistic model, fitted to each horizon's own labels."""
    fitting, calibration = label_fitting(shop.log, CHURN_FEATURES, split, settings, shop.end_us)
    found: dict[str, list] = {"logistic": [], "recency": []}
    for days in settings.problem.horizons_days:
        rows, later = (_relabelled(part, days) for part in (fitting, calibration))
        found["logistic"].append(fit_logistic_model(rows, later))
        found["recency"].append(fit_recency_rule(rows, later))
    return found


def _relabelled(rows: TrainingSet, days: int) -> TrainingSet:
    return replace(rows, labels=churned_by(rows.event_days, days, "return"))


def _coverages(shop: Shop, forecast: Forecast, test: TrainingSet, keys: np.ndarray, settings: ChurnSettings):
    days = forecast.next_event_days
    answered = np.isfinite(test.event_days) & ~np.isnan(days[:, 0])
    held = (days[:, 0] <= test.event_days) & (test.event_days <= days[:, 2])
    yield _coverage("the next purchase date", held[answered].astype(float), test.customer_rows[answered], settings)
    start_us = test.cutoffs[-1] + settings.gap_days * DAY_US
    for place, window in enumerate(VALUE_DAYS):
        came = shop.values(keys, start_us, window)
        held = _randomised(came, forecast.value_minor[:, place], forecast.value_none_probability[:, place])
        yield _coverage(f"the value of {window} days", held, test.customer_rows, settings)


def _randomised(came: np.ndarray, quantiles: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Chance that the randomised rank of each value lies from .1 to .9, float64 (n,).

    A value above 0 is within p10 to p90 or not. For 0, the rank is uniform from 0 to P(nothing): the part of that
    which lies from .1 to .9 counts.
    """
    inside = (quantiles[:, 0] <= came) & (came <= quantiles[:, 2])
    of_nothing = np.clip(np.minimum(nothing, 0.9) - 0.1, 0.0, None) / np.maximum(nothing, 1e-12)
    return np.where(came > 0, inside.astype(float), of_nothing)


def _coverage(of: str, held: np.ndarray, rows: np.ndarray, settings: ChurnSettings) -> Coverage:
    drawn = bootstrap_over_customers(
        lambda weights: {"covered": float(np.average(held, weights=weights))},
        rows,
        np.random.default_rng(0),
        settings.bootstrap_replicates,
    )
    return Coverage(of, held.size, float(held.mean()), drawn["covered"])


def _distance(said: np.ndarray, true: np.ndarray) -> float:
    bins = np.array_split(np.argsort(said), 10)
    return float(np.mean([abs(said[part].mean() - true[part].mean()) for part in bins]))


def _shown(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def print_churn(shop: Shop, settings: ChurnSettings, size: str) -> Verdict:
    """Judge, print and keep the churn model."""
    found = known_answers(shop, settings)
    verdict = Verdict("the churn model", tuple(found.failures(Limits())))
    title = f"Churn at {found.as_of}, {found.n_customers:,} eligible customers ({size})"
    print_and_keep("known_answers_churn", title, found.rows, verdict.notes)
    rows = [
        {"p10 to p90 of": one.of, "customers": one.n, "covered": one.covered, "95% of it": _shown(one.interval)}
        for one in found.coverages
    ]
    print_and_keep("known_answers_forecast", f"How often intervals of 80% hold what came ({size})", rows)
    return verdict


def recommender_verdict(ndcg: Mapping[str, float]) -> Verdict:
    """How far ours ranks above popularity, by the NDCG@10 of each source."""
    gain = ndcg["ours"] / ndcg["popularity"] - 1
    words = f"NDCG@10 is {gain:.1%} above popularity, less than {NDCG_GAIN:.0%}"
    return Verdict("the recommender", () if gain >= NDCG_GAIN else (words,))


def print_recommender(shop: Shop, settings: Settings, size: str) -> Verdict:
    """Judge, print and keep the recommender."""
    report = train_recommender(
        shop.log, settings.recommender, settings.evaluation, observed_until_us=shop.end_us
    ).report
    ndcg = {figures.source: figures.ndcg_at_10.mean for figures in report.figures if figures.segment == "all"}
    verdict = recommender_verdict(ndcg)
    print_and_keep(
        "known_answers_recommender",
        f"Recommendations, the last 30 days out of time ({size})",
        [{"source": name, "NDCG@10": value} for name, value in ndcg.items()],
        verdict.notes,
    )
    return verdict


def require_kept(verdicts: Sequence[Verdict]) -> None:
    """End with exit code 1 and the names of those that miss a limit; nothing happens where all are kept."""
    missed = [f"{one.of} ({len(one.missed)})" for one in verdicts if one.missed]
    if missed:
        raise SystemExit(f"limits NOT kept by {', '.join(missed)}; see above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=11, help="of the shop; the models were tuned on others")
    parser.add_argument("--only", choices=("churn", "recommender"), default=None)
    options = parser.parse_args()
    shop = Shop.lived(options.scale, options.seed)
    size = f"{shop.log.n_customers:,} customers, {len(shop.log):,} events, seed {options.seed}"
    settings = Settings()
    verdicts = []
    if options.only != "recommender":
        verdicts.append(print_churn(shop, settings.churn, size))
    if options.only != "churn":
        verdicts.append(print_recommender(shop, settings, size))
    require_kept(verdicts)


if __name__ == "__main__":
    main()
