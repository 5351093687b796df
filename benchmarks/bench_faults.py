"""A full disk, a locked database, a wrong clock, MLflow gone: what callers get meanwhile, and what is kept.

Events stream in and predictions are asked for before, during and after each fault, of one running service. Limits:
every prediction is answered with 200; an event that cannot be kept is refused with 503 or 507, a problem that says when
to try again; everything that was acknowledged is in the store once; and it goes on by itself, at once, when the fault
is over.
Run: python -m benchmarks.bench_faults [--seconds 10] [--shop FOLDER]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bench_http import Server, make_workspace, started
from benchmarks.faults import Clock, full_disk, gone, locked, on_small_disk, seen_by, why_no_disk
from benchmarks.kept_events import Found, left_behind
from benchmarks.report import limit_words, print_and_keep, require_kept
from benchmarks.steady_callers import Answer, EventStream, Predictions, reasons
from features.instants import DAY_US, SECOND_US
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.demo import free_port

DISK_MIB = 96
DAY_S = DAY_US // SECOND_US
UNREACHABLE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
_PATIENCE_S = 60.0
_MENDED_S = 5.0
_PAUSE_S = 0.02
_QUIET_S = 2.0  # then decisions and totals are written too, and the files can be copied
_REFUSED = frozenset({503, 507})
_TAKEN = frozenset({202})


@dataclass(frozen=True)
class Fault:
    """What is broken, and the statuses that events may get meanwhile."""

    name: str
    happens: Callable[[], AbstractContextManager[None]]
    allowed: frozenset[int]


@dataclass(frozen=True)
class Drill:
    """What came of one fault.

    `asked` and `sent` are the answers to predictions and events during it, `all_asked` to predictions at any time.
    """

    fault: Fault
    lasted_s: float
    asked: Sequence[Answer]
    all_asked: Sequence[Answer]
    sent: Sequence[Answer]
    mended_s: float
    found: Found

    def limits(self) -> dict[str, bool]:
        """In words, and whether each was kept."""
        refused = [one for one in self.sent if one.status not in _TAKEN]
        return {
            f"{self.fault.name}: every prediction is answered": bool(self.asked)
            and all(one.status == 200 for one in self.all_asked),
            f"{self.fault.name}: events get {' or '.join(map(str, sorted(self.fault.allowed)))}": bool(self.sent)
            and {one.status for one in self.sent} <= self.fault.allowed,
            f"{self.fault.name}: who is refused is told why, and when to try again": all(
                one.is_problem and "retry-after" in one.headers for one in refused
            ),
            f"{self.fault.name}: nothing acknowledged is lost or doubled": self.found.clean,
            f"{self.fault.name}: goes on by itself within {_MENDED_S:g} s": self.mended_s < _MENDED_S,
        }

    def row(self) -> dict[str, object]:
        """Of the table."""
        took = sorted(1e3 * (one.came - one.sent) for one in self.asked) or [float("nan")]
        return {
            "fault": self.fault.name,
            "lasted_s": self.lasted_s,
            "predictions": len(self.asked),
            "of_them_200": sum(one.status == 200 for one in self.asked),
            "p99_ms": took[min(int(0.99 * len(took)), len(took) - 1)],
            "degraded": ", ".join(sorted(reasons(self.asked))) or "-",
            "events": ", ".join(f"{status}: {n}" for status, n in sorted(Counter(o.status for o in self.sent).items())),
            "mended_s": self.mended_s,
            "lost": self.found.n_lost,
            "doubled": self.found.n_doubled,
        }


@dataclass(frozen=True)
class Served:
    """A running service under test: its port, its files as seen from here, who is asked about."""

    port: int
    store: Path
    met: Path
    customers: Sequence[str]
    known: frozenset[str]

    def drill(self, fault: Fault, seconds: float) -> Drill:
        """Before, during and after a fault."""
        stream = EventStream(self.port, lambda: time.time_ns() // 1_000, callers=4, name=_name(fault), pause_s=_PAUSE_S)
        with stream, Predictions(self.port, self.customers) as asking:
            stream.wait_for(20, _PATIENCE_S)
            with fault.happens():
                began = time.perf_counter()
                time.sleep(seconds)
                ended = time.perf_counter()
            over = time.perf_counter()
            stream.wait_for(20, _PATIENCE_S)
            mended_s = time.perf_counter() - over
        time.sleep(_QUIET_S)
        found = left_behind(self.store, self.met, stream.acknowledged, self.known)
        asked = asking.within(began, ended)
        return Drill(fault, ended - began, asked, asking.answers, stream.within(began, ended), mended_s, found)


def _name(fault: Fault) -> str:
    """No id of an event comes twice, whatever was run on this store before."""
    return f"{fault.name.replace(' ', '')}{os.getpid()}x{time.monotonic_ns()}"


def customers_known(workspace: Workspace, customers: Sequence[str]) -> frozenset[str]:
    """The keys of those whom no event names for the first time."""
    pseudonyms = Pseudonyms.load_or_create(workspace.pseudonym_keys)
    return frozenset(pseudonyms.of(one) for one in (*customers, "c1"))


@contextmanager
def serving(
    workspace: Workspace,
    release: str,
    customers: Sequence[str],
    folder: Path,
    env: dict[str, str],
    *,
    disk: bool,
    lock_timeout_ms: int = 2_000,
) -> Iterator[tuple[Served, Server]]:
    """The service, on the machine's disk or on a small one of its own."""
    port = free_port(0)
    settings = ServiceSettings(
        workspace.root.absolute(), release=release, port=port, max_wait_ms=1_000, lock_timeout_ms=lock_timeout_ms
    )
    command = serve_command(settings)
    argv = on_small_disk(command.argv, settings.workspace, DISK_MIB) if disk else list(command.argv)
    with started(argv, command.env | env, port, "/readyz", folder / "service.log") as server:
        root = seen_by(server.pid, settings.workspace) if disk else settings.workspace
        places = replace(workspace, root=root)
        known = customers_known(workspace, customers)
        yield Served(port, Path(places.store), places.met_identities, customers, known), server


def drills(
    workspace: Workspace,
    release: str,
    customers: Sequence[str],
    folder: Path,
    seconds: float,
    *,
    lock_timeout_ms: int = 2_000,
) -> Iterator[Drill]:
    """One after another."""
    if why_no_disk() is None:
        with serving(workspace, release, customers, folder, {}, disk=True) as (served, server):
            root = seen_by(server.pid, workspace.root)
            yield served.drill(Fault("disk full", lambda: full_disk(root), _REFUSED), seconds)
    clock = Clock(folder)
    mlflow = workspace.mlflow_database.parent
    mlflow.mkdir(exist_ok=True)
    env = clock.env | UNREACHABLE
    with serving(workspace, release, customers, folder, env, disk=False, lock_timeout_ms=lock_timeout_ms) as (
        served,
        _,
    ):
        for fault in (
            Fault("database locked", lambda: locked(served.store), _REFUSED),
            Fault("MLflow gone", lambda: gone(mlflow), _TAKEN),
            Fault("clock a day back", lambda: clock.off_by(-DAY_S), _REFUSED),
            Fault("clock a day ahead", lambda: clock.off_by(DAY_S), _TAKEN),
        ):
            yield served.drill(fault, seconds)


def main() -> None:
    """Measure, print, keep; fails where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--scale", type=float, default=0.05)
    parser.add_argument("--shop", type=Path, help="keep the shop here, and use it again where it is there already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        workspace, release, ids = make_workspace(arguments.shop or Path(name) / "shop", arguments.scale)
        found = list(drills(workspace, release, ids[:100], Path(name), arguments.seconds))
    limits = {words: held for one in found for words, held in one.limits().items()}
    refused = why_no_disk()
    notes = [] if refused is None else [f"NOT SHOWN: {refused}"]
    limits["a full disk was tried"] = refused is None
    print_and_keep("faults", "Faults of the machine", [one.row() for one in found], [*notes, *limit_words(limits)])
    require_kept("the service under faults", limits)


if __name__ == "__main__":
    main()
