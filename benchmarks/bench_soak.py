"""Hours at half load: whether memory grows, and file handles and threads are given back.

What all workers together carry is measured first, half of it is asked then, by the clock: scores of fresh features,
slates, events, and feedback on what was shown (an impression, then an answer to it), of customers drawn anew each time.
First the service gets more events than it keeps in memory, some of everybody, and is asked about more customers than it
keeps views of, so that what follows is the steady state.
Resident memory of all its processes (RSS, and PSS, which counts shared pages once), file handles, sockets, threads and
the database's size are looked at now and then. The slope is the median of the slopes between all pairs of looks after
warming up (Theil-Sen), in percent of the memory an hour; its interval is the middle 95% of the same with residuals
drawn anew in blocks, since neighbouring looks are alike.
Run: python -m benchmarks.bench_soak [--minutes 30 | --hours 8] [--workers 2] [--picture FILE]; Ctrl-C ends it early,
with the table of what was seen until then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import numpy.typing as npt
import psutil
import uvloop
from scipy.stats import theilslopes

from benchmarks.bench_http import Server, started
from benchmarks.bench_sizing import prepare
from benchmarks.http_load import request
from benchmarks.paced_load import Load, hold
from benchmarks.recommend_worlds import AS_OF_US
from benchmarks.report import limit_words, print_and_keep, require_kept
from benchmarks.workers import wait_for_workers
from features.instants import format_instant
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.demo import free_port

N_CUSTOMERS, N_ITEMS = 20_000, 5_000
FIRST_EACH: tuple[dict[str, Any], ...] = ({}, {"kind": "impression"}, {"kind": "cart"}, {"kind": "review", "value": 2})
EVENTS_A_POST = 500
CALLS_TO_FILL = 7_500
"""For each worker, so that it has as many customers' views as it keeps (4,096)."""
WARM_SHARE, LEAST_WARM_S = 0.2, 20.0
MOST_PERCENT_AN_HOUR = 1.0
DRAWS, BLOCKS = 400, 12
_PATIENCE_S = 600.0
MIB = 2**20
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """The service at one moment: seconds since the load began, MiB, open files (no sockets), sockets, answers.

    `own_mib` is what of the resident memory is no file's; the rest grows where files are read, and can be given back.
    """

    at_s: float
    rss_mib: float
    pss_mib: float
    own_mib: float
    files: int
    sockets: int
    threads: int
    database_mib: float
    wal_mib: float
    answered: int


class Calls:
    """Endless calls in a fixed mix: of twenty, nine scores, six slates, three posts of an event, two of feedback."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._turn = itertools.count()
        self._began_s = time.time()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        turn, customer = next(self._turn) % 20, self._customer()
        if turn % 2 == 0 and turn < 18:
            return request("GET", f"/v1/customers/{customer}/churn")
        if turn < 12:
            return request("POST", "/v1/recommendations", {"customer_id": customer, "limit": 10})
        if turn < 18:
            return self.post([self.event(customer)])
        item = self._item()
        answer = {"kind": "review", "value": 2} if turn == 18 else {"kind": "cart"}
        shown = self.event(customer) | {"item_id": item}
        return self.post([shown | {"kind": "impression"}, shown | answer | {"event_id": uuid.uuid4().hex}])

    def first(self) -> list[bytes]:
        """Posts of many events, of every customer one of each kind: views of histories grow most by a new kind."""
        customers = [f"c{number:07d}" for number in range(N_CUSTOMERS)]
        events = [self.event(one) | kind for kind in FIRST_EACH for one in customers]
        return [self.post(events[start : start + EVENTS_A_POST]) for start in range(0, len(events), EVENTS_A_POST)]

    def event(self, customer: str) -> dict[str, Any]:
        """What a customer does now: mostly a look at an item, now and then a purchase."""
        now = format_instant(AS_OF_US + int((time.time() - self._began_s) * 1e6))
        made = {"event_id": uuid.uuid4().hex, "customer_id": customer, "occurred_at": now, "item_id": self._item()}
        if self._rng.random() < 0.1:
            return made | {"kind": "purchase", "amount_minor": 1_999, "currency": "EUR", "order_id": uuid.uuid4().hex}
        return made | {"kind": "view"}

    @staticmethod
    def post(events: list[dict[str, Any]]) -> bytes:
        """One call with events."""
        return request("POST", "/v1/events", {"events": events})

    def _customer(self) -> str:
        return f"c{self._rng.randrange(N_CUSTOMERS):07d}"

    def _item(self) -> str:
        return f"i{self._rng.randrange(N_ITEMS):07d}"


def look(pid: int, database: Path, at_s: float, answered: int) -> Look:
    """Of a service's processes together; takes some milliseconds."""
    leader = psutil.Process(pid)
    rss = pss = own = threads = 0
    kinds: Counter[bool] = Counter()
    for one in (leader, *leader.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = one.memory_full_info()
            rss, pss, own = rss + memory.rss, pss + memory.pss, own + memory.rss - memory.shared
            threads += one.num_threads()
            kinds.update(_is_socket(path) for path in Path(f"/proc/{one.pid}/fd").iterdir())
    sizes = [path.stat().st_size / MIB if path.exists() else 0.0 for path in (database, Path(f"{database}-wal"))]
    memory_mib = (rss / MIB, pss / MIB, own / MIB)
    return Look(at_s, *memory_mib, kinds[False], kinds[True], threads, sizes[0], sizes[1], answered)


def _is_socket(handle: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        return str(handle.readlink()).startswith("socket:")
    return False


class Soak:
    """A load, and looks at the service meanwhile."""

    def __init__(self, server: Server, database: Path, load: Load, every_s: float) -> None:
        self.server, self.database, self.load, self.every_s = server, database, load, every_s
        self.rest = look(server.pid, database, 0.0, 0)
        self.looks: list[Look] = []
        self.took_ms: list[tuple[float, float]] = []  # median and p99 of the 200s between two looks

    async def run(self) -> None:
        """Until the load ends, or somebody presses Ctrl-C."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, self._stop)
        looking = asyncio.create_task(self._look_on())
        await self.load.send()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    def _stop(self) -> None:
        self.load.stopped = True

    async def _look_on(self) -> None:
        began, told = time.perf_counter(), 0.0
        for number in itertools.count(1):
            await asyncio.sleep(began + number * self.every_s - time.perf_counter())
            run, at_s = self.load.run, time.perf_counter() - began
            n_answered = run.outcomes["200"] + run.outcomes["202"]
            self.looks.append(await asyncio.to_thread(look, self.server.pid, self.database, at_s, n_answered))
            self.took_ms.append((run.quantile_ms(0.5), run.quantile_ms(0.99)))
            run.answered.clear()
            if at_s - told >= 60.0 or number == 1:
                told = at_s
                self._tell()

    def _tell(self) -> None:
        now, (median, slow) = self.looks[-1], self.took_ms[-1]
        print(
            f"{now.at_s / 60:6.1f} min  RSS {now.rss_mib:8.1f} MiB  PSS {now.pss_mib:8.1f}  own {now.own_mib:8.1f}"
            f"  files {now.files}"
            f"  sockets {now.sockets}  threads {now.threads}  database {now.database_mib:,.0f} MiB"
            f"  p50 {median:.1f} ms  p99 {slow:.1f} ms  {dict(self.load.run.outcomes)}",
            flush=True,
        )


def slope_percent_an_hour(at_s: Array, mib: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    """Theil-Sen slope of a series in percent of its median an hour, and the middle 95% of it in residuals drawn anew.

    Source: Sen, JASA 63 (1968); Kuensch, Ann. Statist. 17 (1989) for drawing blocks of neighbours.
    """
    factor = 3_600 * 100 / float(np.median(mib))
    found = theilslopes(mib, at_s)
    line = found.intercept + found.slope * at_s
    rest = mib - line
    length = max(1, mib.size // BLOCKS)
    starts = rng.integers(0, mib.size - length + 1, size=(DRAWS, mib.size // length + 1))
    places = (starts[:, :, None] + np.arange(length)).reshape(DRAWS, -1)[:, : mib.size]
    drawn = [theilslopes(line + rest[place], at_s).slope for place in places]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(found.slope * factor), float(low * factor), float(high * factor)


def report(soak: Soak, rate: float, carried: float, workers: int, picture: Path | None) -> dict[str, bool]:
    """The table, the picture, and which limits were kept."""
    lasted = soak.looks[-1].at_s
    warm = max(LEAST_WARM_S, WARM_SHARE * lasted)
    steady = [one for one in soak.looks if one.at_s >= warm]
    at_s = np.array([one.at_s for one in steady])
    rng = np.random.default_rng(1)
    slopes = {
        name: slope_percent_an_hour(at_s, np.array([getattr(one, name) for one in steady]), rng)
        for name in ("rss_mib", "pss_mib")
    }
    outcomes, files = soak.load.run.outcomes, [one.files for one in steady]
    quarter = max(1, len(files) // 4)
    early, late = np.median(files[:quarter]), np.median(files[-quarter:])
    sockets, room = max(one.sockets for one in steady), soak.rest.sockets + soak.load.callers
    sent = sum(outcomes.values())
    medians, slow = (float(np.median(one)) for one in zip(*soak.took_ms[-len(steady) :], strict=True))
    rows = [asdict(soak.looks[0]) | {"look": "first"}, asdict(steady[0]) | {"look": "warm"}]
    rows = [{"look": row.pop("look"), **row} for row in [*rows, asdict(steady[-1]) | {"look": "last"}]]
    rss, low, high = slopes["rss_mib"]
    limits: dict[str, bool] = {
        f"memory grows by {rss:+.2f}% an hour ({low:+.2f}% to {high:+.2f}%), below {MOST_PERCENT_AN_HOUR:g}%": high
        < MOST_PERCENT_AN_HOUR,
        f"as many files open late ({late:g}) as early ({early:g})": bool(late <= early),
        f"at most {sockets} sockets: those at rest and the callers' make {room}": sockets <= room,
        "nothing fails: 200, 202 and 429 alone": set(outcomes) <= {"200", "202", "429"},
        f"p99 {slow:.1f} ms is at most 5 times the median {medians:.1f} ms": slow <= 5 * medians,
    }
    notes = [
        f"{lasted / 60:.1f} minutes, {workers} workers, {rate:.0f} calls a second: half of the {carried:.0f} carried",
        f"sent {sent:,}, turned away {outcomes['429'] / sent:.3%}",
        f"{len(steady)} looks after warming up for {warm:.0f} s",
        "PSS {:+.2f}% an hour ({:+.2f}% to {:+.2f}%)".format(*slopes["pss_mib"]),
        f"files open after warming up: {min(files)} to {max(files)}",
        *limit_words(limits),
    ]
    print_and_keep("soak", "Half load for a long time", rows, notes)
    if picture is not None:
        draw(soak.looks, warm, slopes["rss_mib"], picture)
    return limits


def draw(looks: Sequence[Look], warm_s: float, slope: tuple[float, float, float], path: Path) -> None:
    """Memory over time, and below it open files, sockets and threads."""
    minutes = [one.at_s / 60 for one in looks]
    figure = matplotlib.figure.Figure(figsize=(8, 5), layout="constrained")
    memory, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    memory.plot(minutes, [one.rss_mib for one in looks], label="RSS of all processes")
    memory.plot(minutes, [one.pss_mib for one in looks], label="PSS (shared pages once)")
    memory.axvspan(0, warm_s / 60, color="0.9", label="warming up")
    memory.set(
        ylim=(0, 1.1 * max(one.rss_mib for one in looks)),
        ylabel="MiB",
        title=f"At half load: {slope[0]:+.2f}% an hour ({slope[1]:+.2f} to {slope[2]:+.2f})",
    )
    memory.legend(loc="lower right")
    counts.plot(minutes, [one.files for one in looks], label="open files")
    counts.plot(minutes, [one.sockets for one in looks], label="sockets")
    counts.plot(minutes, [one.threads for one in looks], label="threads")
    counts.set(ylim=(0, 1.1 * max(one.files for one in looks)), xlabel="minutes")
    counts.legend(loc="center right", ncols=3)
    figure.savefig(path, dpi=110)


def soak(workspace: Workspace, minutes: float, workers: int, log: Path) -> tuple[Soak, float, float]:
    """Start, fill, measure what is carried, and hold half of it."""
    port, calls = free_port(3380), Calls(1)
    shift = AS_OF_US - time.time_ns() // 1_000
    settings = ServiceSettings(workspace.root, release="r-bench", port=port, workers=workers, clock_shift_us=shift)
    command = serve_command(settings)
    with started(list(command.argv), command.env, port, "/readyz", log) as server:
        wait_for_workers(port, server.pid, workers)
        first = hold(port, iter(calls.first()), seconds=_PATIENCE_S, callers=1).outcomes
        if set(first) != {"202"}:
            raise SystemExit(f"the first events were not taken: {dict(first)}")
        filling = itertools.islice(calls, CALLS_TO_FILL * workers)
        began = time.perf_counter()
        most = hold(port, filling, seconds=_PATIENCE_S, callers=2 * workers)
        carried = (most.outcomes["200"] + most.outcomes["202"]) / (time.perf_counter() - began)
        load = Load(port, calls, seconds=60 * minutes, callers=32, rate=carried / 2)
        time.sleep(1.0)  # connections are closed
        made = Soak(server, Path(workspace.root) / "service.db", load, every_s=max(2.0, 60 * minutes / 360))
        print(f"{carried:.0f} requests a second are carried; {carried / 2:.0f} for {minutes:g} minutes", flush=True)
        uvloop.run(made.run())
    return made, carried / 2, carried


def main() -> None:
    """Hold the load, print, keep; fails where a limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--hours", type=float, help="in place of minutes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="where to draw memory over time, as PNG")
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    given = parser.parse_args()
    minutes = given.minutes if given.hours is None else 60 * given.hours
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace(given.shop or Path(name) / "shop")
        if not workspace.releases.exists():
            prepare(workspace.root, N_CUSTOMERS, N_ITEMS)
        for path in workspace.root.glob("service.db*"):
            path.unlink()
        made, rate, carried = soak(workspace, minutes, given.workers, Path(name) / "log")
    if len(made.looks) * made.every_s < 3 * LEAST_WARM_S:
        raise SystemExit("ended before there was anything to judge")
    require_kept("the service at half load", report(made, rate, carried, given.workers, given.picture))


if __name__ == "__main__":
    main()
