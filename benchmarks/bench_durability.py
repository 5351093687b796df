"""What is acknowledged is kept: killed services, synced files, and write-ahead logs that were torn or changed.

1. SIGKILL for a real service while events stream in, of callers who send again until they are acknowledged: in turn for
   everything at once, for one of two workers, and for the process that leads them. After each, and at the end, every
   acknowledged event is in the store once, as sent, in a file without damage; who has an event there can be named.
2. A killed process proves nothing about a lost power supply: by the system calls of a service, seen with strace, the
   log is synced between its last write for an event and the sending of the acknowledgement.
3. Copies of a database whose log is torn off at any byte or has a changed one open to a clean prefix of what was
   acknowledged: whole commits in their order, nothing else, and they take new events.
Run: python -m benchmarks.bench_durability [--kills 50] [--minutes 40] [--traced 60] [--torn 300] [--shop FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import sync_trace, torn_wal
from benchmarks.bench_http import Server, make_workspace, started
from benchmarks.kept_events import Found, found_in, left_behind
from benchmarks.report import limit_words, print_and_keep, require_kept
from benchmarks.steady_callers import NO_ANSWER, EventStream
from benchmarks.workers import wait_for_workers, workers_of
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.demo import free_port

SEED = 5
WHOM = ("all", "worker", "all", "worker", "leader")
_PATIENCE_S = 90.0
_LEAST_BETWEEN = 20
_KNOWN = ("c1",)


def now_us() -> int:
    """By the machine's clock."""
    return time.time_ns() // 1_000


def kill(pid: int, whom: str) -> None:
    """SIGKILL; waits until whoever should be gone is: workers whose leader was killed leave by themselves."""
    leader = psutil.Process(pid)
    leader.suspend()  # it starts nobody anew meanwhile
    everybody = [leader, *leader.children(recursive=True)]
    victims = {"all": everybody, "leader": [leader], "worker": workers_of(pid)[:1]}[whom]
    if whom == "worker":
        leader.resume()
    for one in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    gone = victims if whom == "worker" else everybody
    until = time.monotonic() + _PATIENCE_S
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in gone if psutil.pid_exists(one.pid)):
        if time.monotonic() > until:
            raise SystemExit("a process outlived its leader")
        time.sleep(0.01)


class Killing:
    """A service that is killed again and again, and what was found each time."""

    def __init__(
        self, workspace: Workspace, release: str, log: Path, *, whom: Sequence[str] = WHOM, keyed: bool = True
    ) -> None:
        self.port = free_port(0)
        self.found: list[tuple[str, Found]] = []
        self.stream = EventStream(self.port, now_us, name="k", keyed=keyed)
        self._workspace, self._log, self._whom = workspace, log, whom
        command = serve_command(ServiceSettings(workspace.root, release=release, port=self.port, workers=2))
        self._argv, self._env = list(command.argv), command.env
        pseudonyms = Pseudonyms.load_or_create(workspace.pseudonym_keys)
        self._known = frozenset(pseudonyms.of(one) for one in _KNOWN)

    def run(self, kills: int, rng: random.Random, within_s: float = math.inf) -> None:
        """So many kills with events streaming in, then once more in peace until everything is acknowledged.

        No kill begins later than `within_s`.
        """
        until = time.monotonic() + within_s
        with self.stream:
            while len(self.found) < kills and time.monotonic() < until:
                with self._alive() as server:
                    while len(self.found) < kills and self._kill_once(server, rng):
                        wait_for_workers(self.port, server.pid, 2)
            with self._alive():
                self.stream.wait_for(_LEAST_BETWEEN, _PATIENCE_S)
                self.stream.finish()
        self.found.append(("the end", self._look(alive=False)))

    def _alive(self) -> contextlib.AbstractContextManager[Server]:
        return started(self._argv, self._env, self.port, "/readyz", self._log)

    def _kill_once(self, server: Server, rng: random.Random) -> bool:
        """Whether the service lives on."""
        self.stream.wait_for(_LEAST_BETWEEN, _PATIENCE_S)
        time.sleep(rng.uniform(0.0, 0.3))
        whom = self._whom[len(self.found) % len(self._whom)]
        kill(server.pid, whom)
        self.found.append((whom, self._look(alive=whom == "worker")))
        return whom == "worker"

    def _look(self, *, alive: bool) -> Found:
        acknowledged = tuple(self.stream.acknowledged)
        places = Path(self._workspace.store), self._workspace.met_identities
        return (found_in if alive else left_behind)(*places, acknowledged, self._known)


def report_kills(killing: Killing, kills: int) -> dict[str, bool]:
    """The table of what was found, and which limits were kept."""
    rows = []
    for whom in dict.fromkeys(whom for whom, _ in killing.found):
        found = [one for of, one in killing.found if of == whom]
        rows.append(
            {
                "killed": whom,
                "times": len(found),
                "lost": max(one.n_lost for one in found),
                "doubled": max(one.n_doubled for one in found),
                "nameless": max(one.n_nameless for one in found),
                "damaged": sum(not one.sound for one in found),
                "kept_unacknowledged": max(one.n_more for one in found),
            }
        )
    stream, end = killing.stream, killing.found[-1][1]
    statuses = Counter("no answer" if one.status == NO_ANSWER else str(one.status) for one in stream.answers)
    limits = {
        f"{kills} kills in the time that was given": len(killing.found) > kills,
        "no acknowledged event lost, after any kill": all(one.n_lost == 0 for _, one in killing.found),
        "no event twice, after any kill": all(one.n_doubled == 0 for _, one in killing.found),
        "integrity check clean, after any kill": all(one.sound for _, one in killing.found),
        "nobody nameless": all(one.n_nameless == 0 for _, one in killing.found),
        "in the end everything sent is acknowledged and kept": end.clean and end.n_more == 0,
    }
    notes = [
        f"{len(killing.found) - 1} kills, {len(stream.acknowledged):,} events acknowledged in all",
        f"{stream.n_repeated:,} of them were kept already when they were sent again",
        f"posts by answer: {dict(sorted(statuses.items()))}",
        *limit_words(limits),
    ]
    print_and_keep("kill_nine", "Killed while events stream in", rows, notes)
    return limits


def synced_before(workspace: Workspace, release: str, n_events: int, folder: Path) -> sync_trace.Shown:
    """A service under strace, and whether each acknowledgement came after the sync of its event."""
    port, out = free_port(0), folder / "calls"
    command = serve_command(ServiceSettings(workspace.root, release=release, port=port))
    argv = sync_trace.command(command.argv, out)
    stream = EventStream(port, now_us, callers=4, name="traced")
    with started(argv, command.env, port, "/readyz", folder / "traced.log"), stream:
        stream.wait_for(n_events, _PATIENCE_S)
        stream.finish()
    with out.open(encoding="utf-8") as lines:
        return sync_trace.show(sync_trace.read(lines), stream.answered_by)


def report_synced(workspace: Workspace, release: str, n_events: int, folder: Path) -> dict[str, bool]:
    """The table; where strace cannot be had nothing is shown, and the limit is missed."""
    words, refused = "the log is synced before each acknowledgement, by strace", sync_trace.why_not()
    shown = sync_trace.Shown(0, ()) if refused else synced_before(workspace, release, n_events, folder)
    limits = {words: shown.n_shown >= n_events and not shown.unshown}
    rows = [{"acknowledged": shown.n_shown + len(shown.unshown), "synced_before": shown.n_shown}]
    notes = [f"NOT SHOWN: {refused}"] if refused is not None else []
    notes += [f"{n} times: {fault}" for fault, n in Counter(shown.unshown).items()]
    print_and_keep("synced", "On the disk before it is acknowledged", rows, [*notes, *limit_words(limits)])
    return limits


def torn(n_copies: int, folder: Path, rng: random.Random) -> dict[str, bool]:
    """Copies of one database with damaged logs, opened by the store."""
    kept = torn_wal.keep(folder / "whole", rng)
    rows, faults = [], Counter[str]()
    for kind in ("torn", "flipped"):
        found = []
        for number in range(n_copies // 2):
            wal = torn_wal.damaged(kept.wal, rng, torn=kind == "torn")
            found.append(torn_wal.opened(kept, wal, folder / f"{kind}-{number}"))
        faults.update(one.fault for one in found if one.fault is not None)
        rows.append(
            {
                "log": kind,
                "copies": len(found),
                "clean_prefix": sum(one.fault is None for one in found),
                "least_rows": min(one.n_rows for one in found),
                "most_rows": max(one.n_rows for one in found),
                "different_prefixes": len({one.n_rows for one in found}),
            }
        )
    limits = {"always a clean prefix": not faults}
    notes = [
        f"{len(kept.rows)} events in {len(kept.ends) - 1} commits, {kept.in_file} of the former in the file by itself",
        f"the log is {len(kept.wal):,} bytes long",
        *(f"{n} times: {fault}" for fault, n in faults.items()),
        *limit_words(limits),
    ]
    print_and_keep("torn_wal", "Write-ahead logs torn off or changed", rows, notes)
    return limits


def main() -> None:
    """Measure, print, keep; fails where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=40.0, help="of kills, at most")
    parser.add_argument("--traced", type=int, default=60)
    parser.add_argument("--torn", type=int, default=300)
    parser.add_argument("--scale", type=float, default=0.05)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    arguments = parser.parse_args()
    kept: dict[str, bool] = {}
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.torn:
            kept |= torn(arguments.torn, folder, rng)
        shop = arguments.shop or folder / "shop"
        if arguments.traced:
            workspace, release, _ = make_workspace(shop, arguments.scale)
            kept |= report_synced(workspace, release, arguments.traced, folder)
        if arguments.kills:
            workspace, release, _ = make_workspace(shop, arguments.scale)  # the same, with an empty store
            killing = Killing(workspace, release, folder / "kills.log")
            killing.run(arguments.kills, rng, 60.0 * arguments.minutes)
            kept |= report_kills(killing, arguments.kills)
    require_kept("the durability of events", kept)


if __name__ == "__main__":
    main()
