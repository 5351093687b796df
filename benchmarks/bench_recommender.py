"""Speed and memory of the recommender: `python -m benchmarks.bench_recommender [--scale 1.0]`.

Ours and bare implicit read the same matrix in one process, in turn, after one warm-up each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
from implicit.cpu.als import AlternatingLeastSquares

from benchmarks.report import peak_rss_gib, print_and_keep
from features.customer_view import CustomerView
from features.interactions import interactions
from serving.recommender_settings import USUAL_BLEND
from training.ranker import RankerSettings
from training.recommender import RecommenderFitSettings, fit_recommender
from training.simulate import SimulationSettings, inside, simulate
from training.sources.als import AlsSettings


def seconds(work: Callable[[], object], times: int) -> float:
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def bare_implicit(matrix: object, settings: AlsSettings) -> AlternatingLeastSquares:
    model = AlternatingLeastSquares(
        factors=settings.factors,
        regularization=settings.regularization,
        alpha=settings.alpha,
        iterations=settings.iterations,
        num_threads=settings.n_threads,
        random_state=settings.seed,
    )
    model.fit(matrix, show_progress=False)
    return model


def single_slates(recommender, view: CustomerView, as_of_us: int, n: int) -> np.ndarray:
    rows = np.random.default_rng(1).choice(view.n_customers, n, replace=False)
    histories = [view.select([row]) for row in rows]
    recommender.slate(histories[0], as_of_us, 10)
    taken = []
    for history in histories:
        start = time.perf_counter()
        recommender.slate(history, as_of_us, 10)
        taken.append(time.perf_counter() - start)
    return np.array(taken) * 1e3


def measure(scale: float) -> dict[str, float]:
    settings = RecommenderFitSettings()
    simulation = SimulationSettings(scale=scale)
    events, _ = inside(simulate(simulation, 7), lambda ids: ids.cast(pa.string()))
    view = CustomerView.from_events(events)
    as_of_us = simulation.end_us
    found = interactions(view, as_of_us, settings.interactions)
    unranked = RecommenderFitSettings(ranker=RankerSettings(enabled=False))
    fixed = replace(unranked, blend=dict(USUAL_BLEND))
    recommender = fit_recommender(view, as_of_us, settings)
    bare = bare_implicit(found.weights, settings.sources.als)
    some = np.arange(min(5_000, view.n_customers))
    part, matrix = view.select(some), found.weights[: len(some)]
    single = single_slates(recommender, view, as_of_us, min(1_000, view.n_customers))
    ranked = seconds(lambda: recommender.rank(part, as_of_us, 10), 3)
    slated = seconds(lambda: list(recommender.slates(part, as_of_us, 10)), 3)
    theirs = seconds(lambda: bare.recommend(some, matrix, N=10, recalculate_user=True), 3)
    return {
        "customers": view.n_customers,
        "events": events.num_rows,
        "items": len(recommender.item_ids),
        "cells": found.weights.nnz,
        "interactions_s": seconds(lambda: interactions(view, as_of_us, settings.interactions), 3),
        "fit_s": seconds(lambda: fit_recommender(view, as_of_us, fixed), 3),
        "fit_and_choose_blend_s": seconds(lambda: fit_recommender(view, as_of_us, unranked), 2),
        "fit_with_ranker_s": seconds(lambda: fit_recommender(view, as_of_us, settings), 1),
        "bare_implicit_fit_s": seconds(lambda: bare_implicit(found.weights, settings.sources.als), 3),
        "ranked_per_s": len(some) / ranked,
        "slates_per_s": len(some) / slated,
        "bare_implicit_fold_in_lists_per_s": len(some) / theirs,
        "one_slate_ms_p50": float(np.quantile(single, 0.5)),
        "one_slate_ms_p99": float(np.quantile(single, 0.99)),
        "files_mb": sum(map(len, recommender.to_files().values())) / 1e6,
        "peak_memory_gib": peak_rss_gib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is 20,000 customers")
    measured = measure(parser.parse_args().scale)
    rows = [{"figure": name, "value": value} for name, value in measured.items()]
    print_and_keep("recommender", "Recommender beside bare implicit on the same matrix", rows)


if __name__ == "__main__":
    main()
