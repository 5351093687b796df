"""Logs of a running service: one JSON object a line, or the same as text, and one line for each request.

No line carries a customer's or an item's id, an address as it was called, a body or a key. Of an exception the kinds
and the places in the code are logged and never its words, since those may quote what was sent; of other libraries'
messages the first line alone.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import orjson
from starlette.types import Scope

from serving.request_context import CURRENT, NONE, RequestContext

__all__ = ["FORMATS", "AccessLog", "JsonLines", "TextLines", "configure_logs", "method_of", "route_of"]

FORMATS = ("json", "text")

_OWN = "holdfast"
_ACCESS = "holdfast.access"
_TAKEN_OVER = ("bentoml", "uvicorn", "uvicorn.error", "circus")
_FOREIGN_CHARACTERS = 200
_PLACES = 20
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; request_id inside a request; fields of the access line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return orjson.dumps(_line(record)).decode()


class TextLines(logging.Formatter):
    """The same for people: time, level, logger, message, then the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it where an exception came from."""
        line = _line(record)
        fault = line.pop("exception", None)
        said = [str(line.pop(name)) for name in ("time", "level", "logger", "message")]
        text = " ".join(said + [f"{name}={value}" for name, value in line.items()])
        if fault is not None:
            text += "".join(f"\n  {place}" for place in fault["at"]) + f"\n  {' < '.join(fault['kinds'])}"
        return text


def _line(record: logging.LogRecord) -> dict[str, Any]:
    own = record.name.startswith(_OWN)
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage() if own else _first_line(record),
    }
    fields: dict[str, Any] | None = getattr(record, "fields", None)
    if fields is not None:
        line |= fields
    elif (context := CURRENT.get()) is not None:
        line["request_id"] = context.request_id
    if record.exc_info is not None and record.exc_info[1] is not None:
        line["exception"] = _fault(record.exc_info[1])
    return line


def _first_line(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().partition("\n")[0][:_FOREIGN_CHARACTERS]
    except (TypeError, ValueError):  # words that do not fit their values must not lose the line
        return str(record.msg).partition("\n")[0][:_FOREIGN_CHARACTERS]


def _fault(error: BaseException) -> dict[str, Any]:
    """The kinds of an exception and of what caused it, and where in the code it was raised."""
    kinds, places, seen = [], [], set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        kinds.append(type(cause).__name__)
        for frame in traceback.extract_tb(cause.__traceback__)[-_PLACES:]:
            where = "/".join(Path(frame.filename).parts[-2:])
            places.append(f"{where}:{frame.lineno} {frame.name}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return {"kinds": kinds, "at": places[:_PLACES]}


class AccessLog:
    """One line a request: method, route as it is declared, status, time, and what answered."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(_ACCESS)

    def __call__(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        """Write the line, unless access lines are switched off."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        fields: dict[str, Any] = {
            "request_id": context.request_id,
            "method": method_of(scope),
            "route": route_of(scope),
            "status": status,
            "duration_ms": round(seconds * 1e3, 3),
        }
        if context.release != NONE:
            fields |= {"release": context.release, "arm": context.arm}
        self._logger.handle(_Answered(fields))


class _Answered(logging.LogRecord):
    """The record of one request: without its place in the code, its thread and the like, which cost most of a line."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__ = _ALIKE | {"created": time.time(), "fields": fields}


_ALIKE = vars(logging.LogRecord(_ACCESS, logging.INFO, "", 0, "request", None, None))


class _Lines(logging.StreamHandler[TextIO]):
    """Writes a line and its end at once, and hands it over."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()
        except Exception:  # as the standard's own handler: what cannot be logged must not fail an answer
            self.handleError(record)


def method_of(scope: Scope) -> str:
    """The method, or `other` for one that HTTP does not have: callers can write anything there."""
    return str(scope["method"]) if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The route as it is declared, without what stands in its places; `none` for an address that has no route."""
    route = scope.get("route")
    return NONE if route is None else str(route.path)


def configure_logs(form: str | None, *, access: bool, stream: TextIO | None = None) -> None:
    """Send every log line of this process to one stream in one form; libraries' own handlers are taken away.

    Args:
        form: one of `FORMATS`; None for text on a terminal and JSON elsewhere.
        access: whether each request gets a line.
        stream: where to; standard output when None.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # told in no line, asked for each
    stream = sys.stdout if stream is None else stream
    chosen = form or ("text" if stream.isatty() else "json")
    handler = _Lines(stream)
    handler.setFormatter(JsonLines() if chosen == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _TAKEN_OVER:
        taken = logging.getLogger(name)
        taken.handlers.clear()
        taken.propagate = True
    silent = logging.getLogger("uvicorn.access")  # it words a line for each request as long as anybody might read it
    silent.handlers.clear()
    silent.propagate = False
    logging.getLogger(_OWN).setLevel(logging.INFO)
    logging.getLogger(_ACCESS).setLevel(logging.INFO if access else logging.WARNING)
