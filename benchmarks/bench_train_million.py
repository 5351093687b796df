"""Training on a million customer-rows beside a bare LightGBM fit.

Rows of the simulated shop are drawn with replacement, each stretched a little so that no two are alike, to 1,000,000
rows of 100 features. Both sides boost the same number of rounds with the same parameters and threads on 85% of the
customers and watch the log-loss of the others; ours also sorts, fits the linear part and the law of silence, weighs
all three, and learns when customers return and how much they order. Calibration is timed and left out of the ratio; so
is making the rows. Times are CPU seconds, which a busy machine does not stretch, medians over the repeats.
Run: python -m benchmarks.bench_train_million [--rows 1000000] [--rounds 150] [--repeats 3]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from dataclasses import replace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import lightgbm as lgb
import numpy as np

from benchmarks.report import limit_words, peak_rss_gib, print_and_keep, require_kept
from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from training.churn import fit_churn
from training.churn_settings import ChurnSettings, TreeSettings
from training.cutoffs import observed_span, split_in_time
from training.margin import customer_parts
from training.simulate import SimulationSettings, inside, simulate
from training.training_set import TrainingSet, build_training_set, label_cutoff

CALIBRATING = "calibrating"
LIMIT = 1.3
N_FEATURES = 100


def shop_rows(scale: float) -> tuple[TrainingSet, TrainingSet]:
    """Training and calibration rows of a simulated shop, of the first 100 features."""
    shop = simulate(SimulationSettings(scale=scale), seed=11)
    view = CustomerView.from_events(inside(shop, lambda ids: ids)[0])
    settings = ChurnSettings()
    first_us, end_us = observed_span(view)
    split = split_in_time(first_us, end_us, settings)
    training = build_training_set(view, CHURN_FEATURES, split.train, settings, observed_until_us=end_us)
    calibration = label_cutoff(view, CHURN_FEATURES, split.calibration, settings, observed_until_us=end_us)
    return first_features(training), first_features(calibration)


def first_features(rows: TrainingSet) -> TrainingSet:
    values = np.ascontiguousarray(rows.values[:, :N_FEATURES])
    return replace(rows, values=values, feature_names=rows.feature_names[:N_FEATURES])


def stretched(rows: TrainingSet, n_rows: int) -> TrainingSet:
    """So many rows, drawn with replacement; every ten of them are one customer's."""
    rng = np.random.default_rng(0)
    drawn = rows.take(np.sort(rng.integers(0, rows.n_rows, n_rows)))
    values = drawn.values * rng.uniform(0.97, 1.03, (n_rows, 1))
    return replace(drawn, values=values, customer_rows=rng.permutation(n_rows) // 10)


def ours(rows: TrainingSet, calibration: TrainingSet, settings: ChurnSettings) -> dict[str, float]:
    """CPU seconds of each part of the fit."""
    marks: list[tuple[str, float]] = [("parting the customers", time.process_time())]
    fit_churn(rows, calibration, settings, progress=lambda words: marks.append((words, time.process_time())))
    marks.append(("end", time.process_time()))
    return {words: then - now for (words, now), (_, then) in itertools.pairwise(marks)}


def bare(rows: TrainingSet, settings: ChurnSettings) -> float:
    """CPU seconds of LightGBM alone: the same parameters, rounds and rows to fit and to watch."""
    trees, (part,) = settings.trees, customer_parts(rows, settings)
    sides = [(rows.values[places], rows.labels[places].astype(float)) for places in (part.fitting, part.held_out)]
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": trees.leaves,
        "min_data_in_leaf": trees.min_rows_in_leaf,
        "lambda_l2": trees.l2,
        "learning_rate": trees.learning_rate,
        "feature_fraction": trees.feature_share,
        "bagging_fraction": trees.row_share,
        "bagging_freq": 1,
        "max_bin": trees.max_bins,
        "seed": settings.seed % (1 << 31),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.num_threads,
        "verbosity": -1,
    }
    start = time.process_time()
    fitted = lgb.Dataset(*sides[0], params=parameters)
    watched = lgb.Dataset(*sides[1], reference=fitted, params=parameters)
    lgb.train(parameters, fitted, trees.max_rounds, valid_sets=[watched])
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=150, help="the shop's own models stop after 120 to 200")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    training, calibration = shop_rows(1.0)
    rows = stretched(training, options.rows)
    trees = TreeSettings(max_rounds=options.rounds, early_stopping_rounds=options.rounds)
    settings = ChurnSettings(trees=trees, num_threads=options.threads)
    pairs = [(ours(rows, calibration, settings), bare(rows, settings)) for _ in range(options.repeats)]
    parts = {words: statistics.median(taken[words] for taken, _ in pairs) for words in pairs[0][0]}
    alone = statistics.median(taken for _, taken in pairs)
    ratio = statistics.median(
        (sum(taken.values()) - taken[CALIBRATING]) / bare_seconds for taken, bare_seconds in pairs
    )
    fitting = sum(parts.values()) - parts[CALIBRATING]
    table = [{"step": words, "CPU s": seconds, "bare LightGBM": ""} for words, seconds in parts.items()]
    table.append({"step": "all but calibrating", "CPU s": fitting, "bare LightGBM": f"{alone:.3f}"})
    held = {f"ratio to bare LightGBM {ratio:.2f}, median of {options.repeats}, is at most {LIMIT}": ratio <= LIMIT}
    print_and_keep(
        "train_million",
        f"Fit on {options.rows:,} rows x {N_FEATURES} features, {options.rounds} rounds, {options.threads} thread(s)",
        table,
        (*limit_words(held), f"peak memory: {peak_rss_gib():.1f} GiB"),
    )
    require_kept("training on many rows", held)


if __name__ == "__main__":
    main()
