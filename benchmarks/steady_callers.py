"""Callers that go on whatever happens to the service: some send events until each is acknowledged, some ask.

What every one of them got, and when, is kept, so that it can be held against what the store holds and against the
times at which something was broken.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from features.instants import format_instant

PROBLEM = "application/problem+json"
AGAIN_S = 0.05
PATIENCE_S = 30.0
NO_ANSWER = 0
_MOST_EVENTS = 3


@dataclass(frozen=True)
class Answer:
    """What came: `status` is NO_ANSWER where the connection broke; `sent` and `came` are seconds of a rising clock."""

    kind: str
    sent: float
    came: float
    status: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem in our shape."""
        return self.headers.get("content-type") == PROBLEM and self.body.get("status") == self.status


class Callers(ABC):
    """Threads with a connection each, from entering to leaving the block."""

    def __init__(self, port: int, n_callers: int) -> None:
        self.answers: list[Answer] = []
        self.stopping = threading.Event()
        self._port = port
        self._threads = [threading.Thread(target=self._connected, args=(n,), daemon=True) for n in range(n_callers)]

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stopping.set()
        if error is None:
            self.finish()

    def finish(self) -> None:
        """Let every caller end what it has begun.

        Raises:
            SystemExit: one is not answered.
        """
        self.stopping.set()
        for one in self._threads:
            one.join(3 * PATIENCE_S)
        if any(one.is_alive() for one in self._threads):
            raise SystemExit("a caller was never answered")

    def within(self, began: float, ended: float) -> list[Answer]:
        """What was sent and answered between two instants."""
        return [one for one in tuple(self.answers) if began <= one.sent and one.came <= ended]

    def _connected(self, number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)) as connection:
            self._call(number, connection)

    @abstractmethod
    def _call(self, number: int, connection: http.client.HTTPConnection) -> None: ...

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        kind: str,
        call: tuple[str, str, Any],
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One call; the connection is opened where it is not, and closed where it broke."""
        method, path, body = call
        content = None if body is None else json.dumps(body)
        sent = time.perf_counter()
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"} | (headers or {}))
            came = connection.getresponse()
            told = json.loads(came.read())
            answer = Answer(
                kind,
                sent,
                time.perf_counter(),
                came.status,
                {name.lower(): value for name, value in came.getheaders()},
                told,
            )
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            answer = Answer(kind, sent, time.perf_counter(), NO_ANSWER)
        self.answers.append(answer)
        return answer


class EventStream(Callers):
    """Posts of one to three events, the same one again until it is acknowledged.

    Every second caller names its posts by an Idempotency-Key, if `keyed`: one that was under way in a process that was
    killed is then taken after 30 s, see `serving.kept_answers`.

    `acknowledged` are the ids in the order of their acknowledgements, `answered_by` the request of each, and
    `n_repeated` how many were known already when they were acknowledged. Half of the posts are of somebody new.
    """

    def __init__(
        self,
        port: int,
        now_us: Callable[[], int],
        *,
        name: str,
        callers: int = 8,
        pause_s: float = 0.0,
        keyed: bool = True,
    ) -> None:
        super().__init__(port, callers)
        self.acknowledged: list[str] = []
        self.answered_by: dict[str, str] = {}
        self.n_repeated = 0
        self._name, self._now_us, self._pause_s, self._keyed = name, now_us, pause_s, keyed

    def wait_for(self, more: int, within_s: float) -> None:
        """Until so many more events are acknowledged.

        Raises:
            SystemExit: they are not, in this time.
        """
        wanted, until = len(self.acknowledged) + more, time.monotonic() + within_s
        while len(self.acknowledged) < wanted:
            if time.monotonic() > until:
                raise SystemExit(f"{more} events were not acknowledged within {within_s:g} s")
            time.sleep(0.01)

    def _call(self, number: int, connection: http.client.HTTPConnection) -> None:
        for post in itertools.count():
            if self.stopping.is_set():
                return
            name = f"{self._name}-{number}-{post}"
            events = self._events(name, post)
            key = {"Idempotency-Key": name} if self._keyed and number % 2 else {}
            for attempt in itertools.count():
                request = f"{name}.{attempt}"
                headers = {"X-Request-Id": request} | key
                answer = self._exchange(connection, "events", ("POST", "/v1/events", events), headers)
                if self._taken(answer, events, request):
                    break
                time.sleep(AGAIN_S)
            time.sleep(self._pause_s)

    def _taken(self, answer: Answer, events: dict[str, Any], request: str) -> bool:
        if answer.status != 202:
            return False
        ids = [one["event_id"] for one in events["events"]]
        if answer.body["accepted"] + answer.body["deduplicated"] != len(ids):
            raise SystemExit("a post was acknowledged with events left out")
        self.acknowledged.extend(ids)
        self.answered_by |= dict.fromkeys(ids, request)
        self.n_repeated += answer.body["deduplicated"]
        return True

    def _events(self, name: str, post: int) -> dict[str, Any]:
        customer, at = "c1" if post % 2 else f"new-{name}", format_instant(self._now_us())
        event = {"customer_id": customer, "occurred_at": at, "kind": "view", "item_id": f"of-{name}"}
        return {"events": [event | {"event_id": f"{name}-{n}"} for n in range(1 + post % _MOST_EVENTS)]}


class Predictions(Callers):
    """Scores and slates of known customers, in turn, with a pause between them."""

    def __init__(self, port: int, customers: Sequence[str], *, callers: int = 2, pause_s: float = 0.02) -> None:
        super().__init__(port, callers)
        self._customers, self._pause_s = customers, pause_s

    def _call(self, number: int, connection: http.client.HTTPConnection) -> None:
        for turn in itertools.count(number):
            if self.stopping.is_set():
                return
            who = self._customers[turn % len(self._customers)]
            slate: tuple[str, str, Any] = ("POST", "/v1/recommendations", {"customer_id": who, "limit": 3})
            self._exchange(connection, "churn", ("GET", f"/v1/customers/{who}/churn", None))
            self._exchange(connection, "slate", slate)
            time.sleep(self._pause_s)


def reasons(answers: Iterable[Answer]) -> set[str]:
    """Why predictions were degraded, of those that were."""
    bodies = [one.body for one in answers]
    found = {body.get("degraded_reason") or body.get("data_quality", {}).get("degraded_reason") for body in bodies}
    return found - {None}
