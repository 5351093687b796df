"""Errors over HTTP: one shape, application/problem+json (RFC 9457), made in one place.

A problem never carries a submitted value, a customer id or a traceback. `Edge` is the one middleware: it gives every
answer its request id, turns exceptions into problems, and replaces error bodies that others wrote (Starlette's plain
text, BentoML's lists and dictionaries).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson
from pydantic import ValidationError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import DataError, HoldfastError, StorageFullError, UnavailableError
from serving.request_context import CURRENT, RequestContext, loggable_id
from serving.tracing import Tracing

__all__ = ["BODY_READ", "PROBLEM_TYPE", "Edge", "FieldError", "Problem", "echoed", "field_errors", "problem_of"]

PROBLEM_TYPE = "application/problem+json"
log = logging.getLogger("holdfast.http")

_TITLES = {
    400: ("syntax", "The request could not be read"),
    401: ("unauthenticated", "Nobody is known by what was shown"),
    403: ("forbidden", "The caller may not do this"),
    404: ("not_found", "There is no such thing"),
    405: ("method_not_allowed", "This address does not take this method"),
    409: ("conflict", "The request contradicts the state of things"),
    410: ("gone", "What this points into is no longer kept"),
    413: ("too_large", "The body is too large"),
    415: ("unsupported_media_type", "Bodies of this content type are not taken"),
    422: ("invalid", "The request was understood and cannot be followed"),
    429: ("too_many_requests", "Too many requests"),
    500: ("internal", "The service failed; the fault is logged under the request id"),
    503: ("unavailable", "The service cannot answer just now"),
    504: ("timeout", "The answer took too long"),
    507: ("storage_full", "There is no room to keep this"),
}
_CODES = {
    "missing": ("missing", "this field is required"),
    "extra_forbidden": ("unknown_field", "there is no such field here"),
    "string_too_long": ("too_long", None),
    "string_too_short": ("too_short", None),
    "too_long": ("too_many", None),
    "too_short": ("too_few", None),
    "string_pattern_mismatch": ("pattern", None),
    "literal_error": ("unknown_value", None),
    "greater_than_equal": ("out_of_range", None),
    "less_than_equal": ("out_of_range", None),
    "greater_than": ("out_of_range", None),
    "less_than": ("out_of_range", None),
}
_GONE = 499  # counted as such, never sent: nobody waited for the answer
BODY_READ = "holdfast.body_read"
"""Stands in the scope of a request whose body has come whole."""

_SHORT_DIGITS = 6  # of a length below a million bytes
_LINGER_S, _LINGER_BYTES = 0.5, 1 << 26
_SAFE_NAME = re.compile(r"[a-z][a-z_]{0,39}\Z")


@dataclass(frozen=True)
class FieldError:
    """One fault of a body: a JSON pointer to the field, a stable code, and what to do about it."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """An answer that is not a success. `code` is stable; `detail` says what to do and echoes nothing."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code or _TITLES[status][0]
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def to_dict(self, request_id: str | None = None) -> dict[str, object]:
        """The members of RFC 9457, and ours; absent rather than null. `instance` is never the path: ids stand there."""
        body: dict[str, object] = {
            "type": f"urn:holdfast:problem:{self.code}",
            "title": _TITLES[self.status][1],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = [{"pointer": e.pointer, "code": e.code, "detail": e.detail} for e in self.errors]
        if request_id is not None:
            body["instance"] = f"urn:holdfast:request:{request_id}"
            body["request_id"] = request_id
        return body


def problem_of(error: Exception) -> Problem:
    """The problem that an exception becomes; anything unforeseen is a 500 that says nothing of its cause."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationError):
        return Problem(422, "the request does not fit; every fault is listed in errors", errors=field_errors(error))
    if isinstance(error, UnavailableError | DataError):
        return _refusal(error)
    if isinstance(error, ClientDisconnect):  # nobody reads this answer; it keeps the caller's fault out of our 500s
        return Problem(400, "the body ended early; send all of it")
    if isinstance(error, TimeoutError):
        return Problem(504, "the answer took too long and was given up; try again", headers={"Retry-After": "1"})
    if not isinstance(error, HoldfastError):
        log.error("unforeseen %s", type(error).__name__, exc_info=error)
    return Problem(500, "the fault is on our side; quote the request id when you report it")


def _refusal(error: UnavailableError | DataError) -> Problem:
    if isinstance(error, StorageFullError):
        return Problem(507, str(error), code=error.code, headers={"Retry-After": "10"})
    if isinstance(error, UnavailableError):
        return Problem(503, str(error), code=error.code, headers={"Retry-After": "1"})
    return Problem(422, str(error), code=error.code)


def field_errors(error: ValidationError, prefix: str = "") -> tuple[FieldError, ...]:
    """All faults of a body at once. Messages name limits and choices, never the value that was sent."""
    found = []
    for fault in error.errors(include_url=False, include_input=False):
        given = fault.get("ctx", {})
        if fault["type"] == "holdfast":
            code, detail = str(given["code"]), fault["msg"]
        else:
            code, wanted = _CODES.get(fault["type"], ("wrong_type", None))
            detail = wanted or fault["msg"]
        found.append(FieldError(prefix + _pointer(fault["loc"], fault["type"]), code, detail))
    return tuple(found)


def _pointer(where: tuple[int | str, ...], kind: str) -> str:
    """A JSON pointer; a field name that the sender made up is shown only if it looks like a field name."""
    parts = list(where)
    if kind == "extra_forbidden" and not _SAFE_NAME.match(str(parts[-1])):
        parts = parts[:-1]
    return "".join(f"/{part}" for part in parts)


class Edge:
    """The outermost layer: request id, time limit, problems, and one observation for metrics, log line and trace.

    `tracing` is asked at each request, since it is opened after the application was made; None where none is wanted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        observe: Sequence[Callable[[Scope, RequestContext, int, float], None]],
        new_id: Callable[[], str],
        timeout_s: float,
        tracing: Callable[[], Tracing | None] = lambda: None,
    ) -> None:
        self.app = app
        self.observe = observe
        self.new_id = new_id
        self.timeout_s = timeout_s
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        named, tracing = echoed(scope, self.new_id), self.tracing()
        exchange = _Exchange(scope, send, named)
        trace = None if tracing is None else tracing.begin(scope)
        context = RequestContext(loggable_id(named[0][1]), trace=trace)
        before = CURRENT.set(context)
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.app(scope, receive, exchange.send)
        except Exception as error:  # the one place where everything becomes a problem
            await exchange.fail(problem_of(error), receive)
        finally:
            CURRENT.reset(before)
            status = exchange.status or _GONE
            for told in self.observe:
                told(scope, context, status, time.perf_counter() - started)
            if trace is not None:
                trace.end(scope, context, status)


def echoed(scope: Scope, new_id: Callable[[], str]) -> list[tuple[bytes, bytes]]:
    """The headers that every answer carries: the request id first, and the trace if one came."""
    request_id, trace = None, []
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= 128 and value.isascii() and value.decode().isprintable():
            request_id = bytes(value)
        elif name == b"traceparent":
            trace.append((name, value))
    return [(b"x-request-id", request_id or new_id().encode()), *trace]


class _Exchange:
    """One answer on its way out: adds the echoed headers, and swaps a foreign error body for a problem."""

    def __init__(self, scope: Scope, send: Send, echoed: list[tuple[bytes, bytes]]) -> None:
        self.scope = scope
        self.forward = send
        self.echoed = echoed
        self.status = 0
        self.foreign = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400:  # our own problems are raised, never sent: this body is somebody else's
                self.foreign = True
                await self._replace(MutableHeaders(raw=message["headers"]))
                return
            message["headers"].extend(self.echoed)
        if not self.foreign:
            await self.forward(message)

    async def _replace(self, kept: MutableHeaders) -> None:
        status = self.status if self.status in _TITLES else 500 if self.status >= 500 else 400
        extra = {name: kept[name] for name in ("allow", "retry-after") if name in kept}
        details = {404: "there is nothing at this address; see /docs", 405: "see the Allow header for what it takes"}
        self.status = 0
        await self.fail(Problem(status, details.get(status, _TITLES[status][1].lower()), headers=extra))

    async def fail(self, problem: Problem, receive: Receive | None = None) -> None:
        if self.status:  # the answer is already under way: it can only be broken off
            return
        self.status = problem.status
        body = orjson.dumps(problem.to_dict(self.echoed[0][1].decode()))
        headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        headers += self.echoed
        is_unread = receive is not None and _is_unread(self.scope)
        if is_unread:
            headers.append((b"connection", b"close"))
        await self.forward({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.forward({"type": "http.response.body", "body": body, "more_body": is_unread})
        if receive is not None and is_unread:
            await _let_finish(receive)
            await self.forward({"type": "http.response.body", "body": b""})


def _is_unread(scope: Scope) -> bool:
    """Whether a long body may still be coming after its refusal: the connection is not kept for the sake of it."""
    if BODY_READ in scope:
        return False
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and len(value) > _SHORT_DIGITS)
        for name, value in scope["headers"]
    )


async def _let_finish(receive: Receive) -> None:
    """Throw away what comes, for a moment: closed at once, the connection is reset, and the answer lost with it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            n_bytes, more = 0, True
            while more and n_bytes < _LINGER_BYTES:
                message = await receive()
                more = message.get("more_body", False)
                n_bytes += len(message.get("body", b""))
