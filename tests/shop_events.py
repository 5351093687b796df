"""Hand-written events for tests: a row is (customer, item, day, kind) and, if wanted, the day it was recorded."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from features.customer_view import CustomerView
from features.instants import DAY_US
from features.schema import EVENTS

Row = tuple[object, ...]


def day(number: float) -> int:
    """The instant `number` days after 2020-01-01T00:00:00Z."""
    return 1_577_836_800_000_000 + round(number * DAY_US)


def event_table(rows: Iterable[Row]) -> pa.Table:
    """EVENTS of (customer, item, day, kind[, recorded_day[, value]])."""
    records = []
    for number, row in enumerate(rows):
        customer, item, when, kind, *rest = row
        recorded = rest[0] if rest and rest[0] is not None else when
        records.append(
            {
                "event_id": f"e{number}",
                "customer_key": customer,
                "occurred_at": day(when),
                "recorded_at": day(recorded),
                "kind": kind,
                "item_id": item,
                "order_id": f"{customer}-{when}" if kind == "purchase" else None,
                "amount_minor": 100 if kind == "purchase" else None,
                "currency": "EUR" if kind == "purchase" else None,
                "value": rest[1] if len(rest) > 1 else None,
            }
        )
    if not records:
        return EVENTS.arrow.empty_table()
    columns = {name: [record.get(name) for record in records] for name in EVENTS.names}
    return pa.table({name: pa.array(columns[name], EVENTS.arrow.field(name).type) for name in EVENTS.names})


def view_of(rows: Iterable[Row]) -> CustomerView:
    return CustomerView.from_events(event_table(rows))
