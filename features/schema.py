"""The written schema of the three tables: events, items, customers.

A column's `meaning` is its documentation (docs/schema.md is generated from here) and `required` is what
validation checks. Optional columns may be absent from a source; inside they exist and are null.

Times are UTC, microseconds. Money is integer minor units (`_minor`) and a currency. `value` is one whole number
whose unit the kind decides (see `KINDS`). The customer column holds the keyed pseudonym, never the outside id.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

__all__ = [
    "CHANGED_MIND",
    "CUSTOMERS",
    "EVENTS",
    "ITEMS",
    "KINDS",
    "MAX_ID_LENGTH",
    "Column",
    "Kind",
    "TableSchema",
]

MAX_ID_LENGTH = 256
CHANGED_MIND = "changed_mind"
"""The topic of a return that was nobody's fault."""

_INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Kind:
    """One kind of event: what it means, what its `value` counts, and the fields it must carry."""

    name: str
    meaning: str
    value_meaning: str | None = None
    value_range: tuple[int, int] | None = None
    required: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("impression", "an item was really shown to the customer", required=("item_id",)),
        Kind(
            "view",
            "the customer opened an item's page; topic out_of_stock if it could not be bought",
            required=("item_id",),
        ),
        Kind("cart", "an item was put into the basket", required=("item_id",)),
        Kind(
            "purchase",
            "one line of an order; lines of one order share order_id",
            required=("item_id", "amount_minor", "currency"),
        ),
        Kind(
            "return",
            "an item was sent back; amount_minor is the refund, not negative; topic is the reason; "
            f"{CHANGED_MIND}, or no topic, is nobody's fault",
        ),
        Kind("delivery", "an order arrived", "hours later than promised, negative when early", (-8_760, 8_760)),
        Kind("support", "a contact with support; topic is its subject", "minutes waited for an answer", (0, 525_600)),
        Kind("csat", "satisfaction after a contact", "points, 1 worst to 5 best", (1, 5), ("value",)),
        Kind("nps", "would the customer recommend the shop", "points, 0 to 10", (0, 10), ("value",)),
        Kind(
            "review", "a review of an item, in stars and perhaps words", "stars, 1 to 5", (1, 5), ("item_id", "value")
        ),
        Kind("login", "the customer signed in"),
        Kind("cancel", "a contract or subscription was ended by the customer"),
        Kind("offer", "a retention offer was sent; topic is the action"),
    )
}


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, whether every row must have it, and what it means."""

    name: str
    type: pa.DataType
    meaning: str
    required: bool = False


@dataclass(frozen=True)
class TableSchema:
    """A table's columns in order. `arrow` is the form in which the table is kept."""

    name: str
    key: str
    columns: tuple[Column, ...]

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema; required columns are not nullable."""
        return pa.schema([pa.field(c.name, c.type, nullable=not c.required) for c in self.columns])

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in order."""
        return tuple(c.name for c in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        return tuple(c.name for c in self.columns if c.required)


EVENTS = TableSchema(
    "events",
    "event_id",
    (
        Column("event_id", pa.string(), "unique name of the event; a second event of this name is a duplicate", True),
        Column("customer_key", pa.string(), "keyed pseudonym of the customer", True),
        Column("occurred_at", _INSTANT, "when it happened", True),
        Column("recorded_at", _INSTANT, "when the shop's systems knew of it, not before occurred_at", True),
        Column("kind", pa.string(), "one of KINDS", True),
        Column("item_id", pa.string(), "the item it is about"),
        Column("order_id", pa.string(), "the order it belongs to"),
        Column("quantity", pa.int64(), "pieces, at least 1; null counts as 1"),
        Column("amount_minor", pa.int64(), "money of the whole line, minor units, not negative"),
        Column("discount_minor", pa.int64(), "part of the list price not charged, minor units, not negative"),
        Column("currency", pa.string(), "ISO-4217 code of the amounts"),
        Column("channel", pa.string(), "where it happened: web, app, store or the shop's own word"),
        Column("value", pa.int64(), "a whole number whose unit depends on the kind"),
        Column("topic", pa.string(), "subject or reason, the shop's own short word"),
        Column("text", pa.string(), "free words of the customer, as in a review"),
        Column("recommendation_id", pa.string(), "the recommendation that led here"),
        Column("decision_id", pa.string(), "the decision that led here"),
    ),
)

ITEMS = TableSchema(
    "items",
    "item_id",
    (
        Column("item_id", pa.string(), "unique name of the item", True),
        Column("title", pa.string(), "what people call it"),
        Column("category", pa.string(), "the category it is sold in"),
        Column("brand", pa.string(), "who makes it"),
        Column("price_minor", pa.int64(), "list price, minor units"),
        Column("currency", pa.string(), "ISO-4217 code of the price"),
        Column("in_stock", pa.bool_(), "whether it can be bought now; null counts as true"),
    ),
)

CUSTOMERS = TableSchema(
    "customers",
    "customer_key",
    (
        Column("customer_key", pa.string(), "keyed pseudonym of the customer", True),
        Column("signed_up_at", _INSTANT, "when the customer first registered"),
        Column("country", pa.string(), "where the customer lives"),
        Column("segment", pa.string(), "the shop's own word for the kind of customer"),
    ),
)
