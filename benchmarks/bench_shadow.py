"""What a shadow costs the champion's answers: rounds with and without, by turns, at a rate that keeps a core half busy.

A third of the calls are scores of stored features, a third of fresh ones, a third slates; latencies count from when a
call was due. With the shadow every answer of the champion is handed over; what it did not get to is dropped, counted.
Run: python -m benchmarks.bench_shadow [--rounds 3] [--seconds 20] [--shop FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.bench_http import Server, make_workspace, started
from benchmarks.bench_swap import Call, Load, Run, affordable, hold, make_releases
from benchmarks.http_load import request
from benchmarks.report import limit_words, print_and_keep, require_kept
from serving.rollouts.arm_totals import ArmFigures, read_arm_figures
from serving.rollouts.state import Change, rollback, set_champion, start_rollout
from serving.settings import ServiceSettings, serve_command
from serving.store import Store, decisions
from training.demo import free_port

CHAMPION, CHALLENGER = "swap-a", "swap-b"
START_S = 120.0
SETTLE_S = 2.0


@dataclass(frozen=True)
class Shadowed:
    """A round with a shadow: the champion's run, the shadow's figures, its memory and its share of a core."""

    run: Run
    figures: ArmFigures
    rss_mib: float
    cores: float


def calls(ids: Sequence[str]) -> list[Call]:
    """Stored and fresh scores with reasons, and slates, by turns."""
    made = []
    for number, one in enumerate(ids):
        kind = ("stored", "fresh", None)[number % 3]
        slate = request("POST", "/v1/recommendations", {"customer_id": one, "limit": 10})
        made.append(Call(request("GET", f"/v1/customers/{one}/churn?freshness={kind}") if kind else slate))
    return made


@contextlib.contextmanager
def shadow(store: Store, salt: str) -> Iterator[None]:
    """The challenger as shadow, once it answers."""
    start_rollout(store, CHALLENGER, 0.0, salt, by("a shadow"))
    try:
        yield
    finally:
        rollback(store, by("the round is over"))
        time.sleep(SETTLE_S)


def by(why: str) -> Change:
    return Change("bench", time.time_ns() // 1_000, why)


def shadow_figures(store: Store, salt: str) -> ArmFigures:
    return read_arm_figures(store, f"rollout-{salt}", 0).get("shadow", ArmFigures())


def with_shadow(server: Server, store: Store, load: Load, salt: str) -> Shadowed:
    """One round."""
    with shadow(store, salt):
        warm = Load(server.port, load.asked, load.expected, 20.0, 2.0)
        deadline = time.monotonic() + START_S
        while not shadow_figures(store, salt).n_requests:
            if time.monotonic() > deadline:
                raise SystemExit("the shadow does not answer; see the service's log")
            hold(server, Load(server.port, warm.asked, warm.expected, 20.0, 1.0))
        child = shadow_process(server)
        before, used, began = shadow_figures(store, salt), sum(child.cpu_times()[:2]), time.perf_counter()
        run = hold(server, load)
        cores = (sum(child.cpu_times()[:2]) - used) / (time.perf_counter() - began)
        rss = child.memory_info().rss / 2**20
        time.sleep(SETTLE_S)
        after = shadow_figures(store, salt)
    return Shadowed(run, _less(after, before), rss, cores)


def _less(after: ArmFigures, before: ArmFigures) -> ArmFigures:
    """Counts alone."""
    names = ("n_requests", "n_errors", "n_dropped")
    return ArmFigures(**{name: getattr(after, name) - getattr(before, name) for name in names})


def shadow_process(server: Server) -> psutil.Process:
    for one in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "serving.rollouts.shadow_process" in one.cmdline():
                return one
    raise SystemExit("there is no process of a shadow")


def main() -> None:
    """Measure, print, keep; fails where a request was lost or the shadow left a trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    arguments = parser.parse_args()
    alone: list[Run] = []
    beside: list[Shadowed] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace, base, ids = make_workspace(arguments.shop or folder / "shop", arguments.scale)
        make_releases(workspace, base)
        asked = calls(ids)
        port = free_port(3350)
        settings = ServiceSettings(workspace.root, release=CHAMPION, port=port, max_wait_ms=60_000)  # nothing is shed
        command = serve_command(settings)
        with started(list(command.argv), command.env, port, "/readyz", folder / "service.log") as server:
            store = Store.open(workspace.store)
            set_champion(store, CHAMPION, by("the champion"))
            rate = affordable(server, asked)
            for number in range(arguments.rounds):
                alone.append(hold(server, Load(port, asked, {CHAMPION: {}}, rate, arguments.seconds)))
                load = Load(port, asked, {CHAMPION: {}}, rate, arguments.seconds)
                beside.append(with_shadow(server, store, load, f"s{number}"))
            time.sleep(SETTLE_S)
            kept = traces(store)
            store.close()
    report(alone, beside, kept, rate, arguments.seconds)


def traces(store: Store) -> int:
    """Decisions by anybody but the champion."""
    with store.read() as connection:
        return int(
            connection.scalar(sa.select(sa.func.count()).select_from(decisions).where(decisions.c.release != CHAMPION))
            or 0
        )


def _row(name: str, runs: Sequence[Run], rate: float, of_shadow: float) -> dict[str, Any]:
    """`cpu_us` is of the service for a request, the shadow's process left out."""
    return {
        "run": name,
        "requests": sum(len(run.took) + run.broken for run in runs),
        "failed": sum(run.failed for run in runs),
        "wrong": sum(run.wrong for run in runs),
        "p50_ms": statistics.median(run.quantile(0.5) for run in runs),
        "p99_ms": statistics.median(run.quantile(0.99) for run in runs),
        "max_ms": max(run.quantile(1.0) for run in runs),
        "cpu_us": 1e6 * (statistics.median(run.cpu_share for run in runs) - of_shadow) / rate,
    }


def report(alone: Sequence[Run], beside: Sequence[Shadowed], traces: int, rate: float, seconds: float) -> None:
    """The table, and whether anything was lost."""
    shadowed = [one.run for one in beside]
    figures = sum((one.figures for one in beside), ArmFigures())
    cores = statistics.median(one.cores for one in beside)
    rows = [_row("without a shadow", alone, rate, 0.0), _row("with a shadow", shadowed, rate, cores)]
    handed = figures.n_requests + figures.n_dropped
    limits = {
        "0 requests failed": not any(run.failed for run in (*alone, *shadowed)),
        "every answer is the champion's": not any(run.wrong for run in (*alone, *shadowed)),
        "0 decisions are the shadow's": traces == 0,
        "0 errors of the shadow": figures.n_errors == 0,
        "what the shadow was handed it answered or it was counted as dropped": handed > 0,
    }
    each = [
        f"{run.quantile(0.5):.2f} / {run.quantile(0.99):.2f}, {other.quantile(0.5):.2f} / {other.quantile(0.99):.2f}"
        for run, other in zip(alone, shadowed, strict=True)
    ]
    notes = [
        (
            f"{len(alone)} rounds of {seconds:.0f} s each by turns, {rate:,.0f} requests a second, one worker; "
            f"load of the machine at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        ),
        (
            f"the shadow was handed {handed:,}, answered {figures.n_requests:,} and dropped {figures.n_dropped:,} "
            f"({figures.n_dropped / max(handed, 1):.1%}); {max(one.rss_mib for one in beside):,.0f} MiB resident, "
            f"{cores:.2f} of a core, which it yields to others"
        ),
        f"p50 / p99 in ms of each round, without and with: {'; '.join(each)}",
        *limit_words(limits),
    ]
    print_and_keep("shadow", "The champion's answers without and with a shadow", rows, notes)
    require_kept("the shadow", limits)


if __name__ == "__main__":
    main()
