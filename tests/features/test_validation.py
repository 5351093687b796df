from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.customer_view import CustomerView
from features.errors import DataError, TimeError
from features.schema import CUSTOMERS, EVENTS
from features.schema_page import schema_page
from features.validation import validate

INSTANT = pa.timestamp("us", tz="UTC")
GOOD = {
    "event_id": "e", "customer_key": "c", "occurred_at": 5, "recorded_at": 5, "kind": "purchase", "item_id": "i",
    "order_id": "o", "quantity": 1, "amount_minor": 10, "currency": "EUR",
}  # fmt: skip


def table(*rows):
    fields = [pa.field(c.name, c.type) for c in EVENTS.columns if c.name in {**GOOD, "value": 0}]
    return pa.Table.from_pylist([{**GOOD, **row} for row in rows], schema=pa.schema(fields))


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"event_id": None}, "event_id", "is missing"),
        ({"event_id": ""}, "event_id", "is empty"),
        ({"item_id": "ä" * 257}, "item_id", "has more than 256 characters"),
        ({"customer_key": None}, "customer_key", "is missing"),
        ({"occurred_at": -1, "recorded_at": 5}, "occurred_at", "is not between 1970-01-01 and 2200-01-01"),
        ({"occurred_at": 6}, "recorded_at", "is before occurred_at"),
        ({"quantity": 0}, "quantity", "is below 1"),
        ({"amount_minor": -1}, "amount_minor", "is negative; money is never below 0"),
        ({"amount_minor": None}, "amount_minor", "is missing; kind purchase needs it"),
        ({"currency": None}, "currency", "is missing; kind purchase needs it"),
        ({"currency": "euro"}, "currency", "is not a three-letter ISO-4217 code"),
        ({"currency": "E1R"}, "currency", "is not a three-letter ISO-4217 code"),
        ({"kind": "return", "currency": None}, "currency", "is missing beside amount_minor"),
        ({"kind": "view", "item_id": None}, "item_id", "is missing; kind view needs it"),
        ({"kind": "csat"}, "value", "is missing; kind csat needs it"),
        ({"kind": "csat", "value": 6}, "value", "is not between 1 and 5, as kind csat needs"),
        ({"kind": "nps", "value": -1}, "value", "is not between 0 and 10, as kind nps needs"),
    ],
)
def test_a_bad_row_is_named_with_field_and_reason(change, field, reason):
    judged = validate(table({}, change, {}), EVENTS, np.array([10, 20, 30]))
    assert judged.quarantined.to_pylist() == [{"row": 20, "field": field, "reason": reason}]
    assert judged.accepted.num_rows == 2


def test_an_unknown_kind_is_named_with_the_known_ones():
    (found,) = validate(table({"kind": "telepathy"}), EVENTS).quarantined.to_pylist()
    assert found["field"] == "kind"
    assert "purchase" in found["reason"]
    assert "telepathy" not in found["reason"]


@pytest.mark.parametrize(
    "change",
    [{"item_id": "ä" * 256}, {"occurred_at": 0}, {"amount_minor": 0}, {"quantity": None}, {"kind": "nps", "value": 0},
     {"kind": "nps", "value": 10}, {"kind": "delivery", "value": -8760}, {"kind": "return", "amount_minor": None}],
)  # fmt: skip
def test_the_edge_of_a_rule_is_still_good(change):
    assert validate(table(change), EVENTS).quarantined.num_rows == 0


def test_a_row_that_breaks_two_rules_is_one_line():
    judged = validate(table({"quantity": 0, "amount_minor": -1}), EVENTS)
    assert judged.quarantined.num_rows == 1
    assert judged.accepted.num_rows == 0


def test_accepted_rows_have_every_column_of_the_schema():
    assert validate(table({}), EVENTS).accepted.column_names == list(EVENTS.names)


def test_a_missing_or_unknown_column_or_type_is_refused_by_name():
    with pytest.raises(DataError, match="customer_key"):
        validate(pa.table({"country": ["FR"]}), CUSTOMERS)
    with pytest.raises(DataError, match="email"):
        validate(pa.table({"customer_key": ["c"], "email": ["x"]}), CUSTOMERS)
    with pytest.raises(DataError, match="signed_up_at"):
        validate(pa.table({"customer_key": ["c"], "signed_up_at": ["soon"]}), CUSTOMERS)


@pytest.mark.parametrize("naive", [pa.timestamp("us"), pa.timestamp("s"), pa.date32()])
def test_a_time_without_a_zone_is_refused(naive):
    rows = table({}).set_column(2, "occurred_at", pa.array([0], pa.int32()).cast(pa.date32()).cast(naive))
    with pytest.raises(TimeError, match=r"occurred_at is .* no time zone"):
        validate(rows, EVENTS)
    if naive != pa.date32():
        with pytest.raises(TimeError, match="no time zone"):
            CustomerView.from_events(rows)


def test_the_schema_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "schema.md"
    assert page.read_text(encoding="utf-8") == schema_page()
