"""The service of bench_cost: the real one, whose five parts can be switched off and on while it runs.

POST /bench/PARTS, names with commas between, switches; what is not named does nothing from then on. All ways run in one
process with one release and one store, so that what they cost can be taken from each other.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import service
from serving.access.gate import Access, Gate
from serving.access.scopes import CALLER, OPEN
from serving.metrics import Metrics
from serving.problems import Edge
from serving.releases import Routed, Served
from serving.rollouts.state import NO_EXPERIMENT
from serving.runtime import Runtime
from serving.structured_logs import AccessLog

__all__ = ["PARTS", "SWITCH", "HoldfastService"]

PARTS = ("authentication", "limits", "logging", "metrics", "assignment")
SWITCH = "/bench/"


class Everybody:
    """In the place of the gate: nobody is asked who they are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope[CALLER] = OPEN
        await self.app(scope, receive, send)


class Unlimited:
    """In the place of the limits: nothing is counted."""

    of_customers = False

    async def take(self, _caller: object) -> None:
        """Do nothing."""


class Uncounted:
    """In the place of the metrics of predictions; all else goes on, since it is no part of a prediction."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metrics, name)

    def predicted(self, *_: str) -> None:
        """Do nothing."""


class Unassigned(Served):
    """In the place of what is served: the champion for everybody, with no look at who it is."""

    def route(self, customer_key: str | None) -> Routed:  # noqa: ARG002 - whoever it is
        """The champion."""
        return Routed(self.champion, "champion", NO_EXPERIMENT)


class Switch:
    """All ways of one application, one of them in use."""

    def __init__(self) -> None:
        self._usual = list(service.app.user_middleware)
        self._stacks: dict[frozenset[str], ASGIApp] = {}
        self._parts = frozenset(PARTS)
        self._whole: tuple[Metrics, Access, Served] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or switch."""
        path = scope.get("path", "")
        if not path.startswith(SWITCH):
            await self._stack(self._parts)(scope, receive, send)
            return
        self._parts = frozenset(path.removeprefix(SWITCH).split(",")) & set(PARTS)
        self._turn(service.app.state.warming.runtime)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _stack(self, parts: frozenset[str]) -> ASGIApp:
        if parts not in self._stacks:
            service.app.user_middleware = [_layer(one, parts) for one in self._usual]
            self._stacks[parts] = service.app.build_middleware_stack()
        return self._stacks[parts]

    def _turn(self, runtime: Runtime) -> None:
        """Give the answers' runtime the parts that are wanted."""
        if self._whole is None:
            self._whole = runtime.metrics, runtime.access, runtime.served
        metrics, access, served = self._whole
        unlimited: Any = Unlimited()
        uncounted: Any = Uncounted(metrics)
        runtime.metrics = metrics if "metrics" in self._parts else uncounted
        without = Access(access.keys, unlimited)
        runtime.access = access if "limits" in self._parts else without
        fields = {field.name: getattr(served, field.name) for field in dataclasses.fields(served)}
        runtime.releases.served = served if "assignment" in self._parts else Unassigned(**fields)


def _layer(usual: Middleware, parts: frozenset[str]) -> Middleware:
    """A layer of the application without what is not wanted of it."""
    kind: Any = usual.cls
    if kind is Gate and "authentication" not in parts:
        return Middleware(Everybody)
    if kind is not Edge:
        return usual
    told: Any = usual.kwargs["observe"]
    observe = [one for one in told if ("logging" if isinstance(one, AccessLog) else "metrics") in parts]
    kept: Any = {**usual.kwargs, "observe": observe}
    return Middleware(Edge, **kept)


service.app.middleware_stack = Switch()

HoldfastService = service.HoldfastService
