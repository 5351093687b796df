"""What every endpoint does alike: find the runtime, read a bounded JSON body, answer in JSON."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serving.access.scopes import CALLER, Caller
from serving.languages import Language, chosen_language
from serving.problems import BODY_READ, Problem
from serving.release import Release
from serving.runtime import Runtime

__all__ = [
    "about",
    "body_of",
    "bytes_of",
    "caller_of",
    "in_language",
    "json_answer",
    "language_of",
    "parsed",
    "prediction",
    "ready",
]

B = TypeVar("B", bound=BaseModel)

_MOST_VALUES = 100_000
"""In one body, of any depth; the largest that fits a call has a tenth of them."""

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def ready(request: Request) -> Runtime:
    """The running service's parts.

    Raises:
        Problem: 503 while the service is starting.
    """
    runtime: Runtime = request.app.state.warming.ready()
    return runtime


async def body_of(request: Request, kind: type[B]) -> B:
    """The body as a model.

    Raises:
        Problem: 415 not plain JSON, 413 too large, 400 not readable.
        ValidationError: it does not fit the model.
    """
    return parsed(await bytes_of(request), kind)


async def bytes_of(request: Request) -> bytes:
    """The bytes of a JSON body. Its size is counted as it arrives, whatever its length header says.

    Raises:
        Problem: 415 another type than JSON, or packed; 413 too large.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the body as application/json; nothing else is taken")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "send the body as it is; nothing is unpacked here")
    limit: int = request.app.state.settings.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise Problem(413, f"the body is larger than {limit} bytes; send less at once")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Problem(413, f"the body is larger than {limit} bytes; send less at once")
        parts.append(part)
    request.scope[BODY_READ] = True
    return b"".join(parts)


def parsed(data: bytes, kind: type[B]) -> B:
    """A body as a model. How many values it holds is counted before any of them is made; its depth ends at 1,024.

    Raises:
        Problem: 413 too many values, 400 not JSON: broken, too deep, NaN, half a surrogate pair.
        ValidationError: it does not fit the model.
    """
    if _n_values(data) > _MOST_VALUES and _n_values(_STRINGS.sub(b"", data)) > _MOST_VALUES:
        raise Problem(413, f"the body holds more than {_MOST_VALUES} values; send less at once")
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Problem(400, "the body is not JSON; check quotes, commas and the encoding (UTF-8)") from None
    return kind.model_validate(content)


def _n_values(data: bytes) -> int:
    """At least as many as the JSON holds; more where commas and brackets stand in texts."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def caller_of(request: Request) -> Caller:
    """Who sent the request, as the gate recognised."""
    caller: Caller = request.scope[CALLER]
    return caller


async def about(request: Request, runtime: Runtime, customer_id: str | None, session_id: str | None = None) -> None:
    """Let a call about a customer or a visitor through.

    Raises:
        Problem: 403 the caller may not speak for this customer, 429 there were too many calls about them.
    """
    if not caller_of(request).may_name(customer_id):
        raise Problem(403, "you may not speak for this customer; see docs/security.md on keys for pages")
    limits = runtime.access.limits
    if limits.of_customers and customer_id is not None:
        await limits.take_customer(runtime.pseudonyms.of(customer_id))
    elif limits.of_customers and session_id is not None:
        await limits.take_customer(runtime.pseudonyms.of_anonymous(session_id))


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON, written once; a NaN would become null, so none is ever put in."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def prediction(content: dict[str, Any], release: Release, headers: dict[str, str] | None = None) -> Response:
    """A prediction names the release that made it."""
    return json_answer(content, headers={"X-Release": release.name, **(headers or {})})


def language_of(request: Request) -> Language:
    """The language that the request asks for, however many lines the header has."""
    return chosen_language(", ".join(request.headers.getlist("accept-language")))


def in_language(language: Language) -> dict[str, str]:
    """Headers of an answer whose texts were chosen by `Accept-Language`, so that caches keep them apart."""
    return {"Content-Language": language, "Vary": "Accept-Language"}
