"""Where the day loop writes what happened: columns of small integers, turned into one Arrow table at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.instants import DAY_US, HOUR_US, SECOND_US
from features.schema import EVENTS
from training.simulated_shop.arrays import Ints
from training.simulated_shop.catalogue import CURRENCY
from training.simulated_shop.settings import CHANNELS, OFFER_KINDS
from training.simulated_shop.words import SENTENCES

__all__ = ["EVENT_KINDS", "NONE", "TOPICS", "Ledger", "event_table"]

NONE = -(1 << 40)
"""Stands for null in every column of the ledger."""
EVENT_KINDS = (
    "impression", "view", "cart", "purchase", "return", "delivery", "support", "csat", "nps", "review", "login",
    "cancel", "offer",
)  # fmt: skip
TOPICS = (
    "out_of_stock", "not_as_expected", "changed_mind", "late_delivery", "product", "payment", "account",
    "complaint_unanswered", *OFFER_KINDS,
)  # fmt: skip

_OUTSIDE_COLUMNS = ("customer", "occurred_us", "kind", "item", "order", "quantity", "amount", "discount", "channel",
                    "value", "topic", "text", "recommendation", "decision")  # fmt: skip
_WIDE = frozenset(("occurred_us", "order", "recommendation", "decision"))


@dataclass
class Ledger:
    """Blocks of events in the order in which the loop met them."""

    blocks: list[dict[str, npt.NDArray[np.int64 | np.int32]]] = field(default_factory=list)

    def add(self, kind: str, customer: Ints, occurred_us: Ints, **columns: Ints | int) -> None:
        """Write one event a row; a column that is left out is null, a number stands for the whole block."""
        if len(customer) == 0:
            return
        given: dict[str, Ints | int] = {
            "customer": customer,
            "occurred_us": occurred_us,
            "kind": EVENT_KINDS.index(kind),
            **columns,
        }
        block: dict[str, npt.NDArray[np.int64 | np.int32]] = {}
        for name, values in given.items():
            if name not in _OUTSIDE_COLUMNS:
                raise KeyError(name)
            full = np.broadcast_to(np.asarray(values, dtype=np.int64), (len(customer),))
            block[name] = full if name in _WIDE else np.where(full == NONE, _NONE_32, full).astype(np.int32)
        self.blocks.append(block)

    def column(self, name: str) -> npt.NDArray[np.int64 | np.int32]:
        """One whole column; `_NONE_32` or NONE where null."""
        dtype = np.int64 if name in _WIDE else np.int32
        empty = NONE if name in _WIDE else _NONE_32
        parts = [
            block[name] if name in block else np.full(len(block["customer"]), empty, dtype) for block in self.blocks
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype)


_NONE_32 = -(1 << 31)


def event_table(
    ledger: Ledger, customer_ids: list[str], item_ids: list[str], end_us: int, rng: np.random.Generator
) -> pa.Table:
    """The log that the shop has at its end: EVENTS with `customer_id` in place of `customer_key`, by recorded_at.

    Nearly all events are recorded within seconds, two in a hundred hours later, one in three hundred days later.
    What would be recorded at or after `end_us` is not there yet.
    """
    occurred = ledger.column("occurred_us").astype(np.int64)
    recorded = occurred + _delay_us(len(occurred), rng)
    order = np.lexsort((np.arange(len(occurred)), recorded))
    order = order[recorded[order] < end_us]
    taken = {name: ledger.column(name)[order] for name in _OUTSIDE_COLUMNS}
    amount = _integers(taken["amount"])
    columns = {
        "event_id": _name("E", np.arange(len(order), dtype=np.int64), 9),
        "customer_id": pa.array(customer_ids, pa.string()).take(pa.array(taken["customer"])),
        "occurred_at": pa.array(occurred[order], pa.timestamp("us", tz="UTC")),
        "recorded_at": pa.array(recorded[order], pa.timestamp("us", tz="UTC")),
        "kind": _words(EVENT_KINDS, taken["kind"]),
        "item_id": _words(item_ids, taken["item"]),
        "order_id": _name("O", taken["order"], 8),
        "quantity": _integers(taken["quantity"]),
        "amount_minor": amount,
        "discount_minor": _integers(taken["discount"]),
        "currency": pc.if_else(pc.is_valid(amount), CURRENCY, pa.scalar(None, pa.string())),
        "channel": _words(CHANNELS, taken["channel"]),
        "value": _integers(taken["value"]),
        "topic": _words(TOPICS, taken["topic"]),
        "text": _words(SENTENCES, taken["text"]),
        "recommendation_id": _name("R", taken["recommendation"], 8),
        "decision_id": _name("D", taken["decision"], 8),
    }
    names = ["customer_id" if name == "customer_key" else name for name in EVENTS.names]
    return pa.table([columns[name] for name in names], names=names)


def _delay_us(n: int, rng: np.random.Generator) -> Ints:
    seconds = 1 + rng.exponential(4.0, n)
    draw = rng.random(n)
    seconds = np.where(draw < 0.020, rng.exponential(6 * HOUR_US / SECOND_US, n), seconds)
    seconds = np.where(draw < 0.003, rng.uniform(1, 6, n) * DAY_US / SECOND_US, seconds)
    return np.asarray(seconds * SECOND_US, dtype=np.int64)


def _missing(values: npt.NDArray[np.int64 | np.int32]) -> npt.NDArray[np.bool_]:
    return np.asarray(values == (NONE if values.dtype == np.int64 else _NONE_32), dtype=np.bool_)


def _integers(values: npt.NDArray[np.int64 | np.int32]) -> pa.Array:
    return pa.array(values.astype(np.int64), mask=_missing(values))


def _words(words: list[str] | tuple[str, ...], codes: npt.NDArray[np.int64 | np.int32]) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(codes, mask=_missing(codes)))


def _name(prefix: str, numbers: npt.NDArray[np.int64 | np.int32], width: int) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(_integers(numbers), pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")
