"""What is known of the request that is being answered, for its log line, its metrics and its trace; never who asked."""

from __future__ import annotations

import hashlib
import re
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CURRENT", "NONE", "SEVERAL", "RequestContext", "Trace", "loggable_id", "span"]

NONE = "none"
"""The release and the arm of a request that no release answered."""

SEVERAL = "several"
"""The release or the arm of a batch that more than one answered."""

_OURS = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_SPAN = nullcontext()


class Trace(Protocol):
    """The trace of one request, where traces are wanted."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """A part of the request that is timed while the block runs."""
        ...


@dataclass(slots=True, eq=False)
class RequestContext:
    """One request. `request_id` as it may be logged; `release` and `arm` once something answered."""

    request_id: str
    release: str = NONE
    arm: str = NONE
    trace: Trace | None = None

    def answered_by(self, release: str, arm: str) -> None:
        """Keep what answered; in a batch that may be several."""
        self.release = release if self.release in {NONE, release} else SEVERAL
        self.arm = arm if self.arm in {NONE, arm} else SEVERAL


CURRENT: ContextVar[RequestContext | None] = ContextVar("holdfast_request", default=None)
"""Of this task, and of the threads that it hands work to; None outside a request."""


def span(name: str) -> AbstractContextManager[None]:
    """Time a part of the current request; next to nothing where no traces are wanted."""
    context = CURRENT.get()
    return _NO_SPAN if context is None or context.trace is None else context.trace.span(name)


def loggable_id(request_id: bytes) -> str:
    """A request id as it may be logged: 32 hexadecimal digits or a UUID as they are, anything else as a hash.

    Callers choose request ids, and some would write a customer's id or address there.

    >>> loggable_id(b"0123456789abcdef0123456789abcdef")
    '0123456789abcdef0123456789abcdef'
    >>> loggable_id(b"ann@example.org")
    'sha256-438c4c7afe600cdf'
    """
    if _OURS.fullmatch(request_id):
        return request_id.decode()
    return f"sha256-{hashlib.sha256(request_id).hexdigest()[:16]}"
