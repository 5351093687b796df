"""Admission: who would wait too long is turned away (429), so that those let in are answered in time.

Handlers keep the event loop busy, so waiting is not seen inside them: requests wait in sockets and in the loop's own
queue. The loop goes in turns: it reads what has come, then runs it. Here one request a turn is let in, so that its
answer leaves before the next one's work begins; the others wait in a line. Each came, at the earliest, when the turn
before its own began: so long, and no longer, it had waited unseen.

The line goes by age as long as waiting stays within the limit: bursts, and callers that take turns, are worked off.
Where the oldest waits longer all the time it is overload. Then the newest goes first, since who comes now can still
be answered as quickly as ever, and who was passed over twice is turned away. It ends once there is time for all: what
would still have to be done, had everybody been let in, is counted for that.
Source: Maurer, "Fail at Scale" (ACM Queue 13(8), 2015) for the two orders; Nichols, Jacobson, "Controlling Queue
Delay" (ACM Queue 10(5), 2012) for what tells a burst from a standing queue; Gibbens, Kelly, "Resource pricing and the
evolution of congestion control" (Automatica 35, 1999) for the queue that is counted and not there.
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
"""How long, and for how many turns, the oldest must have waited beyond the limit before it counts as overload.

One long turn is none: the process was held up by something else.
"""

MOST_OWED_S = 0.25
"""The most work that is counted as still to be done: overload ends so soon after the last request, and no later."""

MOST_AT_ONCE = 512
"""Requests that wait in the line or, once let in, for something: a commit, a thread, the rest of their body."""

_SMOOTHING = 0.1
_TURNS_TO_READ = 4
"""From one let in under overload to the next: its work, refusals, reading who came meanwhile, and their joining."""

_NEVER_SHED = frozenset({"/livez", "/readyz", "/metrics"})
_OPERATING = "/v1/rollouts"
"""Who takes a release back must get through most of all while the service is in trouble."""

_OVERLOADED = Problem(429, "more is asked than can be answered in time; ask again in a moment", code="overloaded")
_HEADERS = [(b"content-type", PROBLEM_TYPE.encode()), (b"retry-after", b"1")]
_CLOSE = (b"connection", b"close")


class _Waiting(NamedTuple):
    came: float
    n_turn: int
    let_in: asyncio.Future[bool]


class Line:
    """The requests that wait for a turn of the event loop; used on it alone. Times are seconds of a rising clock."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.limit_s = limit_s
        self.overloaded = False
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()  # who came first stands first
        self._turning = False
        self._n_turn = 0
        self._began = self._earliest = 0.0  # of this turn; when those who begin in it came, at the earliest
        self._taken = False  # one was let in this turn
        self._asked = False  # somebody came in this turn
        self._let_in = 0, 0  # in which turns the newest was let in the last two times
        self._n_late, self._late_since = 0, 0.0  # turns on end in which the oldest had waited beyond the limit
        self._each_s = 0.0  # how long a turn lasts in which one is let in, of late
        self._owed_s = 0.0  # work still to be done, had everybody been let in

    def __len__(self) -> int:
        return len(self._waiting)

    async def enter(self) -> bool:
        """Wait for a turn; False where it does not come in time."""
        self._asked = True
        if not self._turning:
            self._turning = True
            self._begin(self._clock())
            self._earliest = self._began
            asyncio.get_running_loop().call_soon(self._turn)
        self._owed_s = min(self._owed_s + self._each_s, MOST_OWED_S)
        if not (self._taken or self._waiting or self.overloaded):
            self._taken = True
            return True
        one = _Waiting(self._earliest, self._n_turn, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        return await one.let_in

    def _turn(self) -> None:
        """Runs once a turn, before all that came in the turn before."""
        now, taken = self._clock(), self._taken
        if taken:
            self._each_s += _SMOOTHING * (now - self._began - self._each_s)
        self._begin(now)
        self._taken = False
        if self.overloaded:
            self._newest_first()
        else:
            self._oldest_first()
        self._turning = self._asked or self._taken or bool(self._waiting)
        self._asked = False
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)

    def _begin(self, now: float) -> None:
        self._owed_s = max(0.0, self._owed_s - (now - self._began))
        self.overloaded = self.overloaded and self._owed_s > 0.0
        self._earliest, self._began = self._began, now
        self._n_turn += 1

    def _oldest_first(self) -> None:
        late = False
        while self._waiting and not self._taken:
            one = self._waiting.popleft()
            self._taken = _answered(one, let_in=True)
            late = self._began - one.came > self.limit_s
        if not late:
            self._n_late = 0
            return
        self._n_late += 1
        if self._n_late == 1:
            self._late_since = self._began
        if self._n_late >= PATIENCE_TURNS and self._began - self._late_since > PATIENCE_S:
            self._n_late, self.overloaded, self._owed_s = 0, True, MOST_OWED_S

    def _newest_first(self) -> None:
        """The newest of those who came while the last one was worked for; refusals come behind that one's answer."""
        since = self._n_turn - self._let_in[-1]
        if since >= _TURNS_TO_READ:
            while self._waiting and not self._taken:
                self._taken = _answered(self._waiting.pop(), let_in=True)
            if self._taken:
                self._let_in = self._let_in[-1], self._n_turn
        elif since == 1:
            while self._waiting and self._waiting[0].n_turn < self._let_in[0]:
                _answered(self._waiting.popleft(), let_in=False)


def _answered(one: _Waiting, *, let_in: bool) -> bool:
    """Tell who waits; False where its caller has gone."""
    if one.let_in.done():
        return False
    one.let_in.set_result(let_in)
    return True


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
        """Turn requests away from now on where all would wait longer; none are before."""
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
