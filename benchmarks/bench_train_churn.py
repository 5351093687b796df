"""Speed of churn training and scoring: `python benchmarks/bench_train_churn.py [--scale 1.0] [--threads 1]`.

Trains on the simulated shop and takes each step's time; then times one customer's prediction, reasons' contributions
and a batch, against bare LightGBM on the same trees. Prints a table, kept in benchmarks/results/train_churn.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import lightgbm as lgb
import numpy as np

from benchmarks.report import peak_rss_gib, print_and_keep
from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from serving.bands import Bands
from serving.churn_model import ChurnModel
from training.churn import fit_churn
from training.churn_baselines import fit_baselines
from training.churn_evaluation import judge_churn
from training.churn_settings import ChurnSettings
from training.cutoffs import observed_span, split_in_time
from training.simulate import SimulationSettings, inside, simulate
from training.training_set import TrainingSet, build_training_set, label_cutoff

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def microseconds(work: Callable[[int], object], calls: int) -> float:
    """Median of single calls, after a warm-up of a tenth."""
    taken = []
    for call in range(calls):
        start = time.perf_counter()
        work(call)
        taken.append((time.perf_counter() - start) * 1e6)
    return statistics.median(taken[calls // 10 :])


def train(view: CustomerView, settings: ChurnSettings) -> tuple[list[dict[str, object]], ChurnModel, TrainingSet]:
    first_us, end_us = observed_span(view)
    split = split_in_time(first_us, end_us, settings)
    assert split.test is not None
    rows_s, training_set = timed(
        lambda: build_training_set(view, CHURN_FEATURES, split.train, settings, observed_until_us=end_us)
    )
    calibration_set = label_cutoff(view, CHURN_FEATURES, split.calibration, settings, observed_until_us=end_us)
    test_set = label_cutoff(view, CHURN_FEATURES, split.test, settings, observed_until_us=end_us)
    fit_s, model = timed(lambda: fit_churn(training_set, calibration_set, settings))
    baselines_s, baselines = timed(lambda: fit_baselines(training_set, calibration_set))
    judge_s, _ = timed(
        lambda: judge_churn(model, Bands(0.3, 0.6), baselines, test_set, split, settings, view.customer_keys)
    )
    size = f"{training_set.n_rows:,} rows, {len(split.train)} cut-offs, {len(CHURN_FEATURES)} features"
    steps: list[dict[str, object]] = [
        {"step": f"features and labels: {size}", "unit": "s", "holdfast": rows_s},
        {"step": f"fit, calibrate, season: {model.n_trees} trees", "unit": "s", "holdfast": fit_s},
        {"step": "both baselines", "unit": "s", "holdfast": baselines_s},
        {
            "step": f"judge {test_set.n_rows:,} customers, {settings.bootstrap_replicates} draws",
            "unit": "s",
            "holdfast": judge_s,
        },
    ]
    return steps, model, test_set


def predict(model: ChurnModel, values: np.ndarray) -> list[dict[str, object]]:
    bare = lgb.Booster(model_str=model.trees.text)
    last = len(values) - 1
    loaded_s, _ = timed(lambda: ChurnModel.from_files(model.to_files()))
    bare_s, _ = timed(lambda: lgb.Booster(model_str=model.trees.text))
    batch_s, _ = timed(lambda: model.probabilities(values))
    bare_batch_s, _ = timed(lambda: bare.predict(values))

    def row(call: int) -> np.ndarray:
        return values[call % last : call % last + 1]

    return [
        {
            "step": "one customer's probability, bare: predict(num_threads=1)",
            "unit": "us",
            "holdfast": microseconds(lambda call: model.probability(values[call % last]), 2_000),
            "bare LightGBM": microseconds(lambda call: bare.predict(row(call), num_threads=1), 2_000),
        },
        {
            "step": "one customer's contributions",
            "unit": "us",
            "holdfast": microseconds(lambda call: model.contributions(row(call)), 500),
            "bare LightGBM": microseconds(lambda call: bare.predict(row(call), pred_contrib=True, num_threads=1), 500),
        },
        {"step": f"{len(values):,} customers", "unit": "s", "holdfast": batch_s, "bare LightGBM": bare_batch_s},
        {"step": "load; ours checks every tree first", "unit": "s", "holdfast": loaded_s, "bare LightGBM": bare_s},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    shop = simulate(SimulationSettings(scale=options.scale), seed=11)
    view = CustomerView.from_events(inside(shop, lambda ids: ids)[0])
    steps, model, test_set = train(view, ChurnSettings(num_threads=options.threads))
    rows = [{"bare LightGBM": "", **step} for step in steps + predict(model, test_set.values)]
    order = ("step", "unit", "holdfast", "bare LightGBM")
    print_and_keep(
        "train_churn",
        f"Churn model: {shop.events.num_rows:,} events, {view.n_customers:,} customers, {options.threads} thread(s)",
        [{key: row[key] for key in order} for row in rows],
        (f"peak memory: {peak_rss_gib():.1f} GiB",),
    )


if __name__ == "__main__":
    main()
