"""The service's own database: accepted events, links of visitors, decisions, the rollout and its log, early warnings.

SQLite in a file by default, PostgreSQL by a URL where more than one machine serves; `store_engines` keeps the promises
alike. A commit returns after it is on disk, so what was acknowledged survives a killed process and a lost power supply.
Writers take turns; readers are never blocked by them. All state changes go through `Store.write`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from features.errors import ArtefactError
from serving.migrations import HEAD, found_version, migrate
from serving.store_engines import Engines, is_url, open_engines, translated
from serving.store_schema import (
    EVENT_FIELDS,
    EventRow,
    accepted_events,
    arm_totals,
    decisions,
    early_warnings,
    promotions,
    rollouts,
    visitor_links,
    warned_customers,
)

__all__ = [
    "EVENT_FIELDS",
    "EventRow",
    "Store",
    "Tail",
    "accepted_events",
    "arm_totals",
    "decisions",
    "early_warnings",
    "promotions",
    "rollouts",
    "visitor_links",
    "warned_customers",
]

_IDS_A_QUERY = 500
_CHECKED_AT_START_BYTES = 1 << 28
"""A file of this size is checked in one or two seconds."""
_NO_END = 2**63 - 1


def _newer(table: sa.Table) -> sa.Select[Any]:
    """Rows of higher numbers. An end takes part in it: PostgreSQL guesses a third of a table for a beginning alone."""
    return sa.select(table).where(table.c.seq > sa.bindparam("seq"), table.c.seq <= _NO_END).order_by(table.c.seq)


_NEWER, _NEWER_LINKS = _newer(accepted_events), _newer(visitor_links)


class Store:
    """An open database. Safe to use from several threads; each process opens its own.

    `timed`, where set, is told the seconds of each change that was made, its commit included.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self.timed: Callable[[float], None] | None = None

    @classmethod
    def open(
        cls, where: Path | str, *, lock_timeout_ms: int = 2_000, check: bool = False, read_only: bool = False
    ) -> Store:
        """Open the database, making it where there is none; one of an older version is brought up to date, rows kept.

        Args:
            where: the path of an SQLite file, or the URL of a PostgreSQL database.
            lock_timeout_ms: how long to wait for the turn of other writers.
            check: look an SQLite file of at most 256 MiB over for damage first.
            read_only: every change is refused, bringing it up to date too.

        Raises:
            UnavailableError: another process holds the lock for longer than `lock_timeout_ms`, or no server answers.
            ArtefactError: the file is not a database, is damaged, or was written by a newer version.
            ConfigurationError: the URL cannot be used, or the server could lose what it confirmed.
        """
        store = cls(open_engines(where, lock_timeout_ms, read_only=read_only))
        try:
            if check and store._n_bytes() <= _CHECKED_AT_START_BYTES:
                store.check()
            with store.read() as connection:
                found = found_version(connection)
            if found != HEAD:
                with store.write() as connection:
                    migrate(connection)
        except BaseException:
            store.close()
            raise
        return store

    @staticmethod
    def exists(where: Path | str) -> bool:
        """Whether a service has made its store there; a database by URL is taken for one."""
        return is_url(where) or Path(where).exists()

    def close(self) -> None:
        """Close every connection."""
        self._engines.base.dispose()

    def _n_bytes(self) -> int:
        path = self._engines.base.url.database
        on_file = self._engines.base.dialect.name == "sqlite" and path is not None and Path(path).exists()
        return Path(str(path)).stat().st_size if on_file else 0

    def check(self) -> None:
        """Look a whole SQLite file over for damage; PostgreSQL checks its own.

        Raises:
            ArtefactError: it is damaged.
        """
        if self._engines.base.dialect.name != "sqlite":
            return
        with self.read() as connection:
            if connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all() != ["ok"]:
                raise ArtefactError("the store is damaged; move it away and restore a backup: holdfast store restore")

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One atomic change: all of it is on disk when the block ends, or none of it.

        Raises:
            UnavailableError: another process holds the lock; nothing was changed.
        """
        started = time.perf_counter()
        with translated(), self._engines.writing.begin() as connection:
            yield connection
        if self.timed is not None:
            self.timed(time.perf_counter() - started)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for single statements that change nothing; it never waits for a writer."""
        with translated(), self._engines.reading.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection whose statements all see one moment, however long they take; it never waits for a writer."""
        with translated(), self._engines.snapshot.begin() as connection:
            yield connection

    def append_events(self, connection: sa.Connection, rows: Sequence[dict[str, Any]], recorded_us: int) -> list[bool]:
        """Add events inside a `write`; for each row whether it is new. A known event_id, or a repeated one, is dropped.

        `recorded_at` becomes `recorded_us`, or the time of the event where its clock runs ahead of ours.
        """
        known = self._known_ids(connection, [row["event_id"] for row in rows])
        new, taken = [], []
        for row in rows:
            new.append(row["event_id"] not in known)
            if new[-1]:
                known.add(row["event_id"])
                taken.append(row | {"recorded_at": max(recorded_us, row["occurred_at"]), "sealed_version": None})
        if taken:
            connection.execute(sa.insert(accepted_events), taken)
        return new

    def _known_ids(self, connection: sa.Connection, event_ids: Sequence[str]) -> set[str]:
        column = accepted_events.c.event_id
        known: set[str] = set()
        for start in range(0, len(event_ids), _IDS_A_QUERY):
            chunk = event_ids[start : start + _IDS_A_QUERY]
            known.update(connection.scalars(sa.select(column).where(column.in_(chunk))))
        return known

    def sealed_until(self, version: int) -> int:
        """The sequence number up to which every accepted event is in this version of the sealed log; 0 for none."""
        seq, sealed = accepted_events.c.seq, accepted_events.c.sealed_version
        first_open = sa.select(sa.func.min(seq)).where(sealed.is_(None) | (sealed > version))
        with self.read() as connection:
            found = connection.scalar(first_open)
            last = found - 1 if found is not None else connection.scalar(sa.select(sa.func.max(seq)))
        return int(last or 0)

    def tail(self) -> Tail:
        """A reader of accepted events with a connection of its own."""
        with translated():
            return Tail(self._engines.reading.connect())


class Tail:
    """Follows the accepted events. Writers take turns, so a lower sequence number never appears after a higher one."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._on_file = connection.dialect.name == "sqlite"
        self._nothing_after: tuple[int, int | None] | None = None

    def after(self, seq: int) -> Sequence[sa.RowMapping]:
        """Accepted events with a higher sequence number, in order.

        Every prediction asks. On SQLite the query is spared where no other connection has written since it last found
        nothing.
        """
        version = self._data_version()
        if version is not None and self._nothing_after == (seq, version):
            return ()
        rows = self._rows(_NEWER, seq)
        self._nothing_after = None if rows else (seq, version)
        return rows

    def _data_version(self) -> int | None:
        """What SQLite counts up when another connection commits; None elsewhere, or where it cannot be read."""
        if not self._on_file:
            return None
        try:
            driver: Any = self._connection.connection.driver_connection
            return int(driver.execute("PRAGMA data_version").fetchone()[0])
        except (sqlite3.Error, DBAPIError):  # the query will tell what is wrong
            return None

    def links_after(self, seq: int) -> Sequence[sa.RowMapping]:
        """Links of visitors with a higher number of their own, in order.

        A link is committed with the event that makes it: read after the events, none is missing for any of them.
        """
        return self._rows(_NEWER_LINKS, seq)

    def at(self, seqs: Sequence[int]) -> list[sa.RowMapping]:
        """The accepted events of these sequence numbers, in order; those that are gone are left out."""
        found: list[sa.RowMapping] = []
        for start in range(0, len(seqs), _IDS_A_QUERY):
            among = accepted_events.c.seq.in_(seqs[start : start + _IDS_A_QUERY])
            with translated():
                rows = self._connection.execute(sa.select(accepted_events).where(among).order_by(accepted_events.c.seq))
                found.extend(rows.mappings())
        return found

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _rows(self, query: sa.Select[Any], seq: int) -> Sequence[sa.RowMapping]:
        with translated():
            try:
                return self._connection.execute(query, {"seq": seq}).mappings().all()
            except DBAPIError as error:
                if error.connection_invalidated:  # the server went away: the next call connects anew
                    self._connection.rollback()
                raise
