"""How large a machine: memory of the running service and disk of the workspace, by customers and items.

For each size a shop is drawn (20 events a customer), its log sealed, a release made with a recommender of all sources,
features built and everybody scored into a book, in a process of its own. Then `holdfast serve`'s own command starts one
worker; once it is ready and has answered some hundred requests, resident memory of its processes is read, and the most
that they ever took while loading. What a million adds is told from the differences between the sizes.

Run: python -m benchmarks.bench_sizing [--customers 20000 100000] [--items 5000 50000] [--full]
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from deltalake import write_deltalake

from benchmarks.bench_http import started
from benchmarks.http_load import measure, request
from benchmarks.recommend_worlds import AS_OF_US, World, lay_out, recommender
from benchmarks.report import print_and_keep
from features.tables import IDENTITIES
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.batch_scorer import ScoreOptions
from training.batch_scoring import score_job
from training.churn_settings import ChurnSettings
from training.demo import free_port
from training.feature_jobs import build_features
from training.fitted_sources import SourceSettings

EVENTS_EACH = 20
ASKED, N_ASKED = "asked.txt", 300
MIB = 2**20
PARTS = ("log", "identities", "releases", "snapshots", "scores")
Row = dict[str, Any]


def prepare(root: Path, n_customers: int, n_items: int) -> None:
    """A workspace as its jobs would leave it."""
    world = World.drawn(n_customers, n_items, n_customers * EVENTS_EACH, 1)
    workspace = Workspace(root)
    ids = pa.array(world.customer_ids())
    keys = lay_out(workspace, world, recommender(world, world.view(), SourceSettings()))
    workspace.identities.mkdir(parents=True)
    write_deltalake(workspace.identities, pa.table([keys, ids], schema=IDENTITIES.arrow))
    settings = ChurnSettings()
    build_features(workspace, settings, as_of_us=AS_OF_US)
    options = ScoreOptions(keep_books=14)
    score_job(workspace, root / "scores.parquet", settings, options, release_name="r-bench", as_of_us=AS_OF_US)
    known = [ids[row].as_py() for row in np.unique(world.customers)]
    (root / ASKED).write_text("\n".join(known[:: max(1, len(known) // N_ASKED)]), encoding="utf-8")


def size(n_customers: int, n_items: int) -> Row:
    """One row of the table: MiB in memory and on disk."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "shop"
        words = ["--prepare", str(root), "--customers", str(n_customers), "--items", str(n_items)]
        subprocess.run([sys.executable, "-m", "benchmarks.bench_sizing", *words], check=True)
        port, shift = free_port(3430), AS_OF_US - time.time_ns() // 1_000
        settings = ServiceSettings(root, release="r-bench", port=port, clock_shift_us=shift, access_log=False)
        command, before = serve_command(settings), time.perf_counter()
        with started(list(command.argv), command.env, port, "/readyz", Path(name) / "log") as server:
            loaded_s = time.perf_counter() - before
            ask(server.port, server.pid, (root / ASKED).read_text(encoding="utf-8").splitlines())
            processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            resident = [process.memory_info().rss / MIB for process in processes]
            peaks = [peak_mib(process.pid) for process in processes]
        disk = {part: round(on_disk(root / part) / MIB, 1) for part in PARTS}
    memory = {"worker_mib": round(max(resident)), "all_mib": round(sum(resident)), "peak_mib": round(max(peaks))}
    return {"customers": n_customers, "items": n_items, "ready_s": round(loaded_s, 1), **memory, **disk}


def ask(port: int, pid: int, customers: list[str]) -> None:
    """Some seconds of both kinds of answers, so that what is made on demand is there."""
    calls = [request("GET", f"/v1/customers/{one}/churn") for one in customers]
    calls += [request("POST", "/v1/recommendations", {"customer_id": one}) for one in customers]
    measure(port, pid, itertools.cycle(calls), 4.0, 200)


def peak_mib(pid: int) -> float:
    """The largest resident memory of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def per_million(low: Row, high: Row, of: str) -> Row:
    """What a million more of them adds, from two rows that differ in nothing else."""
    factor = 1e6 / (high[of] - low[of])
    told = {name: round((high[name] - low[name]) * factor) for name in high if name not in {"customers", "items"}}
    return {f"a million {of} adds": f"from {low[of]:,} to {high[of]:,}", **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--customers", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--items", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument(
        "--full", action="store_true", help="100,000 and 1,000,000 customers, 50,000 and 1,000,000 items"
    )
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare is not None:
        prepare(given.prepare, given.customers[0], given.items[0])
        return
    customers, items = given.customers, given.items
    if given.full:
        customers, items = [100_000, 1_000_000], [50_000, 1_000_000]
    sizes = [(one, items[0]) for one in customers] + [(customers[0], one) for one in items[1:]]
    rows = [size(*one) for one in sizes]
    print_and_keep("sizing", "Memory of one worker and disk of the workspace, MiB", rows)
    by_customers = [row for row in rows if row["items"] == items[0]]
    by_items = [row for row in rows if row["customers"] == customers[0]]
    for of, among in (("customers", by_customers), ("items", by_items)):
        if len(among) > 1:
            told = [per_million(among[0], among[-1], of)]
            print_and_keep(f"sizing_{of}", f"What a million {of} adds, MiB ({EVENTS_EACH} events a customer)", told)


if __name__ == "__main__":
    main()
