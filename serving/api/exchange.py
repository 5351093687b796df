"""What every endpoint does alike: find the runtime, read a bounded JSON body, answer in JSON."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serving.languages import Language, chosen_language
from serving.problems import Problem
from serving.release import Release
from serving.runtime import Runtime

__all__ = ["body_of", "in_language", "json_answer", "language_of", "prediction", "ready"]

B = TypeVar("B", bound=BaseModel)


def ready(request: Request) -> Runtime:
    """The running service's parts.

    Raises:
        Problem: 503 while the service is starting.
    """
    warming = request.app.state.warming
    runtime: Runtime | None = warming.runtime
    if runtime is None:
        raise Problem(503, warming.why_not_ready(), code="warming", headers={"Retry-After": "2"})
    return runtime


async def body_of(request: Request, kind: type[B]) -> B:
    """The body as a model. Its size is counted as it arrives, whatever its length header says.

    Raises:
        Problem: 415 not JSON, 413 too large, 400 not readable.
        ValidationError: it does not fit the model.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the body as application/json; nothing else is taken")
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
    try:
        content = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError:
        raise Problem(400, "the body is not JSON; check quotes, commas and the encoding (UTF-8)") from None
    return kind.model_validate(content)


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
