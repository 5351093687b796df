"""The ASGI application: routes, one outermost layer, and a lifespan that opens everything beside the first answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from features.errors import HoldfastError
from serving.access.gate import Gate
from serving.admission import Admission, AdmissionLayer, ClosingLayer
from serving.api import churn, events, health, lists, openapi, recommendations, rollouts
from serving.leaving import Leaving
from serving.metrics import Metrics
from serving.problems import Edge, Problem
from serving.pulse import Pulse
from serving.runtime import Runtime
from serving.settings import ServiceSettings
from serving.structured_logs import AccessLog
from serving.tracing import Tracing, open_tracing
from serving.vital_signs import report_signs

__all__ = ["Warming", "create_app"]

log = logging.getLogger("holdfast")

REQUEST_TIMEOUT_S = 20.0
"""Below BentoML's own limit (service.py), so that a late answer is a problem in our shape."""

OPENED_LOOK_S = 0.05

SIGNS_EVERY_S = 5.0
"""How often the gauges are set."""


class Warming:
    """Opens the runtime beside the event loop, tries again where that fails, then keeps it in step with the store."""

    def __init__(
        self, open_runtime: Callable[[ServiceSettings], Runtime], metrics: Metrics, admission: Admission
    ) -> None:
        self.runtime: Runtime | None = None
        self.admission = admission
        self._open = open_runtime
        self._metrics = metrics
        self._looked = -SIGNS_EVERY_S
        self._failure: str | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def why_not_ready(self) -> str:
        """What the service is waiting for."""
        return self._failure or "the service is starting; try again in a moment"

    def ready(self) -> Runtime:
        """The running service's parts.

        Raises:
            Problem: 503 while the service is starting.
        """
        if self.runtime is None:
            raise Problem(503, self.why_not_ready(), code="warming", headers={"Retry-After": "2"})
        return self.runtime

    async def run(self, settings: ServiceSettings) -> None:
        """Until cancelled."""
        while True:
            try:
                if self.runtime is None:
                    self.runtime = await to_thread.run_sync(self._open, settings)
                else:
                    await to_thread.run_sync(self.runtime.follow)
                    self._refresh(self.runtime)
                await self._look(self.runtime)
                self._failure = None
            except HoldfastError as error:
                self._failure = str(error)
                log.warning("not in step: %s", error)
            except Exception:  # a loop that ends silently would serve an old release for ever
                self._failure = "the service could not start; the fault is in its log"
                log.exception("unforeseen fault while opening or polling")
            if self._failure is not None:
                self._metrics.out_of_step.inc()
            self.admission.report()
            await self._pause(settings.rollout_poll_ms / 1_000)

    def _refresh(self, runtime: Runtime) -> None:
        """Begin to follow what is scored beforehand, unless that is still under way; tell how it went the last time."""
        last = self._refreshing
        if last is None or last.done():
            self._refreshing = asyncio.create_task(to_thread.run_sync(runtime.refresh))
            if last is not None:
                last.result()

    async def settle(self) -> None:
        """Wait for what is still being scored."""
        if self._refreshing is not None:
            await asyncio.gather(self._refreshing, return_exceptions=True)
            self._refreshing = None

    async def opened(self) -> None:
        """Wait until the runtime is open, or it is known why it is not."""
        while self.runtime is None and self._failure is None:
            await asyncio.sleep(OPENED_LOOK_S)

    async def _look(self, runtime: Runtime) -> None:
        """How the service is doing, every few seconds."""
        if time.monotonic() - self._looked >= SIGNS_EVERY_S and not self.admission.leaving:
            self._looked = time.monotonic()
            await to_thread.run_sync(report_signs, runtime)

    async def _pause(self, seconds: float) -> None:
        """Wait; how much longer it took is how long the event loop kept others waiting."""
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        self._metrics.loop_lag.observe(max(0.0, time.perf_counter() - started - seconds))

    def close(self) -> None:
        """Close what was opened."""
        if self.runtime is not None:
            self.runtime.close()
            self.runtime = None


def create_app(
    read_settings: Callable[[], ServiceSettings],
    open_runtime: Callable[[ServiceSettings], Runtime],
    metrics: Metrics,
    *,
    new_id: Callable[[], str],
    swagger_assets: Path | None = None,
) -> Starlette:
    """The application; nothing is read or opened before its lifespan starts.

    Args:
        read_settings: called once, when the lifespan starts; what it raises stops the start.
        open_runtime: opens the runtime; called in a thread, again after a failure.
        metrics: where answers are counted.
        new_id: fresh names for requests.
        swagger_assets: folder with swagger-ui's files; without it /docs is a plain page.
    """
    admission = Admission(metrics)
    warming = Warming(open_runtime, metrics, admission)
    tracing: Tracing | None = None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        nonlocal tracing
        app.state.settings = read_settings()
        if not app.state.settings.asks_for_keys:
            log.warning(app.state.settings.openness)
        if app.state.settings.otlp_endpoint is not None:
            tracing = open_tracing(app.state.settings.otlp_endpoint)
        admission.limit(app.state.settings.max_wait_ms)
        Leaving(admission, metrics).listen(app.state.settings.drain_s)
        task = asyncio.create_task(warming.run(app.state.settings))
        if metrics.n_workers():  # others answer: nobody is to meet a worker that cannot yet
            await warming.opened()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await warming.settle()
            await to_thread.run_sync(warming.close)
            if tracing is not None:
                await to_thread.run_sync(tracing.close)

    pulse = Pulse()
    observe, routes = (metrics.observe, AccessLog(), pulse), _routes()
    layers = [
        Middleware(ClosingLayer, admission=admission),
        Middleware(AdmissionLayer, admission=admission, new_id=new_id),
        Middleware(Edge, observe=observe, new_id=new_id, timeout_s=REQUEST_TIMEOUT_S, tracing=lambda: tracing),
        Middleware(Gate, routes=routes, access=lambda: warming.ready().access),
    ]
    app = Starlette(routes=routes, middleware=layers, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.warming = warming
    app.state.metrics = metrics
    app.state.pulse = pulse
    app.state.swagger_assets = swagger_assets
    return app


async def front_door(_request: Request) -> Response:
    """GET /: the documentation."""
    return RedirectResponse("/docs")


def _routes() -> list[Route]:
    """Those that are asked for most come first."""
    return [
        Route("/v1/customers/{customer_id:path}/churn", churn.customer_churn, methods=["GET"]),
        Route("/v1/recommendations", recommendations.recommendations, methods=["POST", "GET"]),
        Route("/v1/rank", recommendations.rank, methods=["POST"]),
        Route("/v1/events", events.post_events, methods=["POST"]),
        Route("/v1/churn/score:batch", churn.score_batch, methods=["POST"]),
        Route("/v1/customers", lists.customers, methods=["GET"]),
        Route("/v1/scores/changes", lists.score_changes, methods=["GET"]),
        Route("/v1/warnings", lists.warnings, methods=["GET"]),
        Route("/v1/items/{item_id:path}/similar", recommendations.similar_items, methods=["POST", "GET"]),
        Route("/v1/releases", rollouts.releases, methods=["GET"]),
        Route("/v1/rollouts", rollouts.rollouts, methods=["GET"]),
        Route("/v1/rollouts", rollouts.start, methods=["POST"]),
        Route("/v1/rollouts/served", rollouts.served, methods=["GET"]),
        *(Route(f"/v1/rollouts/current:{name}", change, methods=["POST"]) for name, change in rollouts.CHANGES.items()),
        Route("/livez", health.livez, methods=["GET"]),
        Route("/readyz", health.readyz, methods=["GET"]),
        Route("/metrics", health.metrics, methods=["GET"]),
        Route("/openapi.json", openapi.openapi_json, methods=["GET"]),
        Route("/docs", openapi.docs, methods=["GET"]),
        Route("/docs/{asset}", openapi.docs_asset, methods=["GET"]),
        Route("/", front_door, methods=["GET"]),
    ]
