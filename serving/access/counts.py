"""How many calls each subject made in each window, counted in one place for all workers: one atomic change a call.

Counting must be exact and cheap, and need not outlive the machine. So beside a store in a file it is a file of its own
that is never synced; beside PostgreSQL it is an unlogged table there, which all machines share. Neither is part of what
is backed up.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from features.errors import UnavailableError
from serving.store_engines import is_url, open_engines, translated

__all__ = ["Claim", "Counts", "open_counts"]

_TURN, _TURN_S = fcntl.LOCK_EX | fcntl.LOCK_NB, 0.25
_NAP_S = 0.0001
_REMEMBERED = 100_000
_KEY_BYTES = 16
_PLACE = struct.Struct(f"<{_KEY_BYTES}sqq")  # key, ends_us, used; ends_us is 0 where nothing ever was
_USED, _USED_AT = struct.Struct("<q"), _PLACE.size - 8
_PAGE_BYTES = 64 * _PLACE.size
_PAGES = 1 << 13
_FILE_BYTES = _PAGE_BYTES * (1 + _PAGES)
"""For about 300,000 open windows in 16 MiB, which are taken from the disk at once: a full one is found then."""
_HEAD = b"holdfast counts of calls, 1\n"
_TABLE = (
    "TABLE IF NOT EXISTS request_counts (subject TEXT NOT NULL, ends_us BIGINT NOT NULL, used BIGINT NOT NULL, "
    "PRIMARY KEY (subject, ends_us))"
)
_TAKE = (
    "INSERT INTO request_counts (subject, ends_us, used) VALUES (:subject, :ends_us, 1) ON CONFLICT (subject, ends_us) "
    "DO UPDATE SET used = request_counts.used + 1 WHERE request_counts.used < :limit RETURNING used"
)
_FORGET = "DELETE FROM request_counts WHERE ends_us < :before_us"
_GONE = "calls cannot be counted now; check the disk's space and rights, or the store's server"


class Claim(NamedTuple):
    """One call more of a subject in the window that ends at `ends_us`, if it had fewer than `limit` there."""

    subject: str
    ends_us: int
    limit: int


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
    """Shared by all workers of one machine; used by one thread at a time of each.

    A table of fixed places after a head that says so. A subject's window has a page of places that it may take, found
    by a hash, and stays where it is; places of windows that ended are taken anew. The file is mapped: a claim is a few
    bytes read and written in memory under one lock, with nothing to parse and nothing to sync.
    """

    waits = False

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ended_us = 0
        self._known: dict[tuple[str, int], tuple[bytes, int]] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._await_turn()
            if os.pread(self._file, len(_HEAD), 0) != _HEAD or os.fstat(self._file).st_size != _FILE_BYTES:
                os.ftruncate(self._file, 0)  # damaged, or of another version
                os.ftruncate(self._file, _FILE_BYTES)
                os.pwrite(self._file, _HEAD, 0)
            os.posix_fallocate(self._file, 0, _FILE_BYTES)  # writing to memory that no disk is behind ends a process
            self._places = mmap.mmap(self._file, _FILE_BYTES)
            fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            os.close(self._file)
            raise UnavailableError(_GONE) from None

    def take(self, claims: Sequence[Claim]) -> Claim | None:
        try:
            self._await_turn()
            try:
                return self._count(claims)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            raise UnavailableError(_GONE) from None

    def forget(self, before_us: int) -> None:
        self._ended_us = before_us
        self._known.clear()

    def close(self) -> None:
        self._places.close()
        os.close(self._file)

    def _count(self, claims: Sequence[Claim]) -> Claim | None:
        counted = []
        for claim in claims:
            at, used = self._found(claim)
            if used >= claim.limit:
                return claim
            counted.append((at, used + 1))
        for at, used in counted:
            _USED.pack_into(self._places, at + _USED_AT, used)
        return None

    def _found(self, claim: Claim) -> tuple[int, int]:
        """Where a window stands in the file, and how often it was used; it is given a place where it has none."""
        window = claim[:2]
        key, at = self._known.get(window, (b"", 0))
        if at and self._places[at : at + _KEY_BYTES] == key:
            return at, _USED.unpack_from(self._places, at + _USED_AT)[0]
        key, page = _page_of(claim)
        at, used = self._placed(key, page, claim.ends_us)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[window] = key, at
        return at, used

    def _placed(self, key: bytes, page: int, ends_us: int) -> tuple[int, int]:
        content = self._places[page : page + _PAGE_BYTES]
        at = content.find(key)
        while at > 0 and at % _PLACE.size:  # by chance, across two places
            at = content.find(key, at + 1)
        if at >= 0 and ends_us >= self._ended_us:
            return page + at, _USED.unpack_from(content, at + _USED_AT)[0]
        for free, (_, ended_us, _) in enumerate(_PLACE.iter_unpack(content)):
            if ended_us == 0 or ended_us < self._ended_us:
                at = page + free * _PLACE.size
                _PLACE.pack_into(self._places, at, key, ends_us, 0)
                return at, 0
        raise UnavailableError("more windows are open than can be counted; let fewer customers be asked about at once")

    def _await_turn(self) -> None:
        """Another worker has it for microseconds, and one that was stopped must not stop the others.

        Raises:
            OSError: it cannot be had.
        """
        deadline = 0.0
        while True:
            try:
                fcntl.flock(self._file, _TURN)
            except BlockingIOError:
                deadline = deadline or time.monotonic() + _TURN_S
                if time.monotonic() > deadline:
                    raise
                time.sleep(_NAP_S)
            else:
                return


def _page_of(claim: Claim) -> tuple[bytes, int]:
    """The key of a subject's window, and where in the file its page begins."""
    key = hashlib.blake2b(f"{claim.ends_us} {claim.subject}".encode(), digest_size=_KEY_BYTES).digest()
    return key, _PAGE_BYTES * (1 + int.from_bytes(key[:4], "big") % _PAGES)


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
                if connection.scalar(sa.text(_TAKE), claim._asdict()) is None:
                    connection.rollback()
                    return claim
            connection.commit()
        return None

    def forget(self, before_us: int) -> None:
        with translated(), self._engines.base.begin() as connection:
            connection.execute(sa.text(_FORGET), {"before_us": before_us})

    def close(self) -> None:
        self._engines.base.dispose()
