"""Customers whom the service met before any import did: their outside ids, until `holdfast seal` moves them.

A file of its own beside the table of identities, readable by its owner alone: the service's database holds pseudonyms.
An id is on disk before the events that brought it, so no event is ever kept of a customer whom nobody can name.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import StorageFullError, UnavailableError
from features.tables import IDENTITIES, read_table, upsert

__all__ = ["MetCustomers", "known_identities"]

_MADE = "CREATE TABLE IF NOT EXISTS met (customer_key TEXT PRIMARY KEY, customer_id TEXT NOT NULL) WITHOUT ROWID"


class MetCustomers:
    """The waiting room of identities. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[str] = set()

    def has_seen(self, customer_key: str) -> bool:
        """Whether this process has written the customer down already."""
        return customer_key in self._seen

    def meet(self, customers: Mapping[str, str]) -> None:
        """Write down outside ids by pseudonym; on disk on return.

        Raises:
            UnavailableError: the file cannot be written now; StorageFullError where the disk is full.
        """
        with self._open() as connection:
            connection.executemany("INSERT OR IGNORE INTO met VALUES (?, ?)", customers.items())
        self._seen |= customers.keys()

    def table(self) -> pa.Table:
        """Everybody who waits, in the columns of the table of identities.

        Raises:
            UnavailableError: the file cannot be read now.
        """
        if not self._path.exists():
            return IDENTITIES.arrow.empty_table()
        with self._open() as connection:
            rows = connection.execute("SELECT customer_key, customer_id FROM met ORDER BY customer_key").fetchall()
        keys, ids = zip(*rows, strict=True) if rows else ((), ())
        return pa.table([pa.array(keys, pa.string()), pa.array(ids, pa.string())], schema=IDENTITIES.arrow)

    def fold_into(self, identities: Path) -> int:
        """Put everybody who waits into the table, then let them go; how many. Repeating it after a crash is harmless.

        Raises:
            UnavailableError: the file or the table is locked; nobody is lost.
        """
        waiting = self.table()
        if waiting.num_rows:
            identities.mkdir(parents=True, exist_ok=True, mode=0o700)
            upsert(identities, IDENTITIES, waiting)
            keys = [(key,) for key in waiting["customer_key"].to_pylist()]
            with self._open() as connection:
                connection.executemany("DELETE FROM met WHERE customer_key = ?", keys)
        return int(waiting.num_rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are committed when the block ends."""
        try:
            if not self._path.exists():
                self._make()
            with closing(sqlite3.connect(self._path, timeout=2.0)) as connection, connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_MADE)
                yield connection
        except (OSError, sqlite3.Error) as error:
            if _is_full(error):
                raise StorageFullError("the disk is full; nothing was kept, make room and try again") from None
            raise UnavailableError(
                f"the ids of new customers cannot be written or read now ({type(error).__name__}); try again"
            ) from None

    def _make(self) -> None:
        """Make the file for its owner alone, under its name at once.

        The file itself is never opened here: to close it would give up the locks that other threads hold by SQLite.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{self._path.name}-", dir=self._path.parent)
        try:
            os.close(handle)
            with suppress(FileExistsError):
                os.link(name, self._path)
        finally:
            Path(name).unlink()


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def known_identities(identities: Path, met: Path) -> pa.Table:
    """Every outside id that is known, by ascending pseudonym: the table, and who waits to be put into it.

    Raises:
        ArtefactError: the table cannot be read.
        UnavailableError: the waiting ids cannot be read now.
    """
    table, waiting = read_table(identities, IDENTITIES), MetCustomers(met).table()
    if waiting.num_rows == 0:
        return table
    listed = pc.is_in(waiting["customer_key"], value_set=table["customer_key"].combine_chunks())
    new = waiting.filter(pc.invert(listed))
    return pa.concat_tables([table, new]).sort_by("customer_key")
