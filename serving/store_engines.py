"""How each kind of database is opened and spoken to: SQLite in a file, or PostgreSQL by a URL.

The promises are the same. A commit returns after it is on disk (SQLite: WAL with synchronous=FULL; PostgreSQL:
synchronous_commit, never on a server without fsync). Writers take turns from the beginning of their transactions
(SQLite: BEGIN IMMEDIATE; PostgreSQL: an advisory lock, which falls when the commit is visible), readers never wait for
them. Whoever waits too long for a turn gives up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from features.errors import ArtefactError, ConfigurationError, HoldfastError, StorageFullError, UnavailableError

if TYPE_CHECKING:
    import psycopg

__all__ = ["Engines", "is_url", "open_engines", "translated"]

_BEGIN = "holdfast_begin"
_TURN = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'holdfast')})"
_POOL = {"pool_size": 4, "max_overflow": 8, "hide_parameters": True}
_NETWORK = {
    "application_name": "holdfast",
    "connect_timeout": "2",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "3000",
}
"""A server that is gone is noticed in seconds; what the URL says goes before."""
_SESSION = {
    "idle_in_transaction_session_timeout": "60000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "plan_cache_mode": "force_custom_plan",
    "timezone": "UTC",
}
"""A machine that is gone does not keep its turn (milliseconds and seconds), and a plan made while a table was empty is
not kept for the full one."""
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    "SELECT current_setting('fsync'), current_setting('server_encoding')",
)
_LOCKED = (UnavailableError, "the store is locked by another process; nothing was changed, try again")
_NO_DISK = (UnavailableError, "the store cannot be written; check the disk and its rights")
_FULL = (StorageFullError, "the store's disk is full; nothing was changed, make room and try again")
_DAMAGED = (ArtefactError, "the store is not a database or is damaged; restore it: holdfast store restore")
_TOLD_BY_SQLITE: dict[int, tuple[type[HoldfastError], str]] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    **dict.fromkeys((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR), _NO_DISK),
}
"""By the extended code, or by its last byte, which is the plain one."""
_TOLD_BY_POSTGRESQL: tuple[tuple[tuple[str, ...], type[HoldfastError], str], ...] = (
    (("40001", "40P01", "55P03", "57014"), *_LOCKED),
    (("53100",), *_FULL),
    (
        ("08", "53", "57P", "58", "25006"),
        UnavailableError,
        "the store's server cannot write or answer now; check the server, its disk and its log",
    ),
    (
        ("42501",),
        ConfigurationError,
        "the store's user lacks a right in its database; it needs to own what it makes there",
    ),
    (("XX001", "XX002"), *_DAMAGED),
)
"""By how the state begins."""


@dataclass(frozen=True, eq=False)
class Engines:
    """One pool of connections, taken in three ways: to change, to read single statements, to read one moment."""

    base: sa.Engine
    writing: sa.Engine
    reading: sa.Engine
    snapshot: sa.Engine


def is_url(where: Path | str) -> bool:
    """Whether this names a database by a URL, and not by the path of a file."""
    return isinstance(where, str) and "://" in where


def open_engines(where: Path | str, lock_timeout_ms: int, *, read_only: bool = False) -> Engines:
    """Ways into the database; nothing is connected yet. With `read_only` the database refuses every change.

    Raises:
        ConfigurationError: the URL is not one, or not of PostgreSQL; it is never repeated, for it may hold a password.
    """
    if not is_url(where):
        return _sqlite(Path(where), _Pragmas(lock_timeout_ms, read_only))
    try:
        url = sa.make_url(str(where))
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the store's URL cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or a path"
        ) from None
    if url.drivername == "sqlite" and url.database:
        return _sqlite(Path(url.database), _Pragmas(lock_timeout_ms, read_only))
    if url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ConfigurationError("the store's URL is of no database that is known; write postgresql://... or a path")
    return _postgresql(url.set(drivername="postgresql+psycopg"), _Session(lock_timeout_ms, read_only))


def _sqlite(path: Path, connected: _Pragmas) -> Engines:
    path.parent.mkdir(parents=True, exist_ok=True)
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, **_POOL, pool_timeout=connected.lock_timeout_ms / 1_000)
    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", _begin)
    return Engines(
        engine,
        writing=engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}),
        reading=engine.execution_options(isolation_level="AUTOCOMMIT"),
        snapshot=engine.execution_options(**{_BEGIN: "BEGIN"}),
    )


def _postgresql(url: sa.URL, connected: _Session) -> Engines:
    network = {name: value for name, value in _NETWORK.items() if name not in url.query}
    engine = sa.create_engine(
        url,
        **_POOL,
        isolation_level="READ COMMITTED",
        pool_timeout=connected.lock_timeout_ms / 1_000,
        connect_args=network,
    )
    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", _begin)
    return Engines(
        engine,
        writing=engine.execution_options(**{_BEGIN: _TURN}),
        reading=engine.execution_options(isolation_level="AUTOCOMMIT"),
        snapshot=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
    )


class _Pragmas:
    """Sets a new connection up; transactions begin where `_begin` says, not where the driver guesses."""

    def __init__(self, lock_timeout_ms: int, read_only: bool) -> None:
        self.lock_timeout_ms = lock_timeout_ms
        self.pragmas = (
            f"busy_timeout = {lock_timeout_ms}",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"query_only = {int(read_only)}",
        )

    def __call__(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in self.pragmas:
            connection.execute(f"PRAGMA {pragma}")


class _Session:
    """Sets a new session up, and refuses a server that could lose what it confirmed.

    Raises:
        ConfigurationError: the server does not sync its files, or the database is not of UTF-8.
    """

    def __init__(self, lock_timeout_ms: int, read_only: bool) -> None:
        self.lock_timeout_ms = lock_timeout_ms
        self.settings = _SESSION | {
            "lock_timeout": str(lock_timeout_ms),
            "default_transaction_read_only": "on" if read_only else "off",
        }

    def __call__(self, connection: psycopg.Connection[Any], _record: object) -> None:
        connection.autocommit = True
        for name, value in self.settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        raise_to_on, look = _DURABLE
        connection.execute(raise_to_on)
        fsync, encoding = connection.execute(look).fetchone() or ("", "")
        connection.autocommit = False
        if fsync != "on" or encoding != "UTF8":
            connection.close()
            raise ConfigurationError(
                f"the store's server has fsync {fsync} and encoding {encoding}; it must be fsync on, so that nothing "
                "acknowledged is lost, and a database of encoding UTF8"
            )


def _begin(connection: sa.Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN)
    if statement is not None:
        connection.exec_driver_sql(statement)


@contextmanager
def translated() -> Iterator[None]:
    """Our errors for the driver's, and of those that nobody foresaw no statement, parameter or value."""
    try:
        yield
    except sa.exc.TimeoutError:
        raise UnavailableError("every connection to the store is in use; nothing was changed, try again") from None
    except DBAPIError as error:
        told = _told(error) or type(error)(None, None, Exception(_words(error)), hide_parameters=True)
        raise told from None


def _told(error: DBAPIError) -> HoldfastError | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        found = _TOLD_BY_SQLITE.get(code) or _TOLD_BY_SQLITE.get(code & 0xFF)
        return None if found is None else found[0](found[1])
    state = getattr(error.orig, "sqlstate", None)
    if state is None and isinstance(error, OperationalError):
        return UnavailableError(
            "the store's server does not answer, or refuses us; check HOLDFAST_STORE and the server"
        )
    for states, kind, words in _TOLD_BY_POSTGRESQL:
        if state is not None and state.startswith(states):
            return kind(words)
    return None


def _words(error: DBAPIError) -> str:
    """What can be told: SQLite's messages name tables and columns alone, PostgreSQL's of broken rules too."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return str(error.orig)
    primary = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return f"{primary}" if state.startswith("23") else f"{type(error.orig).__name__}, SQLSTATE {state}"
