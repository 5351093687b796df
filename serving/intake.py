"""Accepted events on their way to disk: concurrent posts share a commit, and an answer is given after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import sqlalchemy as sa

from serving.group_commit import GroupCommit
from serving.store import Store

__all__ = ["EventIntake"]


class EventIntake:
    """Takes posts of events; each future has (accepted, duplicates) once its events are durable.

    `capacity` bounds the events, of all posts together, that wait for their commit.
    """

    def __init__(self, store: Store, clock: Callable[[], int], *, capacity: int) -> None:
        self._store = store
        self._clock = clock
        self._writer: GroupCommit[Sequence[dict[str, Any]], tuple[int, int]] = GroupCommit(
            store, self._write, rows_of=len, capacity=capacity, name="events"
        )

    def submit(self, rows: Sequence[dict[str, Any]]) -> Future[tuple[int, int]]:
        """Hand the rows of one post over.

        Raises:
            UnavailableError: too many events are waiting; nothing was taken.
        """
        return self._writer.submit(rows)

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()

    def _write(self, connection: sa.Connection, posts: Sequence[Sequence[dict[str, Any]]]) -> list[tuple[int, int]]:
        recorded_us = self._clock()
        together = [row for rows in posts for row in rows]
        fresh = self._store.append_events(connection, together, recorded_us)
        results, start = [], 0
        for rows in posts:
            accepted = sum(fresh[start : start + len(rows)])
            results.append((accepted, len(rows) - accepted))
            start += len(rows)
        return results
