"""What was answered, kept so that outcomes can be tied to it: release, arm, instant, values as served.

Decisions are written in the background. A full queue drops decisions and counts them: an answer never waits for its
own record. Nothing here names a person; the customer is a pseudonym.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import sqlalchemy as sa

from features.errors import UnavailableError
from serving.group_commit import GroupCommit
from serving.store import Store, decisions

__all__ = ["Decision", "DecisionLog"]

_LINGER_S = 0.1


@dataclass(frozen=True)
class Decision:
    """One answer. `feature_values` are little-endian float64 in the order of the feature set named by `fingerprint`."""

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


class DecisionLog:
    """The bounded background writer of decisions."""

    def __init__(self, store: Store, *, capacity: int, count: Callable[[str], None]) -> None:
        self._count = count
        self._writer: GroupCommit[Decision, None] = GroupCommit(
            store, _insert, capacity=capacity, linger_s=_LINGER_S, name="decisions"
        )

    def record(self, decision: Decision) -> None:
        """Hand a decision over; counted as written, dropped or failed."""
        try:
            self._writer.submit(decision).add_done_callback(self._done)
        except UnavailableError:
            self._count("dropped")

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()

    def _done(self, future: Future[None]) -> None:
        self._count("written" if future.exception() is None else "failed")


def _insert(connection: sa.Connection, group: Sequence[Decision]) -> Sequence[None]:
    rows = [vars(one) | {"item_ids": None if one.item_ids is None else json.dumps(one.item_ids)} for one in group]
    connection.execute(sa.insert(decisions), rows)
    return [None] * len(group)
