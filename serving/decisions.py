"""What was answered, kept so that outcomes can be tied to it: release, arm, instant, values as served.

Decisions are written in the background; while the store cannot take them they wait. A full queue drops decisions and
counts them: an answer never waits for its own record. Nothing here names a person; the customer is a pseudonym.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import sqlalchemy as sa

from features.errors import UnavailableError
from serving.store import Store

__all__ = ["Decision", "DecisionLog"]

log = logging.getLogger("holdfast.decisions")

_LINGER_S = 0.2
_GROUP = 1_000
_ROWS_A_STATEMENT = 250
_MARKS = {"sqlite": "?", "postgresql": "%s"}


class Decision(NamedTuple):
    """One answer; the names are those of the store's columns.

    `feature_values` are little-endian float64 in the order of the feature set named by `fingerprint`; `propensities`
    are, for each of `item_ids`, the chance in (0, 1] with which it was put at its place, None where nobody worked
    them out. `placement` is where a slate was asked for and `request` what the call wanted beside its recipe, see
    `serving.kept_requests`; None where it wanted nothing more.
    """

    decision_id: str
    kind: str
    customer_key: str | None
    as_of_us: int
    release: str
    experiment: str
    arm: str
    churn_probability: float | None = None
    item_ids: tuple[str, ...] | None = None
    fingerprint: str | None = None
    feature_values: bytes | None = None
    propensities: tuple[float, ...] | None = None
    placement: str | None = None
    request: str | None = None


class DecisionLog:
    """The bounded background writer of decisions. `count(outcome, n)` hears of written, dropped and failed ones."""

    def __init__(self, store: Store, *, capacity: int, count: Callable[[str, int], None]) -> None:
        self._store = store
        self._capacity = capacity
        self._count = count
        self._waiting: deque[Decision] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def record(self, decision: Decision) -> None:
        """Hand a decision over."""
        if len(self._waiting) < self._capacity:
            self._waiting.append(decision)
        else:
            self._count("dropped", 1)

    def close(self) -> None:
        """Write what waits, then stop."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_LINGER_S):
            self._write(last=False)
        self._write(last=True)

    def _write(self, *, last: bool) -> None:
        """Everything that waits now. What the store cannot take now waits on, but for the last time.

        Not what comes meanwhile: a few at a time, each with its commit, would never let the answers beside it be.
        """
        waiting = len(self._waiting)
        for start in range(0, waiting, _GROUP):
            group = [self._waiting.popleft() for _ in range(min(waiting - start, _GROUP))]
            try:
                with self._store.write() as connection:
                    _insert(connection, group)
            except Exception as error:  # an answer never fails for its record; the loss is counted and logged
                if isinstance(error, UnavailableError) and not last:
                    self._waiting.extendleft(reversed(group))
                    return
                log.warning("%d decisions were not kept: %s", len(group), type(error).__name__)
                self._count("failed", len(group))
            else:
                self._count("written", len(group))


def _insert(connection: sa.Connection, group: Sequence[Decision]) -> None:
    """Many rows a statement: the database then works outside the interpreter's lock, and answers go on beside it."""
    for start in range(0, len(group), _ROWS_A_STATEMENT):
        together = [_row(one) for one in group[start : start + _ROWS_A_STATEMENT]]
        statement = _statement(connection.dialect.name, len(together))
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(together)))


def _row(one: Decision) -> tuple[object, ...]:
    """As the store takes it: lists as JSON."""
    if one.item_ids is None and one.propensities is None:
        return one
    return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in one)


@cache
def _statement(dialect: str, n_rows: int) -> str:
    """One statement for many rows, of names and marks alone."""
    row = f"({', '.join([_MARKS[dialect]] * len(Decision._fields))})"
    return " ".join(("INSERT INTO decisions (", ", ".join(Decision._fields), ") VALUES", ", ".join([row] * n_rows)))
