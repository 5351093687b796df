"""Small event tables for tests, written as rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from features.instants import parse_instant
from features.schema import EVENTS

DEFAULTS: dict[str, dict[str, Any]] = {
    "purchase": {"item_id": "i1", "amount_minor": 1000, "currency": "EUR"},
    "view": {"item_id": "i1"},
    "cart": {"item_id": "i1"},
    "impression": {"item_id": "i1"},
    "review": {"item_id": "i1", "value": 5},
    "csat": {"value": 5},
    "nps": {"value": 9},
}


def us(text: str) -> int:
    """An instant from `2026-01-31` or a full ISO time; a date is its midnight in UTC."""
    return parse_instant(text if "T" in text else f"{text}T00:00:00Z")


def event(
    customer: str, kind: str, occurred: str | int, recorded: str | int | None = None, **fields: Any
) -> dict[str, Any]:
    """One event row; `recorded` defaults to `occurred`."""
    occurred_us = us(occurred) if isinstance(occurred, str) else occurred
    recorded_us = us(recorded) if isinstance(recorded, str) else recorded
    return {
        "customer_key": customer,
        "kind": kind,
        "occurred_at": occurred_us,
        "recorded_at": occurred_us if recorded_us is None else recorded_us,
        **DEFAULTS.get(kind, {}),
        **fields,
    }


def event_table(*rows: dict[str, Any]) -> pa.Table:
    """The rows as a table of the event schema, with event ids e0, e1, ... where none is given."""
    numbered = [{"event_id": f"e{number}", **row} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, schema=EVENTS.arrow)
