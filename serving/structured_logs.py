"""Logs of a running service: one JSON object a line, or the same as text, and one line for each request.

No line carries a customer's or an item's id, an address as it was called, a body or a key. Of an exception the kinds
and the places in the code are logged and never its words, since those may quote what was sent; of other libraries'
messages the first line alone.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import orjson
from starlette.types import Scope

from serving.request_context import CURRENT, NONE, RequestContext

__all__ = ["FORMATS", "AccessLog", "JsonLines", "TextLines", "configure_logs", "method_of", "route_of"]

FORMATS = ("json", "text")

_OWN = "holdfast"
_TAKEN_OVER = ("bentoml", "uvicorn", "uvicorn.error", "circus")
_FOREIGN_CHARACTERS = 200
_PLACES = 20
_TOGETHER, _TOGETHER_S = 10, 0.1
"""Lines of requests that are written in one piece, below the 4,096 bytes that a pipe takes whole, and their wait."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


_Line = dict[str, Any]


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; request_id inside a request; fields of the access line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self.worded(_line(record))

    def worded(self, line: _Line) -> str:
        """The same of what is to be told."""
        return orjson.dumps(line).decode()


class TextLines(logging.Formatter):
    """The same for people: time, level, logger, message, then the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it where an exception came from."""
        return self.worded(_line(record))

    def worded(self, line: _Line) -> str:
        """The same of what is to be told."""
        fault = line.pop("exception", None)
        said = [str(line.pop(name)) for name in ("time", "level", "logger", "message")]
        text = " ".join(said + [f"{name}={value}" for name, value in line.items()])
        if fault is not None:
            text += "".join(f"\n  {place}" for place in fault["at"]) + f"\n  {' < '.join(fault['kinds'])}"
        return text


def _line(record: logging.LogRecord) -> _Line:
    own = record.name.startswith(_OWN)
    line: _Line = {
        "time": _instant(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage() if own else _first_line(record),
    }
    if (context := CURRENT.get()) is not None:
        line["request_id"] = context.request_id
    if record.exc_info is not None and record.exc_info[1] is not None:
        line["exception"] = _fault(record.exc_info[1])
    return line


def _instant(seconds: float) -> str:
    whole = int(seconds)
    return f"{_second(whole)}.{int(1e3 * (seconds - whole)):03d}+00:00"


@lru_cache(4)
def _second(whole: int) -> str:
    """Worded once for all lines of a second."""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


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


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines whole. Those of requests go together, a few at a time or a moment later; any other goes at once."""

    def __init__(self, stream: TextIO, form: JsonLines | TextLines, clock: Callable[[], float]) -> None:
        super().__init__(stream)
        self.clock = clock
        self.setFormatter(form)
        self._form = form
        self._waiting: list[str] = []

    def add(self, line: _Line) -> None:
        """The line of a request; to be called from the event loop alone."""
        words = self._form.worded(line)
        self.acquire()
        try:
            self._waiting.append(words)
            n_waiting = len(self._waiting)
        finally:
            self.release()
        if n_waiting == 1:
            asyncio.get_running_loop().call_later(_TOGETHER_S, self.flush)
        elif n_waiting >= _TOGETHER:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write what waits, then this line."""
        try:
            self._waiting.append(self.format(record))
        except Exception:  # as the standard's own handler: what cannot be worded must not fail an answer
            self.handleError(record)
        self.flush()

    def flush(self) -> None:
        """Write what waits: in one piece, which a pipe that several processes write to does not tear."""
        self.acquire()
        try:
            together, self._waiting = self._waiting, []
            if together:
                self.stream.write("\n".join(together) + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # full or closed: lines that cannot be written must not fail an answer
            pass
        finally:
            self.release()


class AccessLog:
    """One line a request: method, route as it is declared, status, time, and what answered."""

    def __call__(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        """Write the line, unless access lines are switched off."""
        if _access is None:
            return
        line: _Line = {
            "time": _instant(_access.clock()),
            "level": "INFO",
            "logger": "holdfast.access",
            "message": "request",
            "request_id": context.request_id,
            "method": method_of(scope),
            "route": route_of(scope),
            "status": status,
            "duration_ms": round(seconds * 1e3, 3),
        }
        if context.release != NONE:
            line["release"], line["arm"] = context.release, context.arm
        _access.add(line)


_access: _Lines | None = None
"""Where lines of requests go to; nowhere until `configure_logs` says so."""


def method_of(scope: Scope) -> str:
    """The method, or `other` for one that HTTP does not have: callers can write anything there."""
    return str(scope["method"]) if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The route as it is declared, without what stands in its places; `none` for an address that has no route."""
    route = scope.get("route")
    return NONE if route is None else str(route.path)


def configure_logs(
    form: str | None, *, access: bool, stream: TextIO | None = None, clock: Callable[[], float] = time.time
) -> None:
    """Send every log line of this process to one stream in one form; libraries' own handlers are taken away.

    Args:
        form: one of `FORMATS`; None for text on a terminal and JSON elsewhere.
        access: whether each request gets a line.
        stream: where to; standard output when None.
        clock: what lines of requests tell the time by, seconds since 1970; others go by that of the standard's records.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # told in no line, asked for each
    stream = sys.stdout if stream is None else stream
    chosen = form or ("text" if stream.isatty() else "json")
    handler = _Lines(stream, JsonLines() if chosen == "json" else TextLines(), clock)
    global _access  # noqa: PLW0603 - of the process, as the standard's handlers are
    _access = handler if access else None
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
