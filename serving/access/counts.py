"""How many calls each subject made in each window, counted in one place for all workers: one atomic statement a call.

Counting must be exact and cheap, and need not outlive the machine. So beside a store in a file it is a file of its own,
whose commits do not wait for the disk (20 us instead of a sync); beside PostgreSQL it is an unlogged table there, which
all machines share. Neither is part of what is backed up.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from features.errors import UnavailableError
from serving.store_engines import is_url, open_engines, translated

__all__ = ["Claim", "Counts", "open_counts"]

_TURN_S = 0.25
_NAP_S = 0.0001
_TABLE = (
    "TABLE IF NOT EXISTS request_counts (subject TEXT NOT NULL, ends_us BIGINT NOT NULL, used BIGINT NOT NULL, "
    "PRIMARY KEY (subject, ends_us))"
)
_TAKE = (
    "INSERT INTO request_counts (subject, ends_us, used) VALUES (:subject, :ends_us, 1) ON CONFLICT (subject, ends_us) "
    "DO UPDATE SET used = request_counts.used + 1 WHERE request_counts.used < :limit RETURNING used"
)
_FORGET = "DELETE FROM request_counts WHERE ends_us < :before_us"
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_GONE = "calls cannot be counted now; check the disk's space and rights, or the store's server"


@dataclass(frozen=True, slots=True)
class Claim:
    """One call more of a subject in the window that ends at `ends_us`, if it had fewer than `limit` there."""

    subject: str
    ends_us: int
    limit: int

    def values(self) -> dict[str, str | int]:
        """As the statement's parameters."""
        return {"subject": self.subject, "ends_us": self.ends_us, "limit": self.limit}


class Counts(Protocol):
    """Where calls are counted. `waits` says that a call may wait for a network, so that it belongs in a thread."""

    waits: bool

    def take(self, claims: Sequence[Claim]) -> Claim | None:
        """Count one call for every claim, or for none; gives the first claim that is used up, None where all are met.

        Raises:
            UnavailableError: nothing can be counted now.
        """

    def forget(self, before_us: int) -> None:
        """Drop windows that ended before an instant."""

    def close(self) -> None:
        """Give connections back."""


def open_counts(store: Path | str, file: Path, lock_timeout_ms: int) -> Counts:
    """The counts that belong to a store: in its database where that is a server, else in a file on this machine."""
    on_server = is_url(store) and not str(store).startswith("sqlite:")
    return _ServerCounts(str(store), lock_timeout_ms) if on_server else _FileCounts(file)


class _FileCounts:
    """Shared by all workers of one machine. Used by one thread at a time."""

    waits = False

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # a damaged file is replaced by one process before any other opens it
            try:
                self._connection = _opened(path)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                    raise UnavailableError(_GONE) from None
                for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                    name.unlink(missing_ok=True)
                self._connection = _opened(path)

    def take(self, claims: Sequence[Claim]) -> Claim | None:
        execute = self._connection.execute
        try:
            self._begin()
            for claim in claims:
                if execute(_TAKE, claim.values()).fetchone() is None:
                    execute("ROLLBACK")
                    return claim
            execute("COMMIT")
        except sqlite3.Error:
            raise self._gone() from None
        return None

    def forget(self, before_us: int) -> None:
        try:
            self._begin()
            self._connection.execute(_FORGET, {"before_us": before_us})
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            raise self._gone() from None

    def close(self) -> None:
        self._connection.close()

    def _gone(self) -> UnavailableError:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return UnavailableError(_GONE)

    def _begin(self) -> None:
        """Take the turn; another worker has it for microseconds, so naps are shorter than SQLite's own."""
        deadline = 0.0
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                deadline = deadline or now + _TURN_S
                if error.sqlite_errorcode & 0xFF not in _BUSY or now > deadline:
                    raise
                time.sleep(_NAP_S)
            else:
                return


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        connection.close()
        damaged = sqlite3.DatabaseError("damaged")
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged
    connection.execute(f"CREATE {_TABLE} WITHOUT ROWID")
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


class _ServerCounts:
    """Shared by all machines of one PostgreSQL database; commits of an unlogged table do not wait for its disk."""

    waits = True

    def __init__(self, url: str, lock_timeout_ms: int) -> None:
        self._engines = open_engines(url, lock_timeout_ms)
        with translated(), self._engines.writing.begin() as connection:  # two at once must not both make it
            connection.exec_driver_sql(f"CREATE UNLOGGED {_TABLE}")

    def take(self, claims: Sequence[Claim]) -> Claim | None:
        with translated(), self._engines.base.connect() as connection:
            for claim in claims:
                if connection.scalar(sa.text(_TAKE), claim.values()) is None:
                    connection.rollback()
                    return claim
            connection.commit()
        return None

    def forget(self, before_us: int) -> None:
        with translated(), self._engines.base.begin() as connection:
            connection.execute(sa.text(_FORGET), {"before_us": before_us})

    def close(self) -> None:
        self._engines.base.dispose()
