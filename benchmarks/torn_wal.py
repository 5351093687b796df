"""Databases whose write-ahead log was torn off at some byte, or has a flipped one: what the store finds in them."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from features.errors import HoldfastError
from serving.store import EVENT_FIELDS, Store, accepted_events

_COMMITS = 40
_MOST_ROWS = 5
_COLUMNS = [accepted_events.c[name] for name in ("seq", *EVENT_FIELDS)]


@dataclass(frozen=True)
class Kept:
    """A database with its log as a killed process leaves them, and what was acknowledged, in order.

    ends: after how many rows a commit ended; in_file: how many rows the file holds by itself.
    """

    file: Path
    wal: bytes
    rows: tuple[tuple[Any, ...], ...]
    ends: frozenset[int]
    in_file: int


def keep(folder: Path, rng: random.Random) -> Kept:
    """Commits in the store: some of them moved into the file, behind the newest in the log lie older frames."""
    store = Store.open(folder / "service.db")
    ends = [0]
    for moved in ("TRUNCATE", "RESTART", None):
        for _ in range(_COMMITS):
            rows = [_row(ends[-1] + n, rng) for n in range(rng.randint(1, _MOST_ROWS))]
            with store.write() as connection:
                store.append_events(connection, rows, 10)
            ends.append(ends[-1] + len(rows))
        if moved is not None:
            with closing(sqlite3.connect(folder / "service.db")) as other:
                other.execute(f"PRAGMA wal_checkpoint({moved})")
            in_file = ends[-1]
    copied = folder / "copied.db"
    shutil.copy(folder / "service.db", copied)
    wal = (folder / "service.db-wal").read_bytes()
    rows_then = _read(store)
    store.close()
    return Kept(copied, wal, rows_then, frozenset(ends), in_file)


def _row(number: int, rng: random.Random) -> dict[str, Any]:
    given = {"event_id": f"e-{number}", "customer_key": f"k:{rng.randrange(50)}", "occurred_at": number, "kind": "view"}
    return dict.fromkeys(EVENT_FIELDS) | given | {"text": "x" * rng.randrange(2_000)}


def _read(store: Store) -> tuple[tuple[Any, ...], ...]:
    with store.read() as connection:
        return tuple(tuple(row) for row in connection.execute(sa.select(*_COLUMNS).order_by(accepted_events.c.seq)))


def damaged(wal: bytes, rng: random.Random, *, torn: bool) -> bytes:
    """The log torn off before some byte, or with some byte changed."""
    place = rng.randrange(len(wal))
    if torn:
        return wal[:place]
    return wal[:place] + bytes([wal[place] ^ rng.randrange(1, 256)]) + wal[place + 1 :]


@dataclass(frozen=True)
class Opened:
    """n_rows: how many were found. fault: what is wrong with them, None where nothing is."""

    n_rows: int
    fault: str | None


def opened(kept: Kept, wal: bytes, folder: Path) -> Opened:
    """Open the database with a log in a fresh folder, by the store as a service does, and go on with it."""
    folder.mkdir()
    shutil.copy(kept.file, folder / "service.db")
    (folder / "service.db-wal").write_bytes(wal)
    try:
        store = Store.open(folder / "service.db", check=True)
    except HoldfastError as error:
        return Opened(0, f"not opened: {type(error).__name__}")
    try:
        rows = _read(store)
        with store.write() as connection:  # it can be gone on with
            more = store.append_events(connection, [_row(10**6, random.Random(0))], 10)
        with store.read() as connection:
            sound = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
    finally:
        store.close()
    return Opened(len(rows), _fault(kept, rows, sound and more == [True]))


def _fault(kept: Kept, rows: Sequence[tuple[Any, ...]], sound: bool) -> str | None:
    if rows != kept.rows[: len(rows)]:
        return "a row that was never written, or not in this place"
    if len(rows) not in kept.ends:
        return "a part of a commit"
    if len(rows) < kept.in_file:
        return "less than the file holds"
    return None if sound else "the file is damaged, or takes nothing more"
