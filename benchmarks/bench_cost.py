"""What a prediction costs: five parts that each answer passes, beside `mlflow models serve` and FastAPI, in one run.

1. Authentication by a key, limits (a key's minute and day, and calls about a customer), the access log, metrics and
   assignment (a rollout at a half, its arms counted) are switched off and on in one running service (see
   `switched_service`); ways take turns, and what they add to the server's CPU a request is told by medians.
2. Stored scores with all five on, against the same trees behind `mlflow models serve` and the same model and checks
   behind FastAPI; as fast as answers come, one worker each, in turn.
3. Requests that come by chance (a Poisson stream) at half of what 2 found, each timed from when it was due.
Run: python -m benchmarks.bench_cost [--seconds 3] [--rounds 7] [--shop FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.bench_http import Server, make_workspace, mlflow_bodies, save_for_mlflow, start_mlflow, started
from benchmarks.bench_swap import make_releases
from benchmarks.http_load import Load, due_times, measure, middle, request, waits
from benchmarks.report import limit_words, print_and_keep, require_kept
from benchmarks.switched_service import PARTS, SWITCH
from features.workspace import Workspace
from serving.access.keys import RANDOM_BYTES, KeyWish, make_key
from serving.rollouts.state import Change, start_rollout
from serving.settings import SERVICE, ServiceSettings, serve_command
from serving.store import Store
from training.demo import free_port

MOST_ADDED_US = 150.0
LEAST_TO_MLFLOW, LEAST_TO_FASTAPI = 4.0, 0.5
MOST_P99_TO_P50 = 5.0
SWITCHED = "benchmarks.switched_service:HoldfastService"
NO_LIMIT = 10**9
SLICE_S = 0.6
WARM_S = 5.0
NONE, ALL = "none", "all five"
SEED = 5
SCORE_ALONE = "?freshness=stored&include="
WITH_REASONS = "?freshness=stored&include=reasons,actions"

OURS, REASONS = "score alone, all five on", "score, reasons and actions, all five on"
SERVED, MODELLED, READY = "mlflow models serve, features sent", "FastAPI, model asked", "FastAPI, scored beforehand"

WAYS: Mapping[str, tuple[str, ...]] = {
    NONE: (),
    "authentication": ("authentication",),
    "authentication, limits": ("authentication", "limits"),
    **{one: (one,) for one in ("logging", "metrics", "assignment")},
    ALL: PARTS,
}

Calls = Callable[[], Iterator[bytes]]


def start_ours(stack: ExitStack, workspace: Workspace, folder: Path) -> tuple[Server, str]:
    """The service with everything on, a rollout under way; and a key for it."""
    port, now_us = free_port(3310), time.time_ns() // 1_000
    store = Store.open(workspace.store)
    wish = KeyWish("bench", ("predict",), per_minute=NO_LIMIT, per_day=NO_LIMIT)
    key = make_key(store, wish, os.urandom(RANDOM_BYTES), now_us)
    settings = ServiceSettings(
        workspace.root, release="swap-a", port=port, access="keys", customer_per_minute=NO_LIMIT, max_wait_ms=60_000,
        log_format="json",
    )  # fmt: skip
    command = serve_command(settings)
    argv = [SWITCHED if part == SERVICE else part for part in command.argv]
    server = stack.enter_context(started(argv, command.env, port, "/readyz", folder / "ours.log"))
    start_rollout(store, "swap-b", 0.5, "cost", Change("bench", now_us, "to assign customers"))
    store.close()
    while "challenger" not in json.loads(_get(server, "/readyz")):
        time.sleep(0.2)
    return server, key


def start_fastapi(stack: ExitStack, workspace: Workspace, folder: Path) -> Server:
    """FastAPI as its own documentation runs it, without lines of access, one worker."""
    port = free_port(3320)
    argv = [sys.executable, "-m", "uvicorn", "benchmarks.plain_fastapi_churn:create", "--factory", "--port", str(port)]
    argv += ["--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    env = {"BENCH_WORKSPACE": str(workspace.root), "BENCH_RELEASE": "swap-a"}
    return stack.enter_context(started(argv, env, port, "/openapi.json", folder / "fastapi.log"))


def _get(server: Server, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return bytes(answer.read())


def gets(ids: Sequence[str], path: str, key: str | None = None) -> Calls:
    """Each customer in turn; `path` has a place for the id."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    ready = [request("GET", path.format(one), headers=headers) for one in ids]
    return lambda: itertools.cycle(ready)


def added_cpu(server: Server, calls: Calls, rounds: int) -> dict[str, float]:
    """CPU microseconds a request with nothing on (`none`), and what each way adds: medians of differences in a round.

    The ways of a round follow each other within seconds, and others on the machine slow all of them alike.
    """
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        took = {}
        for way, parts in WAYS.items():
            _get(server, SWITCH + ",".join(parts))
            took[way] = measure(server.port, server.pid, calls(), SLICE_S, 200).cpu_us
        for way, cpu_us in took.items():
            found[way].append(cpu_us - (0.0 if way == NONE else took[NONE]))
    _get(server, SWITCH + ",".join(PARTS))
    return {way: median(each) for way, each in found.items()}


def compared(asked: Mapping[str, tuple[Server, Calls]], seconds: float, rounds: int) -> dict[str, Load]:
    """Each server in turn, as fast as it answers; medians."""
    found: dict[str, list[Load]] = {name: [] for name in asked}
    for turn in range(rounds + 1):
        for name, (server, calls) in asked.items():
            load = measure(server.port, server.pid, calls(), seconds if turn else 1.0, 200)
            if turn:
                found[name].append(load)
    return {name: middle(loads) for name, loads in found.items()}


def at_half(server: Server, calls: Calls, rps: float, seconds: float, rounds: int) -> list[tuple[float, float]]:
    """Median and 99th percentile of each round, milliseconds."""
    found = []
    for turn in range(rounds):
        took = waits(server.port, calls(), due_times(Random(SEED + turn), rps / 2, seconds))
        found.append((took[len(took) // 2], took[int(len(took) * 0.99)]))
    return found


def main() -> None:
    """Measure, print, keep; fails where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=25, help="rounds of the five parts, of 0.6 s each way")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        workspace, base, ids = make_workspace(given.shop or folder / "shop", given.scale)
        release = make_releases(workspace, base)["swap-a"]
        save_for_mlflow(release.churn, folder / "model")
        ours, key = start_ours(stack, workspace, folder)
        path = "/v1/customers/{}/churn"
        alone = gets(ids, path + SCORE_ALONE, key)
        measure(ours.port, ours.pid, alone(), WARM_S, 200)
        added = added_cpu(ours, alone, given.slices)
        served, plain = start_mlflow(stack, folder), start_fastapi(stack, workspace, folder)
        bodies = [request("POST", "/invocations", body) for body in mlflow_bodies(workspace)]
        asked = {
            OURS: (ours, alone),
            REASONS: (ours, gets(ids, path + WITH_REASONS, key)),
            SERVED: (served, lambda: itertools.cycle(bodies)),
            MODELLED: (plain, gets(ids, "/churn/{}?freshness=stored")),
            READY: (plain, gets(ids, "/stored/{}?freshness=stored")),
        }
        loads = compared(asked, given.seconds, given.rounds)
        half = at_half(ours, alone, loads[OURS].rps, max(10.0, given.seconds), given.rounds)
    report(added, loads, half, given)


def report(
    added: Mapping[str, float],
    loads: Mapping[str, Load],
    half: Iterable[tuple[float, float]],
    given: argparse.Namespace,
) -> None:
    """The tables, and the limits in words."""
    ours = loads[OURS]
    rows = [
        {"on": way, "cpu_us": us + (0.0 if way == NONE else added[NONE]), "added_cpu_us": 0.0 if way == NONE else us}
        for way, us in added.items()
    ]
    whole = added[ALL]
    limits = {f"all five add {whole:.0f} us of CPU, at most {MOST_ADDED_US:.0f}": whole <= MOST_ADDED_US}
    parts_said = f"medians over {given.slices} rounds of {SLICE_S} s each way in turn, in one process"
    print_and_keep(
        "cost_parts", "Server CPU of a stored score, by what is on", rows, [parts_said, *limit_words(limits)]
    )
    rows = [
        {
            "server": name,
            "rps": load.rps,
            "cpu_us": load.cpu_us,
            "p50_ms": load.p50_ms,
            "ours_to_it": ours.rps / load.rps,
        }
        for name, load in loads.items()
    ]
    to_mlflow, to_fastapi = (ours.rps / loads[one].rps for one in (SERVED, MODELLED))
    p50, p99 = (median(each) for each in zip(*half, strict=True))
    told = {
        f"{to_mlflow:.1f} times the requests of mlflow models serve, at least {LEAST_TO_MLFLOW:.0f}": (
            to_mlflow >= LEAST_TO_MLFLOW
        ),
        f"{to_fastapi:.2f} times the requests of FastAPI with the same model, at least {LEAST_TO_FASTAPI}": (
            to_fastapi >= LEAST_TO_FASTAPI
        ),
        f"at half load, by chance, p99 {p99:.1f} ms is {p99 / p50:.1f} times the median {p50:.1f} ms, at most "
        f"{MOST_P99_TO_P50:.0f}": p99 <= MOST_P99_TO_P50 * p50,
    }
    said = f"medians of {given.rounds} rounds of {given.seconds:.0f} s in turn, one worker each, client beside them"
    print_and_keep("cost_beside", "Requests a second of stored scores", rows, [said, *limit_words(told)])
    require_kept("bench_cost", limits | told)


if __name__ == "__main__":
    main()
