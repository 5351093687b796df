"""Traces of requests by OpenTelemetry, sent by OTLP over HTTP; off unless an endpoint is given.

A request is one span, with parts named `history`, `score` and `rank`. It names the route as declared, the status, the
release and the arm, and nothing of the caller. How many requests are traced is said by OpenTelemetry's own variables
(`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`); a caller's `traceparent` goes before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from features.errors import ConfigurationError
from serving.request_context import RequestContext
from serving.structured_logs import method_of, route_of

__all__ = ["RequestTrace", "Tracing", "open_tracing"]

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
"""The module of the one package that the extra brings."""


class RequestTrace:
    """The span of one request, and its parts."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._inside = set_span_in_context(span)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time a part of the request; what it raises is not written down, since its words may quote what was sent."""
        part = self._tracer.start_span(name, self._inside)
        try:
            yield
        finally:
            part.end()

    def end(self, scope: Scope, context: RequestContext, status: int) -> None:
        """Say what answered, and send the span off."""
        method, route = method_of(scope), route_of(scope)
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "holdfast.request_id": context.request_id,
                "holdfast.release": context.release,
                "holdfast.arm": context.arm,
            }
        )
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Tracing:
    """Begins the trace of each request."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("holdfast")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, scope: Scope) -> RequestTrace:
        """The trace of a request, continued from the caller's if it sent one."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
        parent = self._propagator.extract({"traceparent": given[0]}) if given else None
        return RequestTrace(self._tracer, self._tracer.start_span("request", parent, SpanKind.SERVER))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def open_tracing(endpoint: str, processor: SpanProcessor | None = None) -> Tracing:
    """Traces sent to an OTLP endpoint, such as `http://collector:4318`; `processor` takes its place in tests.

    Raises:
        ConfigurationError: the packages that send traces are not installed.
    """
    try:
        exporter: Any = importlib.import_module(EXPORTER).OTLPSpanExporter
    except ImportError:
        raise ConfigurationError(
            "HOLDFAST_OTLP_ENDPOINT is set, and the packages that send traces are not installed; "
            "pip install 'holdfast[tracing]', or take the setting away"
        ) from None
    provider = TracerProvider(resource=Resource({"service.name": "holdfast"}), shutdown_on_exit=False)
    sending = processor or BatchSpanProcessor(exporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5))
    provider.add_span_processor(sending)
    return Tracing(provider)
