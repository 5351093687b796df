"""What a store holds of acknowledged events: whether each is there once, as it was sent, in a file without damage."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_ALL = "SELECT event_id, item_id, customer_key FROM accepted_events NOT INDEXED"


@dataclass(frozen=True)
class Found:
    """n_lost: acknowledged and not there, or not as sent. n_doubled: rows beyond the first of an event.

    n_more: there and not acknowledged yet. n_nameless: of customers whose outside id nobody kept.
    """

    n_lost: int
    n_doubled: int
    n_more: int
    n_nameless: int
    sound: bool

    @property
    def clean(self) -> bool:
        """Nothing lost, doubled or damaged."""
        return self.sound and not (self.n_lost or self.n_doubled or self.n_nameless)


def found_in(store: Path, met: Path, acknowledged: Sequence[str], known: frozenset[str] = frozenset()) -> Found:
    """Read a store that a service may be using.

    Args:
        store: the file.
        met: the file of the ids of new customers.
        acknowledged: event ids.
        known: the keys of customers who are not new.
    """
    with closing(sqlite3.connect(store)) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute(_ALL).fetchall()
    with closing(sqlite3.connect(met)) as connection:
        named = {key for (key,) in connection.execute("SELECT customer_key FROM met")} | known
        sound = sound and connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    there = {event_id for event_id, item_id, _ in rows if item_id == f"of-{event_id.rpartition('-')[0]}"}
    return Found(
        n_lost=len(set(acknowledged) - there),
        n_doubled=len(rows) - len({event_id for event_id, _, _ in rows}),
        n_more=len(there - set(acknowledged)),
        n_nameless=len({key for _, _, key in rows} - named),
        sound=sound,
    )


def left_behind(store: Path, met: Path, acknowledged: Sequence[str], known: frozenset[str] = frozenset()) -> Found:
    """The same of files as killed processes left them, read from a copy: the service mends its own files by itself."""
    with tempfile.TemporaryDirectory() as name:
        for path in (store, met):
            for end in ("", "-wal", "-journal"):
                if (one := path.with_name(path.name + end)).exists():
                    shutil.copy(one, name)
        return found_in(Path(name) / store.name, Path(name) / met.name, acknowledged, known)
