"""Batch scoring of a million customers from a feature snapshot, beside LightGBM's bare predict with the same trees.

The model is fitted on the simulated shop as `holdfast train churn` fits it, with segments; the snapshot holds its
customers again and again, every value moved a little. Each measurement is a process of its own, so that its peak
memory is its own; scoring is the whole job of `holdfast score --from-snapshot`: read, score, forecast, segments, the
shop's own ids, reasons, one Parquet file, the book of scores. Bare predict has its values in memory already, as one
matrix. CPU is that of all threads: on two free cores a second of work has two of it.

Run: python -m benchmarks.bench_batch_scoring [--customers 1000000] [--scale 0.2] [--folder /tmp/kept]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from benchmarks.report import limit_words, peak_rss_gib, print_and_keep, require_kept
from features.churn_features import CHURN_FEATURES
from features.compute import FeatureTable, compute
from features.customer_view import CustomerView
from features.instants import format_instant
from features.tables import IDENTITIES
from features.workspace import Workspace
from serving.catalogue import Catalogue
from serving.policy import Policy
from serving.recommender import Recommender, RecommenderSettings
from serving.release import write_release
from serving.releases import load_named
from serving.sources.popularity import PopularitySource
from serving.trees import Trees
from training.batch_scorer import ScoreOptions
from training.batch_scoring import score_job
from training.churn import choose_bands, fit_churn
from training.churn_settings import ChurnSettings
from training.cutoffs import observed_span, split_in_time
from training.reason_choice import reasons_for
from training.release_keys import signing_key
from training.score_sources import newest_snapshot
from training.segment_settings import SegmentSettings
from training.segments import fit_segments
from training.simulate import SimulationSettings, inside, simulate
from training.training_set import build_training_set, label_cutoff

CASES = {
    "bare predict, the margin's trees, one thread": lambda place: bare(place, 1, everything=False),
    "bare predict, the margin's trees": lambda place: bare(place, 2, everything=False),
    "bare predict, all the model's trees": lambda place: bare(place, 2, everything=True),
    "bare contributions of every tenth": lambda place: bare_contributions(place, 2),
    "holdfast score, no reasons": lambda place: score(place, "none"),
    "holdfast score, reasons for the riskiest tenth": lambda place: score(place, "riskiest:0.1"),
}
RELEASE = "r-bench"
CHUNK = 16_384
LEAST_RATE, LEAST_REASONED_RATE = 60_000, 15_000


def make_workspace(root: Path, n_customers: int, scale: float) -> None:
    """A release, a snapshot and identities; no event log, which scoring from a snapshot does not read."""
    workspace, settings = Workspace(root), ChurnSettings()
    shop = simulate(SimulationSettings(scale=scale), seed=11)
    view = CustomerView.from_events(inside(shop, lambda ids: ids)[0])
    first_us, end_us = observed_span(view)
    split = split_in_time(first_us, end_us, settings)
    training = build_training_set(view, CHURN_FEATURES, split.train, settings, observed_until_us=end_us)
    calibration = label_cutoff(view, CHURN_FEATURES, split.calibration, settings, observed_until_us=end_us)
    model = fit_churn(training, calibration, settings)
    table = compute(view, CHURN_FEATURES, end_us)
    write_release(
        workspace.releases,
        name=RELEASE,
        key=signing_key(workspace),
        created_at_us=end_us,
        feature_set=CHURN_FEATURES,
        churn=model,
        recommender=_small_recommender(),
        policy=Policy(),
        bands=choose_bands(model.probabilities(table.values)),
        provenance={"churn": {"name": "churn", "version": 1}},
        segments=fit_segments(table, SegmentSettings()),
    )
    _write_snapshot(workspace, table, n_customers)
    keys = _keys(0, n_customers)
    ids = pa.array([f"C{number:07d}" for number in range(n_customers)])
    workspace.identities.mkdir(parents=True)
    write_deltalake(workspace.identities, pa.table([keys, ids], schema=IDENTITIES.arrow))


def _small_recommender() -> Recommender:
    """A release has one; churn scoring does not look at it."""
    sources = (PopularitySource(np.ones(2, np.float32)),)
    catalogue = Catalogue.nothing_said(("a", "b"))
    return Recommender(catalogue, sources, RecommenderSettings(blend={"popularity": 1.0}))


def _keys(start: int, stop: int) -> pa.Array:
    return pa.array([f"k000000:{number:032x}" for number in range(start, stop)])


def _write_snapshot(workspace: Workspace, table: FeatureTable, n_customers: int) -> None:
    """As `holdfast features build` writes it: a row group a chunk."""
    rng = np.random.default_rng(7)
    workspace.snapshots.mkdir(parents=True)
    writer = None
    for start in range(0, n_customers, CHUNK):
        n = min(CHUNK, n_customers - start)
        values = table.values[rng.integers(0, table.values.shape[0], n)]
        values = values * rng.uniform(0.9, 1.1, values.shape)
        keys = _keys(start, start + n).to_numpy(zero_copy_only=False)
        part = FeatureTable(keys, table.as_of_us, table.names, values, table.fingerprint).to_arrow()
        part = part.replace_schema_metadata({**part.schema.metadata, b"currency": b"EUR"})
        if writer is None:
            path = workspace.snapshots / f"{format_instant(table.as_of_us).replace(':', '')}.parquet"
            writer = pq.ParquetWriter(path, part.schema, use_dictionary=["as_of"], compression="lz4")
        writer.write_table(part, row_group_size=CHUNK)
    if writer is not None:
        writer.close()


def matrix(workspace: Workspace) -> np.ndarray:
    """The snapshot's values as one C-ordered matrix."""
    snapshot = newest_snapshot(workspace, CHURN_FEATURES)
    return np.concatenate([chunk.table.values for chunk in snapshot.chunks(CHUNK)])


def _trees(workspace: Workspace, *, everything: bool) -> list[lgb.Booster]:
    model = load_named(RELEASE, workspace).churn
    numbers = [window.amount for window in model.value_windows] + ([model.timing.quantity] if model.timing else [])
    wanted: list[Trees | None] = [model.trees, *(number.location.trees for number in numbers if everything)]
    return [lgb.Booster(model_str=trees.text) for trees in wanted if trees is not None]


def timed(work: Callable[[], object], n: int, notes: str = "") -> dict[str, Any]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    found = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gib": peak_rss_gib()}
    return found | {"customers": n, "notes": notes}


def bare(workspace: Workspace, threads: int, *, everything: bool) -> dict[str, Any]:
    values, boosters = matrix(workspace), _trees(workspace, everything=everything)
    notes = f"{sum(booster.num_trees() for booster in boosters)} trees, {threads} thread(s)"
    return timed(
        lambda: [one.predict(values, raw_score=True, num_threads=threads) for one in boosters], len(values), notes
    )


def bare_contributions(workspace: Workspace, threads: int) -> dict[str, Any]:
    values, (booster,) = matrix(workspace), _trees(workspace, everything=False)
    tenth = np.ascontiguousarray(values[::10])
    found = timed(lambda: booster.predict(tenth, pred_contrib=True, num_threads=threads), len(values))
    return found | {"notes": f"{len(tenth):,} customers explained, {threads} thread(s)"}


def score(workspace: Workspace, chosen: str) -> dict[str, Any]:
    source = newest_snapshot(workspace, CHURN_FEATURES)
    options = ScoreOptions(reasons_for=reasons_for(chosen), keep_books=2)
    out = workspace.root / "scores.parquet"
    found = timed(lambda: score_job(workspace, out, ChurnSettings(), options, source=source), 0)
    rows = pq.read_table(out, columns=["reason_codes", "expected_loss_minor"])
    reasoned = rows.num_rows - rows["reason_codes"].null_count
    valued = rows.num_rows - rows["expected_loss_minor"].null_count
    notes = f"{reasoned:,} with reasons, {valued:,} with value; {out.stat().st_size / 2**20:.0f} MiB"
    return found | {"customers": rows.num_rows, "notes": notes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=0.2, help="of the simulated shop that the model is fitted on")
    parser.add_argument("--folder", type=Path, help="keep the workspace here, and use it again where it is there")
    parser.add_argument("--rounds", type=int, default=1, help="the fastest round counts, for every case alike")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(CASES[options.case](Workspace(options.folder))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "shop"
        if not folder.exists():
            make_workspace(folder, options.customers, options.scale)
        found = {case: min((measured(folder, case) for _ in range(options.rounds)), key=_seconds) for case in CASES}
    report(found)


def _seconds(found: dict[str, Any]) -> float:
    return float(found["seconds"])


def measured(folder: Path, case: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_batch_scoring", "--folder", str(folder), "--case", case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def report(found: dict[str, dict[str, Any]]) -> None:
    rows = [
        {
            "case": case,
            "seconds": round(one["seconds"], 1),
            "customers/s": round(one["customers"] / one["seconds"]),
            "CPU us a customer": round(one["cpu_seconds"] / one["customers"] * 1e6, 2),
            "peak GiB": round(one["peak_gib"], 2),
            "of it": one["notes"],
        }
        for case, one in found.items()
    ]
    plain, reasoned = (found[case] for case in list(CASES)[-2:])
    rate, reasoned_rate = (one["customers"] / one["seconds"] for one in (plain, reasoned))
    held = {
        f"without reasons: {rate:,.0f} customers a second (at least {LEAST_RATE:,} wanted)": rate >= LEAST_RATE,
        f"reasons for the riskiest tenth: {reasoned_rate:,.0f} customers a second (at least {LEAST_REASONED_RATE:,} "
        "wanted)": reasoned_rate >= LEAST_REASONED_RATE,
    }
    notes = [
        f"{plain['customers']:,} customers x {len(CHURN_FEATURES)} features, {os.cpu_count()} cores",
        *limit_words(held),
    ]
    print_and_keep("batch_scoring", "Batch scoring from a snapshot", rows, notes)
    require_kept("batch scoring", held)


if __name__ == "__main__":
    main()
