"""Move accepted events from the store into the sealed log: append first, mark after.

A crash between the two repeats the append, which the log ignores event by event; nothing is lost or doubled.

What a visitor did whom a login has linked by now is sealed under the customer's key, so training sees one customer.
What was sealed before the login stays under the visitor's own key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from features.event_log import EventLog
from serving.histories import to_events
from serving.store import EventRow, Store, accepted_events
from serving.visitor_links import VisitorLinks, links_of_unsealed

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
            owners = links_of_unsealed(connection)
        if not rows:
            return Sealed(n_sealed, n_known, log.version)
        events = _under_their_owners(rows, owners, log)
        appended = log.append(events)
        first, last = rows[0]["seq"], rows[-1]["seq"]
        mark = sa.update(accepted_events).values(sealed_version=appended.version)
        with store.write() as connection:
            connection.execute(mark.where(columns.seq.between(first, last), columns.sealed_version.is_(None)))
        n_sealed += appended.n_appended
        n_known += appended.n_duplicates + len(rows) - events.num_rows


def _under_their_owners(rows: Sequence[EventRow], links: VisitorLinks, log: EventLog) -> pa.Table:
    """The events, those of linked visitors under the keys of their customers.

    Without those that an earlier run, which ended before it marked them, sealed under the visitor's key: a login may
    have come between.
    """
    events = to_events(rows)
    owners = [links.owner(row["customer_key"], row["seq"]) for row in rows]
    linked = [row["customer_key"] for row, owner in zip(rows, owners, strict=True) if owner is not None]
    if not linked:
        return events
    keys = [owner or row["customer_key"] for row, owner in zip(rows, owners, strict=True)]
    place = events.schema.get_field_index("customer_key")
    moved = events.set_column(place, events.schema.field(place), pa.array(keys, pa.string()))
    before = log.read(columns=["event_id"], customer_keys=sorted(set(linked)))["event_id"]
    return moved.filter(pc.invert(pc.is_in(moved["event_id"], value_set=before.combine_chunks())))
