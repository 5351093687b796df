"""Accepted events on their way to disk: concurrent posts share a commit, and an answer is given after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving.group_commit import GroupCommit
from serving.store import Store
from serving.visitor_links import Login, link_visitors

__all__ = ["EventIntake"]


@dataclass(frozen=True)
class _Post:
    """Rows of events, and for each the key of the visitor whom it names beside the customer."""

    rows: Sequence[dict[str, Any]]
    visitors: Sequence[str | None]


class EventIntake:
    """Takes posts of events; each future has (accepted, duplicates) once its events are durable.

    `capacity` bounds the events, of all posts together, that wait for their commit.
    """

    def __init__(self, store: Store, clock: Callable[[], int], *, capacity: int) -> None:
        self._store = store
        self._clock = clock
        self._writer: GroupCommit[_Post, tuple[int, int]] = GroupCommit(
            store, self._write, rows_of=lambda post: len(post.rows), capacity=capacity, name="events"
        )

    def submit(
        self, rows: Sequence[dict[str, Any]], visitors: Sequence[str | None] | None = None
    ) -> Future[tuple[int, int]]:
        """Hand the rows of one post over; `visitors`, one a row, are linked to the customers of their rows if new.

        Raises:
            UnavailableError: too many events are waiting; nothing was taken.
        """
        return self._writer.submit(_Post(rows, [None] * len(rows) if visitors is None else visitors))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()

    def _write(self, connection: sa.Connection, posts: Sequence[_Post]) -> list[tuple[int, int]]:
        recorded_us = self._clock()
        together = [row for post in posts for row in post.rows]
        visitors = [visitor for post in posts for visitor in post.visitors]
        fresh = self._store.append_events(connection, together, recorded_us)
        logins = [
            Login(row["event_id"], visitor, row["customer_key"])
            for row, visitor, new in zip(together, visitors, fresh, strict=True)
            if new and visitor is not None  # a repeated event changes nothing
        ]
        if logins:
            link_visitors(connection, logins, recorded_us)
        results, start = [], 0
        for post in posts:
            accepted = sum(fresh[start : start + len(post.rows)])
            results.append((accepted, len(post.rows) - accepted))
            start += len(post.rows)
        return results
