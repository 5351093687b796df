"""Our own Prometheus metrics: few, cheap, free of ids and addresses, and bounded in how many series they make."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.types import Scope

from serving.request_context import CURRENT, RequestContext

__all__ = ["ROLLOUT_STATES", "Metrics", "Signs"]

ROLLOUT_STATES = ("none", "shadow", "ramping", "held", "paused", "by_hand", "broken")
"""`held`: a gate does not let it go on; `by_hand`: no plan leads it; `broken`: a guardrail took the last one back."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LAG_BUCKETS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_STORE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 2.5)
_MOST_RELEASES = 24
_RESERVED = {"counter": 1 << 17, "histogram": 1 << 19} | dict.fromkeys(
    ("gauge_livemostrecent", "gauge_liveall", "gauge_livesum"), 1 << 16
)
"""The files of a process and the bytes that they take from the beginning: a few hundred series."""
_OTHER = "other"


class Signs:
    """Gauges of how the service is doing, set now and then beside the requests; see `vital_signs`.

    Those that are the same for all workers tell the newest; those of a process carry its `pid`; sums add up.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        newest = partial(Gauge, registry=registry, multiprocess_mode="livemostrecent")
        each = partial(Gauge, registry=registry, multiprocess_mode="liveall")
        total = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self.release_share = newest(
            "holdfast_release_share", "Share of customers that a loaded release answers.", ["release"]
        )
        self.rollout_state = newest("holdfast_rollout_state", "1 for the state that the rollout is in.", ["state"])
        self.rollout_share = newest("holdfast_rollout_share", "Share of customers that the challenger answers.")
        self.rollout_judged = newest(
            "holdfast_rollout_judged_timestamp_seconds", "When gates were last read, in seconds since 1970."
        )
        self.refused = newest("holdfast_releases_refused", "Releases that should be served and are refused now.")
        self.age = newest("holdfast_age_seconds", "Age of the newest: scores, snapshot, drift.", ["of"])
        self.unsealed = newest("holdfast_unsealed_events", "Accepted events that are not in the sealed log yet.")
        self.unsealed_age = newest("holdfast_unsealed_age_seconds", "Age of the oldest of them; 0 without any.")
        self.psi = newest("holdfast_drift_psi", "Stability index at the last look: the largest input, scores.", ["of"])
        self.inputs_moved = newest("holdfast_drift_inputs", "Inputs that have moved since training.", ["level"])
        self.resident = each("holdfast_process_resident_bytes", "Memory of a process.")
        self.open_files = each("holdfast_process_open_files", "File handles of a process.")
        self.workers = total("holdfast_workers", "Processes that answer.")

    def rollout_is(self, state: str, share: float) -> None:
        """Tell the state, one of `ROLLOUT_STATES`, and the challenger's share."""
        for one in ROLLOUT_STATES:
            self.rollout_state.labels(one).set(one == state)
        self.rollout_share.set(share)


class Metrics:
    """Counters of one process; `render` adds those of its sisters where a multiprocess folder is given."""

    def __init__(self, multiprocess_folder: str | None = None) -> None:
        self._folder = multiprocess_folder
        if multiprocess_folder is not None:
            _reserve(Path(multiprocess_folder))
        self._registry = registry = CollectorRegistry()
        self._answered: dict[tuple[str, int, str, str], tuple[Counter, Histogram]] = {}
        self._predicted: dict[tuple[str, str, str], Counter] = {}
        self._releases: set[str] = set()
        counter = partial(Counter, registry=registry)
        seconds = partial(Histogram, registry=registry)
        self.requests = counter("holdfast_requests", "Answered requests.", ["endpoint", "status"])
        self.seconds = seconds(
            "holdfast_request_seconds", "Time to answer.", ["endpoint", "release", "arm"], buckets=_BUCKETS
        )
        self.predictions = counter("holdfast_predictions", "Predictions made.", ["kind", "release", "arm"])
        self.fallbacks = counter(
            "holdfast_fallbacks", "Predictions that fell back on less.", ["kind", "release", "arm"]
        )
        self.degraded = counter(
            "holdfast_degraded_answers", "Answers made from less than there should be to read.", ["kind", "reason"]
        )
        self.shed = counter("holdfast_shed_requests", "Requests turned away because of load.", ["reason"])
        self.shadowed = counter("holdfast_shadow_requests", "Requests for the shadow release.", ["outcome"])
        self.verdicts = counter("holdfast_rollout_verdicts", "What looks at the gates of a rollout led to.", ["action"])
        self.events = counter("holdfast_events", "Events sent in.", ["outcome"])
        self.decisions = counter("holdfast_decisions", "Decisions to be kept.", ["outcome"])
        self.refusals = counter("holdfast_release_refusals", "Releases that were not loaded.")
        self.out_of_step = counter("holdfast_poll_failures", "Looks at the store's state that failed.")
        self.loop_lag = seconds("holdfast_event_loop_lag_seconds", "How late a timer fires.", buckets=_LAG_BUCKETS)
        self.store_seconds = seconds(
            "holdfast_store_seconds", "Time of a change, its commit included.", buckets=_STORE_BUCKETS
        )
        self.signs = Signs(registry)

    def observe(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        """Count one answer. The label is the endpoint's name: a path would carry customer ids."""
        endpoint = getattr(scope.get("endpoint"), "__name__", "none")
        key = endpoint, status, context.release, context.arm
        found = self._answered.get(key)
        if found is None:
            timed = self.seconds.labels(endpoint, self._label(context.release), context.arm)
            found = self._answered[key] = self.requests.labels(endpoint, status), timed
        found[0].inc()
        found[1].observe(seconds)

    def predicted(self, kind: str, release: str, arm: str) -> None:
        """Count one prediction, and keep with the request what made it."""
        if (context := CURRENT.get()) is not None:
            context.answered_by(release, arm)
        found = self._predicted.get((kind, release, arm))
        if found is None:
            found = self._predicted[kind, release, arm] = self.predictions.labels(kind, self._label(release), arm)
        found.inc()

    def fell_back(self, kind: str, release: str, arm: str) -> None:
        """Count one prediction, of those counted, that was made from less than it should."""
        self.fallbacks.labels(kind, self._label(release), arm).inc()

    def n_workers(self) -> int:
        """Processes that answer, as they say themselves; see `Signs.workers`."""
        found = self._together().collect()
        return int(sum(one.value for metric in found if metric.name == "holdfast_workers" for one in metric.samples))

    def judged(self, action: str, at_us: int) -> None:
        """Count one look at the gates of a rollout; UTC microseconds of the machine's own clock."""
        self.verdicts.labels(action).inc()
        self.signs.rollout_judged.set(at_us / 1e6)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._together())

    def _together(self) -> CollectorRegistry:
        """Of this process, or of all where they share a folder."""
        if self._folder is None:
            return self._registry
        _forget_dead(Path(self._folder))
        together = CollectorRegistry()
        MultiProcessCollector(together, path=self._folder)  # type: ignore[no-untyped-call]
        return together

    def _label(self, release: str) -> str:
        """The release's name, or `other` in a process that has served very many."""
        if release not in self._releases and len(self._releases) >= _MOST_RELEASES:
            return _OTHER
        self._releases.add(release)
        return release


def _reserve(folder: Path) -> None:
    """Take the room of this process's files before they are mapped into its memory.

    They would be mapped with holes, and the system kills who writes into a hole on a full disk.
    """
    for name, size in _RESERVED.items():
        with (folder / f"{name}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _forget_dead(folder: Path) -> None:
    """Gauges of workers that are gone would stay for ever; what they counted is kept."""
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*_*.db")}:
        if pid.isdigit() and not _lives(int(pid)):
            with suppress(FileNotFoundError):  # a sister was quicker
                mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
