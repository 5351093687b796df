"""Swapping releases under a constant load that keeps one core half busy: 20 swaps in 60 s, beside a run without.

Three releases take turns as champion, so that each swap loads, verifies and warms one anew. Calls are sent by the
clock, whether or not earlier ones were answered, and latencies count from when a call was due: a stall is seen by all
behind it. An answer is right if its header and its body name one release, and its score is what that model gives.
Run: python -m benchmarks.bench_swap [--seconds 60] [--swaps 20] [--shop FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.bench_http import Server, make_workspace, started
from benchmarks.http_load import cpu_seconds, measure, request
from benchmarks.report import limit_words, print_and_keep, require_kept
from features.churn_features import CHURN_FEATURES
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.release import Release, write_release
from serving.releases import load_named
from serving.rollouts.state import Change, set_champion
from serving.settings import ServiceSettings, serve_command
from serving.snapshots import Snapshots
from serving.store import Store
from training.demo import free_port
from training.release_keys import signing_key

SHIFTS = {"swap-a": 0.0, "swap-b": 0.5, "swap-c": -0.5}
"""Releases, and what each adds to the log-odds of the shop's own."""

CONNECTIONS = 32
BUSY = 0.5
BY = "bench"

Expected = Mapping[str, Mapping[str, float]]
"""By release and customer, the probability that its model gives."""


@dataclass(frozen=True)
class Call:
    """One request. `customer` is set where the score of the answer is compared."""

    content: bytes
    customer: str | None = None


@dataclass
class Run:
    """What came of one stretch. `served` are releases in the order in which they first answered after another."""

    statuses: dict[int, int] = field(default_factory=dict)
    broken: int = 0
    wrong: int = 0
    took: list[float] = field(default_factory=list)
    served: list[tuple[str, float]] = field(default_factory=list)
    set_at: list[tuple[str, float]] = field(default_factory=list)
    cpu_share: float = 0.0

    @property
    def failed(self) -> int:
        """Calls that were not answered by 200."""
        return self.broken + sum(n for status, n in self.statuses.items() if status != 200)

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return 1e3 * sorted(self.took)[min(int(len(self.took) * share), len(self.took) - 1)]

    def delays(self) -> list[float]:
        """Seconds from each change in the store until the first answer by the release."""
        found = []
        for name, at in self.set_at:
            found += itertools.islice((when - at for one, when in self.served if one == name and when > at), 1)
        return found


def make_releases(workspace: Workspace, base: str) -> dict[str, Release]:
    """The three releases, written beside the shop's own."""
    release = load_named(base, workspace)
    for name, shift in SHIFTS.items():
        shutil.rmtree(workspace.releases / name, ignore_errors=True)
        calibrator = dataclasses.replace(release.churn.calibrator, c=release.churn.calibrator.c + shift)
        write_release(
            workspace.releases,
            name=name,
            key=signing_key(workspace),
            created_at_us=release.created_at_us,
            feature_set=CHURN_FEATURES,
            churn=dataclasses.replace(release.churn, calibrator=calibrator),
            recommender=release.recommender,
            policy=release.policy,
            bands=release.bands,
            provenance={},
            segments=release.segments,
            recipes=release.recipes,
        )
    return {name: load_named(name, workspace) for name in SHIFTS}


def expected_scores(workspace: Workspace, releases: Mapping[str, Release], ids: Sequence[str]) -> Expected:
    """What each release's model makes of the stored features."""
    snapshots, pseudonyms = Snapshots(workspace.snapshots, CHURN_FEATURES), Pseudonyms.load(workspace.pseudonym_keys)
    snapshots.poll()
    stored = snapshots.stored
    if stored is None:
        raise SystemExit("the shop has no snapshot of features; remove its folder and start again")
    rows = {one: stored.row(pseudonyms.of(one)) for one in ids}
    return {
        name: {one: release.churn.probability(row, stored.as_of_us) for one, row in rows.items() if row is not None}
        for name, release in releases.items()
    }


def calls(ids: Sequence[str]) -> list[Call]:
    """Of three customers two are scored, one with reasons, and the third is shown a slate."""
    made = []
    for number, one in enumerate(ids):
        include = "reasons,actions" if number % 3 else ""
        path = f"/v1/customers/{one}/churn?freshness=stored&include={include}"
        slate = request("POST", "/v1/recommendations", {"customer_id": one, "limit": 10})
        made.append(Call(slate) if number % 3 == 2 else Call(request("GET", path), one))
    return made


class Load:
    """Sends calls at a constant rate for some seconds and looks at every answer."""

    def __init__(self, port: int, asked: Sequence[Call], expected: Expected, rate: float, seconds: float) -> None:
        self.port, self.asked, self.expected = port, asked, expected
        self.rate, self.n_calls = rate, int(rate * seconds)
        self.run = Run()
        self._next = itertools.count()
        self._began = 0.0

    async def send(self) -> Run:
        """All calls."""
        self._began = time.perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))
        return self.run

    async def _connection(self) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (number := next(self._next)) < self.n_calls:
            due = self._began + number / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            call = self.asked[number % len(self.asked)]
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self.port)
                streams[1].write(call.content)
                head = (await streams[0].readuntil(b"\r\n\r\n")).decode().lower()
                body = await streams[0].readexactly(int(_header(head, "content-length")))
            except (OSError, asyncio.IncompleteReadError):
                self.run.broken, streams = self.run.broken + 1, None
                continue
            self.run.took.append(time.perf_counter() - due)
            self._look(call, int(head[9:12]), _header(head, "x-release"), body)
        if streams is not None:
            streams[1].close()

    def _look(self, call: Call, status: int, release: str, body: bytes) -> None:
        self.run.statuses[status] = self.run.statuses.get(status, 0) + 1
        if status != 200:
            return
        answer = orjson.loads(body)
        right = answer["model"]["release"] == release and release in self.expected
        if right and call.customer is not None:
            right = answer["churn_probability"] == self.expected[release][call.customer]
        self.run.wrong += not right
        if not self.run.served or self.run.served[-1][0] != release:
            self.run.served.append((release, time.perf_counter()))


def _header(head: str, name: str) -> str:
    found = head.partition(f"\r\n{name}: ")[2]
    return found.partition("\r\n")[0]


def hold(server: Server, load: Load, beside: Callable[[Run], None] | None = None) -> Run:
    """One run, with what happens beside it."""
    other = threading.Thread(target=beside, args=(load.run,), daemon=True) if beside else None
    used, began = cpu_seconds(server.pid), time.perf_counter()
    if other is not None:
        other.start()
    run = asyncio.run(load.send())
    run.cpu_share = (cpu_seconds(server.pid) - used) / (time.perf_counter() - began)
    if other is not None:
        other.join(60)
    return run


def swapping(store: Store, swaps: int, seconds: float) -> Callable[[Run], None]:
    """Makes the next release the champion, evenly over the run; the last one in time to be seen."""
    names = itertools.islice(itertools.cycle(("swap-b", "swap-c", "swap-a")), swaps)

    def swap(run: Run) -> None:
        began = time.perf_counter()
        for number, name in enumerate(names):
            time.sleep(max(0.0, began + (number + 0.5) * seconds / (swaps + 0.5) - time.perf_counter()))
            run.set_at.append((name, time.perf_counter()))
            set_champion(store, name, Change(BY, time.time_ns() // 1_000, f"swap {number + 1}"))

    return swap


def affordable(server: Server, asked: Sequence[Call]) -> float:
    """Calls a second that keep one core half busy, by the CPU that calls cost as fast as they are answered."""
    measure(server.port, server.pid, itertools.cycle([call.content for call in asked]), 2.0, 200)  # warm
    load = measure(server.port, server.pid, itertools.cycle([call.content for call in asked]), 4.0, 200)
    return BUSY * 1e6 / load.cpu_us


def main() -> None:
    """Measure, print, keep; fails where an answer was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace, base, ids = make_workspace(arguments.shop or folder / "shop", arguments.scale)
        expected = expected_scores(workspace, make_releases(workspace, base), ids)
        asked = calls([one for one in ids if one in expected["swap-a"]])
        port = free_port(3340)
        command = serve_command(ServiceSettings(workspace.root, release="swap-a", port=port, max_wait_ms=60_000))
        with started(list(command.argv), command.env, port, "/readyz", folder / "service.log") as server:
            rate = affordable(server, asked)
            store = Store.open(workspace.store)
            runs = {
                "without swaps": hold(server, Load(port, asked, expected, rate, arguments.seconds)),
                f"{arguments.swaps} swaps": hold(
                    server,
                    Load(port, asked, expected, rate, arguments.seconds),
                    swapping(store, arguments.swaps, arguments.seconds),
                ),
            }
            store.close()
    report(runs, rate, arguments.seconds, arguments.swaps)


def report(runs: Mapping[str, Run], rate: float, seconds: float, swaps: int) -> None:
    """The table, and whether anything was lost."""
    rows = [
        {
            "run": name,
            "requests": len(run.took) + run.broken,
            "failed": run.failed,
            "wrong": run.wrong,
            "server_cores": run.cpu_share,
            "p50_ms": run.quantile(0.5),
            "p99_ms": run.quantile(0.99),
            "max_ms": run.quantile(1.0),
            "releases_seen": len(run.served),
        }
        for name, run in runs.items()
    ]
    swapped = list(runs.values())[-1]
    delays = sorted(swapped.delays())
    limits = {
        "0 requests failed": not any(run.failed for run in runs.values()),
        "every answer is that of the release it names": not any(run.wrong for run in runs.values()),
        f"{swaps} swaps took effect, each once": len(delays) == swaps and len(swapped.served) == swaps + 1,
    }
    notes = [
        f"{rate:,.0f} requests a second for {seconds:.0f} s a run, {CONNECTIONS} connections, one worker",
        f"statuses: {json.dumps({name: run.statuses for name, run in runs.items()})}",
        f"from the change in the store to the first answer: median {delays[len(delays) // 2]:.2f} s, "
        f"at most {delays[-1]:.2f} s"
        if delays
        else "no swap took effect",
        *limit_words(limits),
    ]
    print_and_keep("swap", "Releases swapped under load", rows, notes)
    require_kept("the swaps", limits)


if __name__ == "__main__":
    main()
