"""Whether a process still answers: it does not where one request after the other ends in its own time limit.

A process whose threads all hang still turns its event loop, and would call itself alive for ever. A store that is down
or a disk that is full is no such thing: those refusals come in time, and a new process would meet the same.
"""

from __future__ import annotations

from starlette.types import Scope

from serving.problems import BODY_READ
from serving.request_context import RequestContext

__all__ = ["Pulse"]

_MOST_TIMED_OUT = 5
_TIMED_OUT = 504


class Pulse:
    """Observes every answer; used on the event loop alone."""

    def __init__(self) -> None:
        self._n_timed_out = 0

    @property
    def stuck(self) -> bool:
        """Whether the last five requests of the interface timed out, and none was answered among them."""
        return self._n_timed_out >= _MOST_TIMED_OUT

    def __call__(self, scope: Scope, _context: RequestContext, status: int, _seconds: float) -> None:
        """One request ended; those whose caller did not send the body in time say nothing of this process."""
        if not scope["path"].startswith("/v1/"):
            return
        if status != _TIMED_OUT:
            self._n_timed_out = 0
        elif scope["method"] == "GET" or BODY_READ in scope:
            self._n_timed_out += 1
