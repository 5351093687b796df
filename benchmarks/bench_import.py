"""How fast, and in how much memory, order lines become a sealed event log.

    python -m benchmarks.bench_import --n 5000000

Makes a table of order lines as CSV and as Parquet in a temporary folder, imports each with the shipped mapping
`orders` into an empty workspace, and beside it does the least that a script would do (pandas reads the file and
writes it back as Parquet: no validation, money, pseudonyms, duplicates or log). Each runs in a process of its own,
so that its peak memory is its own. The result is kept as benchmarks/results/import.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from benchmarks.report import print_and_keep

TARGET_ROWS_PER_SECOND, TARGET_GIB = 250_000, 3.0
CHUNK = 500_000
START_S = 1_700_000_000


def order_lines(n: int, first: int, rng: np.random.Generator) -> pa.Table:
    """Lines first..first+n of 100,000 customers, 20,000 items, about three lines an order."""
    orders = (np.arange(first, first + n) // 3).astype(np.int64)
    customers = (orders * 2_654_435_761) % 100_000
    times = pa.array((START_S + orders * 11).astype(np.int64)).cast(pa.timestamp("s", tz="UTC"))
    cents = rng.integers(50, 20_000, n)
    whole, rest = (
        pa.array(cents // 100).cast(pa.string()),
        pc.utf8_slice_codeunits(pa.array(cents % 100 + 100).cast(pa.string()), 1),
    )
    return pa.table(
        {
            "order_id": pc.binary_join_element_wise("O", pa.array(orders).cast(pa.string()), ""),
            "customer_id": pc.binary_join_element_wise("C", pa.array(customers).cast(pa.string()), ""),
            "item_id": pc.binary_join_element_wise("SKU", pa.array(rng.integers(0, 20_000, n)).cast(pa.string()), ""),
            "ordered_at": pc.strftime(times, format="%Y-%m-%dT%H:%M:%SZ"),
            "quantity": pa.array(rng.integers(1, 6, n)),
            "unit_price": pc.binary_join_element_wise(whole, rest, "."),
            "currency": pa.repeat("EUR", n),
            "channel": pa.array(["web", "app", "store"]).take(pa.array(rng.integers(0, 3, n))),
        }
    )


def make_files(folder: Path, n: int) -> dict[str, Path]:
    rng = np.random.default_rng(7)
    paths = {"csv": folder / "orders.csv", "parquet": folder / "orders.parquet"}
    schema = order_lines(1, 0, np.random.default_rng(0)).schema
    options = pcsv.WriteOptions(quoting_style="none")
    with (
        pcsv.CSVWriter(paths["csv"], schema, write_options=options) as text,
        pq.ParquetWriter(paths["parquet"], schema) as parquet,
    ):
        for first in range(0, n, CHUNK):
            rows = order_lines(min(CHUNK, n - first), first, rng)
            text.write_table(rows)
            parquet.write_table(rows)
    return paths


def peak_gib() -> float:
    """Largest resident memory of this process; ru_maxrss would count that of the parent it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    return int(kib) / 2**20


def run_one(side: str, source: Path, folder: Path) -> None:
    """In a process of its own: do the work, print seconds, rows and peak memory as JSON."""
    started = time.perf_counter()
    if side == "holdfast":
        from features.importing import import_file, load_mapping  # noqa: PLC0415 - measured memory is this side's own
        from features.workspace import Workspace  # noqa: PLC0415

        started = time.perf_counter()
        report = import_file(source, load_mapping("orders"), Workspace(folder))
        n, detail = report.n_read, {"n_accepted": report.n_accepted, "n_duplicates": report.n_duplicates}
    else:
        import pandas as pd  # noqa: PLC0415

        started = time.perf_counter()
        frame = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
        folder.mkdir()
        frame.to_parquet(folder / "events.parquet")
        n, detail = len(frame), {}
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    detail["cpu_seconds"] = usage.ru_utime + usage.ru_stime
    peak = peak_gib()
    print(json.dumps({"rows": n, "seconds": seconds, "rows_per_second": n / seconds, "peak_gib": peak, **detail}))


def measured(side: str, source: Path, folder: Path) -> dict[str, float]:
    root = Path(__file__).resolve().parents[1]
    command = [
        sys.executable,
        "-m",
        "benchmarks.bench_import",
        "--side",
        side,
        "--source",
        str(source),
        "--folder",
        str(folder),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5_000_000, help="order lines")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        run_one(given.side, given.source, given.folder)
        return
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form, path in make_files(folder, given.n).items():
            for side in ("holdfast", "pandas"):
                results[f"{side} {form}"] = measured(side, path, folder / f"{side}-{form}")
    met = all(
        result["rows_per_second"] >= TARGET_ROWS_PER_SECOND and result["peak_gib"] <= TARGET_GIB
        for label, result in results.items()
        if label.startswith("holdfast")
    )
    print_and_keep(
        "import",
        f"Import of {given.n:,} order lines",
        [
            {
                "side": label,
                "seconds": result["seconds"],
                "CPU s": result["cpu_seconds"],
                "rows/s": int(result["rows_per_second"]),
                "peak GiB": result["peak_gib"],
            }
            for label, result in results.items()
        ],
        [
            f"load average {os.getloadavg()[0]:.1f}; CPU seconds include starting Python",
            f"target {TARGET_ROWS_PER_SECOND:,} rows/s in {TARGET_GIB} GiB: {'met' if met else 'NOT met'}",
        ],
    )


if __name__ == "__main__":
    main()
