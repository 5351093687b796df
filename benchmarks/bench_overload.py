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
import itertools
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop

from benchmarks.bench_http import Server, make_workspace, started
from benchmarks.http_load import request
from benchmarks.report import limit_words, print_and_keep, require_kept
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.demo import free_port

TIMES = 4.0
CALLERS = 64
QUIET_SHARE = 0.2
RECOVERY_S = 5.0
_PATIENCE_S = 60.0

LOST, REFUSED = "lost", "refused"


@dataclass
class Run:
    """What came of one stretch: how many of each outcome; of each 200, when it came and how long it took, seconds.

    lost_at: when those that got no whole answer were sent.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: list[tuple[float, float]] = field(default_factory=list)
    lost_at: list[float] = field(default_factory=list)

    def quantile_ms(self, share: float, *, since: float = 0.0) -> float:
        """Of the 200s that came after an instant."""
        took = sorted(seconds for at, seconds in self.answered if at >= since)
        return 1e3 * took[min(int(len(took) * share), len(took) - 1)] if took else float("nan")


class Load:
    """Callers with a connection each; at a rate, or as fast as answers come where none is given.

    A list of calls is gone through again and again; of other calls each is sent once.
    """

    def __init__(self, port: int, calls: Iterable[bytes], *, seconds: float, callers: int, rate: float | None) -> None:
        self.port, self.callers, self.rate = port, callers, rate
        self._calls = itertools.cycle(calls) if isinstance(calls, Sequence) else iter(calls)
        self.run = Run()
        self.seconds = seconds
        self.stopped = False
        self._numbers = itertools.count()

    async def send(self) -> Run:
        """Until the time is over, or `stopped` is set."""
        began = time.perf_counter()
        await asyncio.gather(*(self._caller(began) for _ in range(self.callers)))
        return self.run

    async def _caller(self, began: float) -> None:
        streams = None
        while not self.stopped and (now := time.perf_counter()) < began + self.seconds:
            number = next(self._numbers)
            if self.rate is not None:
                await asyncio.sleep(max(0.0, began + number / self.rate - now))
            call = next(self._calls, None)
            if call is None:
                break
            streams = await self._ask(call, streams)
        if streams is not None:
            streams[1].close()

    async def _ask(
        self, call: bytes, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """One request; the connection if it stays open. Connecting is no part of the time it takes."""
        if streams is not None and streams[0].at_eof():  # closed between two requests: nothing was under way
            streams[1].close()
            streams = None
        try:
            reader, writer = streams or await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            self.run.outcomes[REFUSED] += 1
            await asyncio.sleep(0.05)
            return None
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                writer.write(call)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        except (OSError, asyncio.IncompleteReadError):
            self.run.outcomes[LOST] += 1
            self.run.lost_at.append(sent)
            writer.close()
            return None
        status = head[9:12].decode()
        self.run.outcomes[status] += 1
        if status == "200":
            self.run.answered.append((time.perf_counter(), time.perf_counter() - sent))
        if b"connection: close" in head:
            writer.close()
            return None
        return reader, writer


def hold(
    port: int, calls: Iterable[bytes], *, seconds: float, callers: int = CALLERS, rate: float | None = None
) -> Run:
    """One stretch of load."""
    return uvloop.run(Load(port, calls, seconds=seconds, callers=callers, rate=rate).send())


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
    """Quiet, overloaded, quiet again: the table, and which limits were kept."""
    short = max(3.0, seconds / 6)
    hold(server.port, calls, seconds=short, callers=1)  # warm
    most = hold(server.port, calls, seconds=short, callers=2)
    capacity = most.outcomes["200"] / short
    quiet = hold(server.port, calls, seconds=short, callers=8, rate=QUIET_SHARE * capacity)
    hold(server.port, calls, seconds=2.0, rate=TIMES * capacity)  # memory: what load takes at all
    before = resident_mib(server.pid)
    busy = hold(server.port, calls, seconds=seconds, rate=TIMES * capacity)
    grown = resident_mib(server.pid) / before - 1.0
    ended = time.perf_counter()
    after = hold(server.port, calls, seconds=RECOVERY_S + short, callers=8, rate=QUIET_SHARE * capacity)
    late = after.quantile_ms(0.99, since=ended + RECOVERY_S)
    runs = {"quiet": (quiet, short), "four times": (busy, seconds), "quiet again": (after, RECOVERY_S + short)}
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
        "p99 of what is let in at most twice that of quiet": busy.quantile_ms(0.99) <= 2 * quiet.quantile_ms(0.99),
        "as before within 5 s": late <= 1.5 * quiet.quantile_ms(0.99)
        and all(outcome == "200" for outcome in after.outcomes),
        "memory grown by less than 10%": grown < 0.10,
    }
    notes = [
        f"one worker carries {capacity:,.0f} requests a second; {CALLERS} callers, {seconds:.0f} s",
        f"memory {before:,.0f} MiB, grown by {grown:.1%}; p99 from 5 s after the overload on: {late:.1f} ms",
        *limit_words(limits),
    ]
    print_and_keep("overload", "Four times what a worker can carry", rows, notes)
    return limits


async def until(load: Load, server: Server, *, stop: bool, after_s: float) -> float:
    """Load with SIGTERM for the service, or SIGKILL for one of its workers, in the middle; when that one was gone."""
    victims = workers_of(server.pid)
    sending = asyncio.create_task(load.send())
    await asyncio.sleep(after_s)
    if stop:
        psutil.Process(server.pid).terminate()
        with contextlib.suppress(psutil.NoSuchProcess):
            await asyncio.to_thread(psutil.Process(server.pid).wait, _PATIENCE_S)
        gone = time.perf_counter()
        await asyncio.sleep(0.5)
        load.stopped = True
    else:
        victims[0].kill()
        while victims[0].is_running() and victims[0].status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.001)
        gone = time.perf_counter()
    await sending
    return gone


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that a leader has started and that live."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie too
            if any("_bentoml_impl.worker" in word for word in child.cmdline()):
                found.append(child)
    return found


def stopped_under_load(workspace: Workspace, release: str, calls: Sequence[bytes], stops: int, log: Path) -> bool:
    """Serve, load, stop, several times over."""
    lost, answered, refused = 0, 0, 0
    for _ in range(stops):
        port = free_port(3360)
        command = serve_command(ServiceSettings(workspace.root, release=release, port=port))
        with started(list(command.argv), command.env, port, "/readyz", log) as server:
            load = Load(port, calls, seconds=_PATIENCE_S, callers=16, rate=100.0)
            uvloop.run(until(load, server, stop=True, after_s=1.5))
        outcomes = load.run.outcomes
        lost += outcomes[LOST] + sum(n for outcome, n in outcomes.items() if outcome.startswith("5"))
        answered += outcomes["200"] + outcomes["429"]
        refused += outcomes[REFUSED]
    rows = [{"stops": stops, "answered": answered, "lost": lost, "refused_afterwards": refused}]
    limits = {"no request that was taken is lost": lost == 0 and answered > 0}
    print_and_keep("stops", "Told to stop under load", rows, limit_words(limits))
    return limits["no request that was taken is lost"]


def killed_under_load(workspace: Workspace, release: str, calls: Sequence[bytes], kills: int, log: Path) -> bool:
    """A worker of two is killed, and started anew, several times over."""
    port = free_port(3370)
    command = serve_command(ServiceSettings(workspace.root, release=release, port=port, workers=2))
    rows, kept = [], True
    with started(list(command.argv), command.env, port, "/readyz", log) as server:
        for number in range(kills):
            wait_for_workers(port, server.pid, 2)
            load = Load(port, calls, seconds=15.0, callers=16, rate=40.0)
            gone = uvloop.run(until(load, server, stop=False, after_s=1.5))
            began = time.perf_counter()
            wait_for_workers(port, server.pid, 2)
            failed = sum(n for outcome, n in load.run.outcomes.items() if outcome not in {"200", "429"})
            later = failed - sum(sent <= gone for sent in load.run.lost_at)
            kept = kept and later == 0 and failed <= load.callers
            rows.append(
                {
                    "kill": number + 1,
                    "failed": failed,
                    "failed_sent_later": later,
                    "answered": load.run.outcomes["200"],
                    "back_within_s": 13.5 + time.perf_counter() - began,
                }
            )
    limits = {"nothing fails but what the killed worker had been sent": kept}
    print_and_keep("kills", "A worker of two killed under load", rows, limit_words(limits))
    return kept


def answer_of(port: int, path: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return bytes(answer.read())


def wait_for_workers(port: int, pid: int, n: int) -> None:
    """Until so many workers are there and say that they answer."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        workers = workers_of(pid)
        if len(workers) == n and b"holdfast_workers %d.0" % n in answer_of(port, "/metrics"):
            return
        time.sleep(0.2)
    raise SystemExit("a worker did not come back")


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
