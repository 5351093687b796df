"""HTTP: the service against the same model behind plain Starlette and behind `mlflow models serve`, in one run.

All servers run at once on loopback, one process each, and are asked in turn, several rounds; the table shows medians.
Run: python -m benchmarks.bench_http [--seconds 4] [--rounds 3] [--scale 0.1]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import mlflow.lightgbm
import pyarrow.parquet as pq

from benchmarks.http_load import CONCURRENCY, Load, measure, middle, request
from benchmarks.report import print_and_keep
from features.churn_features import CHURN_FEATURES
from features.instants import format_instant
from features.workspace import Workspace
from serving.churn_model import ChurnModel
from serving.releases import load_named, newest_release
from serving.settings import ServiceSettings, serve_command
from training.demo import MARKER, free_port, prepare, simulate_and_import
from training.feature_jobs import build_features
from training.pipeline import run_pipeline
from training.settings import Settings

SEED = 11


@dataclass(frozen=True)
class Server:
    """A started server."""

    port: int
    pid: int


@dataclass(frozen=True)
class Case:
    """One row of the table: whom to ask what."""

    name: str
    server: Server
    calls: Callable[[], Iterator[bytes]]
    status: int = 200


def make_workspace(folder: Path, scale: float) -> tuple[Workspace, str, list[str]]:
    """A small simulated shop with a release and a snapshot; workspace, release, 1,000 customers' outside ids."""
    settings = Settings()
    settings = dataclasses.replace(settings, simulation=dataclasses.replace(settings.simulation, scale=scale))
    if not (folder / MARKER).exists():
        _fill(folder, settings)
    workspace = Workspace(folder)
    for path in folder.glob("service.db*"):
        path.unlink()
    ids = pq.read_table(folder / "shop" / "events.parquet", columns=["customer_id"])["customer_id"]
    return workspace, newest_release(workspace.releases), ids.unique().to_pylist()[:1_000]


def _fill(folder: Path, settings: Settings) -> None:
    workspace = prepare(folder)
    simulate_and_import(workspace, settings, SEED, print)
    run_pipeline(workspace, settings, code_version="bench", who="bench", now_us=time.time_ns() // 1_000, progress=print)
    build_features(workspace, settings.churn)


def save_for_mlflow(model: ChurnModel, folder: Path) -> None:
    """The same trees as an MLflow model, its requirements written by hand so that nothing is guessed."""
    booster = lgb.Booster(model_str=model.trees.text)
    mlflow.lightgbm.save_model(booster, str(folder), pip_requirements=["mlflow", "lightgbm"])


@contextmanager
def started(argv: list[str], env: dict[str, str], port: int, path: str, log: Path) -> Iterator[Server]:
    """A server in a process of its own, once it answers at `path`."""
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=os.environ | quiet | env, stdout=output, stderr=output)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise SystemExit(f"a server ended while starting: {log.read_text()[-2_000:]}")
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                        break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    time.sleep(0.2)
            yield Server(port, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_all(stack: ExitStack, workspace: Workspace, release: str, folder: Path) -> tuple[Server, Server, Server]:
    """Ours, plain Starlette, and `mlflow models serve`, one worker each."""
    port = free_port(3310)
    command = serve_command(ServiceSettings(workspace.root, release=release, port=port, max_wait_ms=60_000))
    ours = stack.enter_context(started(list(command.argv), command.env, port, "/readyz", folder / "ours.log"))
    port = free_port(3320)
    argv = [sys.executable, "-m", "uvicorn", "benchmarks.plain_starlette:create", "--factory", "--port", str(port)]
    argv += ["--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    env = {"BENCH_WORKSPACE": str(workspace.root), "BENCH_RELEASE": release}
    plain = stack.enter_context(started(argv, env, port, "/v1/customers/C000001/churn", folder / "plain.log"))
    return ours, plain, start_mlflow(stack, folder)


def start_mlflow(stack: ExitStack, folder: Path) -> Server:
    """`mlflow models serve` of the model in `folder / "model"`, one worker."""
    port, mlflow_command = free_port(3330), str(Path(sys.executable).with_name("mlflow"))
    argv = [mlflow_command, "models", "serve", "-m", str(folder / "model"), "-p", str(port)]
    argv += ["--env-manager", "local", "-w", "1"]
    return stack.enter_context(started(argv, _with_path(), port, "/ping", folder / "mlflow.log"))


def _with_path() -> dict[str, str]:
    """Mlflow looks for uvicorn on the path."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def mlflow_bodies(workspace: Workspace) -> list[Any]:
    """The features of 100 customers, as `mlflow models serve` takes them."""
    snapshot = pq.read_table(max(workspace.snapshots.glob("*.parquet")))
    columns = list(CHURN_FEATURES.names)
    rows = [[row[name] for name in columns] for row in snapshot.slice(0, 100).to_pylist()]
    # Without a signature `mlflow models serve` refuses null; with one it also validates. Zero is its cheapest case.
    rows = [[0.0 if math.isnan(value) else value for value in row] for row in rows]
    return [{"dataframe_split": {"columns": columns, "data": [row]}} for row in rows]


def cases(ours: Server, plain: Server, served: Server, workspace: Workspace, ids: list[str]) -> list[Case]:
    """What is asked; each customer in turn. Events are of other customers than scores, so that rounds are alike."""
    ids, senders = ids[:500], ids[500:]
    now = format_instant(time.time_ns() // 1_000)

    def churn(query: str) -> Callable[[], Iterator[bytes]]:
        ready = [request("GET", f"/v1/customers/{one}/churn{query}") for one in ids]
        return lambda: itertools.cycle(ready)

    def posts(path: str, bodies: list[Any]) -> Callable[[], Iterator[bytes]]:
        ready = [request("POST", path, body) for body in bodies]
        return lambda: itertools.cycle(ready)

    def events(n: int) -> Callable[[], Iterator[bytes]]:
        def fresh() -> Iterator[bytes]:
            for number in itertools.count():
                event = {
                    "customer_id": senders[number % len(senders)],
                    "kind": "view",
                    "item_id": "i1",
                    "occurred_at": now,
                }
                yield request(
                    "POST", "/v1/events", {"events": [event | {"event_id": uuid.uuid4().hex} for _ in range(n)]}
                )

        return fresh

    slates = [{"customer_id": one, "limit": 10} for one in ids]
    return [
        Case("plain Starlette, stored", plain, churn("")),
        Case("mlflow models serve, features sent", served, posts("/invocations", mlflow_bodies(workspace))),
        Case("churn stored, score alone", ours, churn("?freshness=stored&include=")),
        Case("churn stored, reasons and actions", ours, churn("?freshness=stored&include=reasons,actions")),
        Case("churn stored, everything", ours, churn("?freshness=stored")),
        Case("churn fresh, score alone", ours, churn("?include=")),
        Case("churn fresh, reasons and actions", ours, churn("?include=reasons,actions")),
        Case("churn fresh, everything", ours, churn("")),
        Case("recommendations, 10 items", ours, posts("/v1/recommendations", slates)),
        Case("events, 1 a post", ours, events(1), 202),
        Case("events, 50 a post", ours, events(50), 202),
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        workspace, release, ids = make_workspace(arguments.shop or folder / "shop", arguments.scale)
        save_for_mlflow(load_named(release, workspace).churn, folder / "model")
        asked = cases(*start_all(stack, workspace, release, folder), workspace, ids)
        found: dict[str, list[Load]] = {case.name: [] for case in asked}
        for case in asked:
            measure(case.server.port, case.server.pid, case.calls(), 1.0, case.status)  # warm
        for _ in range(arguments.rounds):
            for case in asked:
                load = measure(case.server.port, case.server.pid, case.calls(), arguments.seconds, case.status)
                found[case.name].append(load)
    report({name: middle(loads) for name, loads in found.items()}, arguments.rounds, arguments.seconds)


def report(loads: dict[str, Load], rounds: int, seconds: float) -> None:
    """The table, and how it stands to what was aimed for."""
    plain, served = loads["plain Starlette, stored"], loads["mlflow models serve, features sent"]
    rows = [
        {"case": name, **{key: round(value, 2) for key, value in dataclasses.asdict(load).items()}}
        | {"cpu_to_plain": round(load.cpu_us / plain.cpu_us, 2), "rps_to_mlflow": round(load.rps / served.rps, 2)}
        for name, load in loads.items()
    ]
    stored, fresh = loads["churn stored, score alone"], loads["churn fresh, reasons and actions"]
    notes = [
        f"medians of {rounds} rounds of {seconds} s, {CONCURRENCY} connections, one worker each, client beside them",
        f"stored against plain Starlette: {stored.cpu_us / plain.cpu_us:.2f} times the CPU (at most 4 wanted)",
        f"stored against mlflow models serve: {stored.rps / served.rps:.2f} times the requests (at least 4 wanted)",
        f"fresh against mlflow models serve: {fresh.rps / served.rps:.2f} times the requests (more than 1 wanted)",
    ]
    print_and_keep("http", "HTTP on loopback", rows, notes)


if __name__ == "__main__":
    main()
