"""The service's own database: accepted events, links of visitors, decisions, the rollout and its log, early warnings.

SQLite in WAL mode with synchronous=FULL: a commit returns after the write-ahead log is on disk, so what was
acknowledged survives a killed process and a lost power supply. Writers take the lock at BEGIN, so a reader never
becomes a writer halfway; readers are never blocked by writers. All state changes go through `Store.write`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from features.errors import ArtefactError, UnavailableError
from features.schema import EVENTS

__all__ = [
    "EVENT_FIELDS",
    "EventRow",
    "Store",
    "Tail",
    "accepted_events",
    "decisions",
    "early_warnings",
    "promotions",
    "rollouts",
    "visitor_links",
    "warned_customers",
]

SCHEMA_VERSION = 3
_IDS_A_QUERY = 500

metadata = sa.MetaData()


def _event_column(name: str, kind: pa.DataType, required: bool) -> sa.Column[Any]:
    """Instants are kept as int64 microseconds, the rest as it is."""
    whole = pa.types.is_integer(kind) or pa.types.is_timestamp(kind)
    return sa.Column(name, sa.BigInteger() if whole else sa.Text(), nullable=not required)


EVENT_FIELDS: tuple[str, ...] = EVENTS.names

EventRow = sa.RowMapping
"""An accepted event as read: EVENT_FIELDS with instants in microseconds, `seq` and `sealed_version`."""

accepted_events = sa.Table(
    "accepted_events",
    metadata,
    sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
    *(_event_column(column.name, column.type, column.required) for column in EVENTS.columns),
    sa.Column("sealed_version", sa.BigInteger(), nullable=True),
    sa.Index("accepted_events_event_id", "event_id", unique=True),
    sa.Index("accepted_events_unsealed", "seq", sqlite_where=sa.text("sealed_version IS NULL")),
    sqlite_autoincrement=True,
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("decision_id", sa.Text(), nullable=False),  # no index: random ids would touch a page of it a row
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("customer_key", sa.Text()),
    sa.Column("as_of_us", sa.BigInteger(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("experiment", sa.Text(), nullable=False),
    sa.Column("arm", sa.Text(), nullable=False),
    sa.Column("churn_probability", sa.Float()),
    sa.Column("item_ids", sa.Text()),
    sa.Column("fingerprint", sa.Text()),
    sa.Column("feature_values", sa.LargeBinary()),
    sa.Column("propensities", sa.Text()),
    sa.Column("placement", sa.Text()),
    sa.Column("request", sa.Text()),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("revision", sa.Integer(), nullable=False),
    sa.Column("champion", sa.Text(), nullable=False),
    sa.Column("challenger", sa.Text()),
    sa.Column("previous", sa.Text()),
    sa.Column("share", sa.Float(), nullable=False),
    sa.Column("salt", sa.Text(), nullable=False),
    sa.CheckConstraint("id = 1"),
)

promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("at_us", sa.BigInteger(), nullable=False),
    sa.Column("who", sa.Text(), nullable=False),
    sa.Column("action", sa.Text(), nullable=False),
    sa.Column("before", sa.Text(), nullable=False),
    sa.Column("after", sa.Text(), nullable=False),
    sa.Column("why", sa.Text(), nullable=False),
    sa.Column("figures", sa.Text(), nullable=False),
)

early_warnings = sa.Table(
    "early_warnings",
    metadata,
    sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("customer_key", sa.Text(), nullable=False),
    sa.Column("as_of_us", sa.BigInteger(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("rise", sa.Float(), nullable=False),
    sa.Column("churn_probability", sa.Float(), nullable=False),
    sa.Column("probability_before", sa.Float(), nullable=False),
    sa.Column("band", sa.Text(), nullable=False),
    sa.Column("expected_loss_minor", sa.BigInteger()),
    sa.Column("currency", sa.Text()),
    sa.Index("early_warnings_as_of", "as_of_us"),
    sqlite_autoincrement=True,
)

warned_customers = sa.Table(
    "warned_customers",
    metadata,
    sa.Column("customer_key", sa.Text(), primary_key=True),
    sa.Column("warned_us", sa.BigInteger(), nullable=False),
    sa.Column("armed", sa.Boolean(), nullable=False),
    sqlite_with_rowid=False,
)

visitor_links = sa.Table(
    "visitor_links",
    metadata,
    sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("anonymous_key", sa.Text(), nullable=False),
    sa.Column("from_seq", sa.BigInteger(), nullable=False),  # the accepted event that made the link
    sa.Column("customer_key", sa.Text()),  # null where the customer was forgotten
    sa.Column("linked_us", sa.BigInteger(), nullable=False),
    sa.Index("visitor_links_anonymous_key", "anonymous_key", "from_seq", unique=True),
    sa.Index("visitor_links_customer_key", "customer_key"),
    sqlite_autoincrement=True,
)

_APPEND_ONLY = tuple(
    f"CREATE TRIGGER IF NOT EXISTS promotions_no_{verb.lower()} BEFORE {verb} ON promotions "
    "BEGIN SELECT RAISE(ABORT, 'the promotion log is append-only'); END"
    for verb in ("UPDATE", "DELETE")
)
_UPGRADES = {
    1: ("ALTER TABLE decisions ADD COLUMN propensities TEXT",),
    2: ("ALTER TABLE decisions ADD COLUMN placement TEXT", "ALTER TABLE decisions ADD COLUMN request TEXT"),
}
"""By schema found, what makes the next one of it; rows are kept."""
_NEWER = sa.select(accepted_events).where(accepted_events.c.seq > sa.bindparam("seq")).order_by(accepted_events.c.seq)
_NEWER_LINKS = sa.select(visitor_links).where(visitor_links.c.seq > sa.bindparam("seq")).order_by(visitor_links.c.seq)


class Store:
    """An open database. Safe to use from several threads; each process opens its own."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(holdfast_write=True)
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def open(cls, path: Path, *, lock_timeout_ms: int = 2_000) -> Store:
        """Open the database, making it where there is none; one of an older version is brought up to date, rows kept.

        Raises:
            UnavailableError: another process holds the lock for longer than `lock_timeout_ms`.
            ArtefactError: the file is not a database, or was written by a newer version.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), pool_size=4, max_overflow=8)
        sa.event.listen(engine, "connect", _Pragmas(lock_timeout_ms))
        sa.event.listen(engine, "begin", _begin)
        store = cls(engine)
        with store.write() as connection:
            found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            if found > SCHEMA_VERSION:
                raise ArtefactError(f"the store has schema {found}, this version knows {SCHEMA_VERSION}; upgrade first")
            for version in range(found or SCHEMA_VERSION, SCHEMA_VERSION):
                for statement in _UPGRADES[version]:
                    connection.exec_driver_sql(statement)
            metadata.create_all(connection)
            for statement in _APPEND_ONLY:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return store

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One atomic change: all of it is on disk when the block ends, or none of it.

        Raises:
            UnavailableError: another process holds the lock; nothing was changed.
        """
        with _translated(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for single statements that change nothing; it never waits for a writer."""
        with _translated(), self._reading.connect() as connection:
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
        with _translated():
            return Tail(self._reading.connect())


class Tail:
    """Follows the accepted events. Writers take turns, so a lower sequence number never appears after a higher one."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def after(self, seq: int) -> Sequence[sa.RowMapping]:
        """Accepted events with a higher sequence number, in order."""
        with _translated():
            return self._connection.execute(_NEWER, {"seq": seq}).mappings().all()

    def links_after(self, seq: int) -> Sequence[sa.RowMapping]:
        """Links of visitors with a higher number of their own, in order.

        A link is committed with the event that makes it: read after the events, none is missing for any of them.
        """
        with _translated():
            return self._connection.execute(_NEWER_LINKS, {"seq": seq}).mappings().all()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


class _Pragmas:
    """Sets a new connection up; transactions begin where `_begin` says, not where the driver guesses."""

    def __init__(self, lock_timeout_ms: int) -> None:
        self.lock_timeout_ms = lock_timeout_ms

    def __call__(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (f"busy_timeout = {self.lock_timeout_ms}", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("holdfast_write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    """Our errors for the driver's, without their statements and parameters."""
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UnavailableError("the store is locked by another process; nothing was changed, try again") from None
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise ArtefactError("the store is not a database or is damaged; restore it from a copy") from None
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise UnavailableError("the store cannot be written; check the disk's space and rights") from None
        raise
