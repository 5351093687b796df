"""Overload, stopping under load, and workers that are killed: what is lost, how long who is let in waits.

1. What one worker can carry is what it answers to callers who never pause; then, for a while, four times as much is
   asked. Requests are due by the clock, on connections of their own callers. Limits: 200 and 429 alone, the p99 of what
   is let in at most twice that without load, answers as quick as before within 5 s, memory grown by less than 10%.
2. SIGTERM under load: a request is lost if its connection was taken and no whole answer came. Refused is not lost.
3. SIGKILL for a worker of two under load: no request fails but those it had been sent before it was gone, one a caller.
Run: python -m benchmarks.bench_overload [--seconds 60] [--stops 20] [--kills 20] [--shop FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from benchmarks.bench_http import Server, make_workspace, started
from benchmarks.http_load import request
from benchmarks.paced_load import CALLERS, LOST, PATIENCE_S, REFUSED, Load, hold
from benchmarks.report import limit_words, print_and_keep, require_kept
from benchmarks.workers import is_alive, wait_for_new_worker, wait_for_workers, workers_of
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.demo import free_port

TIMES = 4.0
QUIET_SHARE = 0.2
RECOVERY_S = 5.0

IN_CONTAINER = {"BENTOML_CONTAINERIZED": "true"}


def calls_of(ids: Sequence[str]) -> list[bytes]:
    """Of three customers two are scored from fresh features, with all there is to tell, and one is shown a slate."""
    return [
        request("POST", "/v1/recommendations", {"customer_id": one, "limit": 10})
        if number % 3 == 2
        else request("GET", f"/v1/customers/{one}/churn")
        for number, one in enumerate(ids)
    ]


def resident_mib(pid: int) -> float:
    """Memory of a process and all below it."""
    leader = psutil.Process(pid)
    return float(sum(one.memory_info().rss for one in (leader, *leader.children(recursive=True)))) / 2**20


def overload(server: Server, calls: Sequence[bytes], seconds: float) -> dict[str, bool]:
    """Quiet, half loaded, overloaded, quiet again: the table, and which limits were kept."""
    short = max(3.0, seconds / 6)
    hold(server.port, calls, seconds=short, callers=1)  # warm
    most = hold(server.port, calls, seconds=short, callers=2)
    capacity = most.outcomes["200"] / short
    lasted_quiet = 2 * short
    quiet = hold(server.port, calls, seconds=lasted_quiet, callers=8, rate=QUIET_SHARE * capacity)
    half = hold(server.port, calls, seconds=lasted_quiet, callers=16, rate=capacity / 2)
    hold(server.port, calls, seconds=2.0, rate=TIMES * capacity)  # memory: what load takes at all
    before = resident_mib(server.pid)
    busy = hold(server.port, calls, seconds=seconds, rate=TIMES * capacity)
    grown = resident_mib(server.pid) / before - 1.0
    ended = time.perf_counter()
    after = hold(server.port, calls, seconds=RECOVERY_S + short, callers=8, rate=QUIET_SHARE * capacity)
    quiet_ms, busy_ms = quiet.quantile_ms(0.99), busy.quantile_ms(0.99)
    late_ms = after.quantile_ms(0.99, since=ended + RECOVERY_S)
    refused_late = sum(at >= ended + RECOVERY_S for at in after.refused_at)
    runs = {
        "quiet": (quiet, lasted_quiet),
        "half": (half, lasted_quiet),
        "four times": (busy, seconds),
        "quiet again": (after, RECOVERY_S + short),
    }
    rows = [
        {
            "run": name,
            "asked_a_second": sum(run.outcomes.values()) / lasted,
            "answered_a_second": run.outcomes["200"] / lasted,
            "turned_away": run.outcomes["429"],
            "other": sum(n for outcome, n in run.outcomes.items() if outcome not in {"200", "429"}),
            "p50_ms": run.quantile_ms(0.5),
            "p99_ms": run.quantile_ms(0.99),
        }
        for name, (run, lasted) in runs.items()
    ]
    limits = {
        "200 and 429 alone": all(set(run.outcomes) <= {"200", "429"} for run, _ in runs.values()),
        f"at least {TIMES:g} times as much asked": sum(busy.outcomes.values()) / seconds >= 0.95 * TIMES * capacity,
        "p99 at half load at most 5 times the median": half.quantile_ms(0.99) <= 5 * half.quantile_ms(0.5),
        "p99 of what is let in at most twice that of quiet": busy_ms <= 2 * quiet_ms,
        f"as before within {RECOVERY_S:g} s, nobody turned away": late_ms <= 1.5 * quiet_ms and refused_late == 0,
        "memory grown by less than 10%": grown < 0.10,
    }
    notes = [
        f"one worker carries {capacity:,.0f} requests a second; {CALLERS} callers, {seconds:.0f} s",
        f"memory {before:,.0f} MiB, grown by {grown:.1%}",
        f"p99 under overload {busy_ms / quiet_ms:.2f} times that of quiet, 5 s after it {late_ms / quiet_ms:.2f}",
        *limit_words(limits),
    ]
    print_and_keep("overload", "Four times what a worker can carry", rows, notes)
    return limits


async def stopped(load: Load, server: Server, *, after_s: float) -> None:
    """Load with SIGTERM for the service in the middle; it ends a moment after the service."""
    sending = asyncio.create_task(load.send())
    await asyncio.sleep(after_s)
    leader = psutil.Process(server.pid)
    leader.terminate()
    with contextlib.suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(leader.wait, PATIENCE_S)
    await asyncio.sleep(0.5)
    load.stopped = True
    await sending


@dataclass(frozen=True)
class Killed:
    """When a worker was gone, as `perf_counter` tells, and how many seconds later a new one answered requests."""

    gone: float
    back_s: float


async def killed(load: Load, server: Server, *, after_s: float) -> Killed:
    """Load with SIGKILL for one of the workers in the middle; it ends a moment after a new worker has answered."""
    before = workers_of(server.pid)
    sending = asyncio.create_task(load.send())
    await asyncio.sleep(after_s)
    before[0].kill()
    while is_alive(before[0]):
        await asyncio.sleep(0.001)
    gone = time.perf_counter()
    await asyncio.to_thread(wait_for_new_worker, server, {one.pid for one in before})
    back_s = time.perf_counter() - gone
    await asyncio.sleep(1.0)
    load.stopped = True
    await sending
    return Killed(gone, back_s)


def stopped_under_load(workspace: Workspace, release: str, calls: Sequence[bytes], stops: int, log: Path) -> bool:
    """Serve, load, stop, several times over."""
    lost, answered, refused = 0, 0, 0
    for _ in range(stops):
        port = free_port(3360)
        command = serve_command(ServiceSettings(workspace.root, release=release, port=port))
        with started(list(command.argv), command.env, port, "/readyz", log) as server:
            load = Load(port, calls, seconds=PATIENCE_S, callers=16, rate=100.0)
            uvloop.run(stopped(load, server, after_s=1.5))
        outcomes = load.run.outcomes
        lost += outcomes[LOST] + sum(n for outcome, n in outcomes.items() if outcome.startswith("5"))
        answered += outcomes["200"] + outcomes["429"]
        refused += outcomes[REFUSED]
    rows = [{"stops": stops, "answered": answered, "lost": lost, "refused_afterwards": refused}]
    limits = {"no request that was taken is lost": lost == 0 and answered > 0}
    print_and_keep("stops", "Told to stop under load", rows, limit_words(limits))
    return limits["no request that was taken is lost"]


def killed_under_load(workspace: Workspace, release: str, calls: Sequence[bytes], kills: int, log: Path) -> bool:
    """A worker of two is killed, and started anew, several times over, in an environment as an image of BentoML has."""
    port = free_port(3370)
    command = serve_command(ServiceSettings(workspace.root, release=release, port=port, workers=2))
    rows, kept = [], True
    with started(list(command.argv), command.env | IN_CONTAINER, port, "/readyz", log) as server:
        for number in range(kills):
            wait_for_workers(port, server.pid, 2)
            load = Load(port, calls, seconds=PATIENCE_S, callers=16, rate=40.0)
            told = uvloop.run(killed(load, server, after_s=1.5))
            outcomes, lost_at = load.run.outcomes, load.run.lost_at
            other = sum(n for outcome, n in outcomes.items() if outcome not in {"200", "429", LOST})
            later = sum(sent > told.gone for sent in lost_at)
            kept = kept and other == later == 0 and outcomes[LOST] <= load.callers
            rows.append(
                {
                    "kill": number + 1,
                    "failed": outcomes[LOST],
                    "sent_after_it_was_gone": later,
                    "other": other,
                    "answered": outcomes["200"],
                    "turned_away": outcomes["429"],
                    "new_worker_answers_after_s": told.back_s,
                }
            )
            print(rows[-1], flush=True)
    limits = {
        "nothing fails but what the killed worker had been sent, one request a caller": kept,
        "a new worker answered each time": len(rows) == kills,
    }
    print_and_keep("kills", "A worker of two killed under load", rows, limit_words(limits))
    return all(limits.values())


def main() -> None:
    """Measure, print, keep; fails where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    arguments = parser.parse_args()
    kept: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace, release, ids = make_workspace(arguments.shop or folder / "shop", arguments.scale)
        calls = calls_of(ids)
        if arguments.seconds:
            port = free_port(3350)
            command = serve_command(ServiceSettings(workspace.root, release=release, port=port))
            with started(list(command.argv), command.env, port, "/readyz", folder / "overload.log") as server:
                kept |= overload(server, calls, arguments.seconds)
        if arguments.stops:
            kept["stops"] = stopped_under_load(workspace, release, calls, arguments.stops, folder / "stops.log")
        if arguments.kills:
            kept["kills"] = killed_under_load(workspace, release, calls, arguments.kills, folder / "kills.log")
    require_kept("the service under load", kept)


if __name__ == "__main__":
    main()
