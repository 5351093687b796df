"""Our own Prometheus metrics: few, cheap, and free of ids and addresses."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

__all__ = ["Metrics"]

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counters of one process; `render` adds those of its sisters where a multiprocess folder is given."""

    def __init__(self, multiprocess_folder: str | None = None) -> None:
        self._folder = multiprocess_folder
        self._registry = CollectorRegistry()
        self._answered: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._predicted: dict[tuple[str, str, str], Counter] = {}
        registry = self._registry
        self.requests = Counter("holdfast_requests", "Answered requests.", ["endpoint", "status"], registry=registry)
        self.seconds = Histogram(
            "holdfast_request_seconds", "Time to answer.", ["endpoint"], buckets=_BUCKETS, registry=registry
        )
        self.predictions = Counter(
            "holdfast_predictions", "Predictions made.", ["kind", "release", "arm"], registry=registry
        )
        self.events = Counter("holdfast_events", "Events sent in.", ["outcome"], registry=registry)
        self.decisions = Counter("holdfast_decisions", "Decisions to be kept.", ["outcome"], registry=registry)
        self.refusals = Counter("holdfast_release_refusals", "Releases that were not loaded.", registry=registry)
        self.releases = Gauge(
            "holdfast_release_share",
            "Share of customers that a loaded release answers.",
            ["release"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answer. The label is the endpoint's name: a path would carry customer ids."""
        endpoint = getattr(scope.get("endpoint"), "__name__", "none")
        found = self._answered.get((endpoint, status))
        if found is None:
            found = self.requests.labels(endpoint, status), self.seconds.labels(endpoint)
            self._answered[endpoint, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def predicted(self, kind: str, release: str, arm: str) -> None:
        """Count one prediction."""
        found = self._predicted.get((kind, release, arm))
        if found is None:
            found = self._predicted[kind, release, arm] = self.predictions.labels(kind, release, arm)
        found.inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        if self._folder is None:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, path=self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
