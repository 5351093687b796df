"""Admission: who would wait too long is turned away (429), so that those let in are answered in time.

Handlers keep the event loop busy, so waiting is not seen inside them: requests wait in sockets and in the loop's own
queue. The loop goes in turns: it reads what has come, then runs it. Here one request a turn is let in, so that its
answer leaves before the next one's work begins; the others wait in a line. Each came, at the earliest, when the turn
before its own began: so long, and no longer, it had waited unseen. Whoever has waited beyond the limit when the turn
comes is turned away. As long as the line is emptied now and then nobody is: a burst is no overload. Once somebody was
turned away the limit holds for a while.
Source: Nichols, Jacobson, "Controlling Queue Delay" (ACM Queue 10(5), 2012); Maurer, "Fail at Scale" (ACM Queue 13(8),
2015) for what tells a burst from a standing queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics
from serving.problems import PROBLEM_TYPE, Problem, echoed

__all__ = ["Admission", "AdmissionLayer", "ClosingLayer", "Line"]

log = logging.getLogger("holdfast.http")

PATIENCE_S, PATIENCE_TURNS = 0.1, 8
"""How long, and for how many turns, there may always be somebody in the line before it counts as overload.

One long turn is none: the process was held up by something else.
"""

STRICT_S = 1.0
"""How long the limit holds after somebody was turned away."""

MOST_AT_ONCE = 512
"""Requests that wait in the line or, once let in, for something: a commit, a thread, the rest of their body."""

_SMOOTHING = 0.1

_NEVER_SHED = frozenset({"/livez", "/readyz", "/metrics"})
_OPERATING = "/v1/rollouts"
"""Who takes a release back must get through most of all while the service is in trouble."""

_OVERLOADED = Problem(429, "more is asked than can be answered in time; ask again in a moment", code="overloaded")
_HEADERS = [(b"content-type", PROBLEM_TYPE.encode()), (b"retry-after", b"1")]
_CLOSE = (b"connection", b"close")


class _Waiting(NamedTuple):
    came: float
    turn: asyncio.Future[bool]


class Line:
    """The requests that wait for a turn of the event loop; used on it alone. Times are seconds of a rising clock."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._emptied, self._n_turns = 0.0, 0  # when nobody waited, last, and turns since then
        self._strict_until = 0.0
        self._turn_s = 0.0
        self._began = self._earliest = 0.0  # of this turn; when those who begin in it came, at the earliest
        self._taken = False  # one was let in this turn
        self._asked = False  # somebody came in this turn
        self._turning = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def enter(self) -> bool:
        """Wait for a turn; False where it came too late."""
        self._asked = True
        if not self._turning:
            self._turning = True
            self._began = self._earliest = now = self._clock()
            if now - self._emptied > PATIENCE_S:
                self._emptied = now
            asyncio.get_running_loop().call_soon(self._turn)
        if not self._taken and not self._waiting:
            self._taken = True
            return True
        if self._waiting and self._began < self._strict_until and self._wait_s() > self.limit_s:
            self._strict_until = self._began + STRICT_S
            return False  # now rather than later
        one = _Waiting(self._earliest, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        return await one.turn

    def _wait_s(self) -> float:
        """How long the next one in the line would wait, as turns have lasted of late."""
        return (len(self._waiting) + 1) * self._turn_s

    def _turn(self) -> None:
        """Runs once a turn, before all that came in the turn before."""
        now = self._clock()
        self._turn_s += _SMOOTHING * (now - self._began - self._turn_s)
        self._earliest, self._began = self._began, now
        self._taken = False
        self._n_turns += 1
        if now - self._emptied > PATIENCE_S and self._n_turns >= PATIENCE_TURNS:
            self._strict_until = now + STRICT_S
        while self._waiting and not self._taken:
            self._taken = self._let_in(self._waiting.popleft(), now)
        if not self._waiting:
            self._emptied, self._n_turns = now, 0
        self._turning = self._asked or self._taken or bool(self._waiting)
        self._asked = False
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)

    def _let_in(self, one: _Waiting, now: float) -> bool:
        if one.turn.done():  # its caller has gone
            return False
        let_in = now >= self._strict_until or now - one.came <= self.limit_s
        one.turn.set_result(let_in)
        if not let_in:
            self._strict_until = now + STRICT_S
        return let_in


class Admission:
    """What the requests of one process are let in by.

    in_flight: requests that were let in and are not answered. leaving: set once the service is told to stop: answers
    then ask callers to close their connections, which lead elsewhere when they are opened again.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.in_flight = 0
        self.leaving = False
        self._line: Line | None = None
        self._shed = {reason: metrics.shed.labels(reason) for reason in ("waited", "too_many")}
        self._n_shed = 0

    def limit(self, max_wait_ms: int) -> None:
        """Turn away from now on what would wait longer; nothing is before."""
        self._line = Line(max_wait_ms / 1_000)

    async def admits(self, path: str) -> bool:
        """Whether a request may go on, told when its turn has come."""
        line = self._line
        if line is None or path in _NEVER_SHED or path.startswith(_OPERATING):
            return True
        if self.in_flight + len(line) >= MOST_AT_ONCE:
            return self._turned_away("too_many")
        return await line.enter() or self._turned_away("waited")

    def report(self) -> None:
        """Tell of requests turned away since the last report: a line for each would cost more than the answer."""
        if self._n_shed:
            log.warning("overload: %d requests were turned away", self._n_shed)
            self._n_shed = 0

    def _turned_away(self, reason: str) -> bool:
        self._n_shed += 1
        self._shed[reason].inc()
        return False


class AdmissionLayer:
    """Outermost, since turning away must cost next to nothing: requests pass it before any work is done for them."""

    def __init__(self, app: ASGIApp, *, admission: Admission, new_id: Callable[[], str]) -> None:
        self.app = app
        self.admission = admission
        self.new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not await self.admission.admits(scope["path"]):
            await self._turn_away(scope, send)
            return
        self.admission.in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.admission.in_flight -= 1

    async def _turn_away(self, scope: Scope, send: Send) -> None:
        named = echoed(scope, self.new_id)
        body = orjson.dumps(_OVERLOADED.to_dict(named[0][1].decode()))
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body)), *named]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class ClosingLayer:
    """Has every answer, of whatever status, close its connection once the service is leaving."""

    def __init__(self, app: ASGIApp, *, admission: Admission) -> None:
        self.app = app
        self.admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if self.admission.leaving and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _CLOSE]
            await send(message)

        await self.app(scope, receive, told)
