"""Move accepted events from the store into the sealed log: append first, mark after.

A crash between the two repeats the append, which the log ignores event by event; nothing is lost or doubled.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from features.event_log import EventLog
from serving.histories import to_events
from serving.store import Store, accepted_events

__all__ = ["Sealed", "count_unsealed", "seal"]

_BATCH = 100_000


@dataclass(frozen=True)
class Sealed:
    """What one run moved: events newly in the log, events that it held already, and the version of the log after."""

    n_sealed: int
    n_known: int
    version: int


def count_unsealed(store: Store) -> int:
    """Accepted events that wait in the store for a log to be moved into."""
    query = sa.select(sa.func.count()).select_from(accepted_events).where(accepted_events.c.sealed_version.is_(None))
    with store.read() as connection:
        return int(connection.scalar(query) or 0)


def seal(store: Store, log: EventLog, *, batch: int = _BATCH) -> Sealed:
    """Seal everything that was accepted up to now, in batches of one commit each.

    Raises:
        UnavailableError: the store is locked; what was sealed before stays sealed.
    """
    n_sealed = n_known = 0
    columns = accepted_events.c
    query = sa.select(accepted_events).where(columns.sealed_version.is_(None)).order_by(columns.seq).limit(batch)
    while True:
        with store.read() as connection:
            rows = connection.execute(query).mappings().all()
        if not rows:
            return Sealed(n_sealed, n_known, log.version)
        appended = log.append(to_events(rows))
        first, last = rows[0]["seq"], rows[-1]["seq"]
        mark = sa.update(accepted_events).values(sealed_version=appended.version)
        with store.write() as connection:
            connection.execute(mark.where(columns.seq.between(first, last), columns.sealed_version.is_(None)))
        n_sealed += appended.n_appended
        n_known += appended.n_duplicates
