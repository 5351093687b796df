"""Events as integer columns, before they are sorted: the step between an Arrow table and a CustomerView."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import DataError, TimeError
from features.schema import CHANGED_MIND, KINDS
from features.tracks import BASE_COLUMNS, CHANNELS, Column, Ints

__all__ = ["RawEvents", "encode_events"]

_RETURN = tuple(KINDS).index("return")


@dataclass(frozen=True, eq=False)
class RawEvents:
    """m events of n customers in any order.

    `row` (int64) and `item` (int32, -1 for none) index the sorted `customer_keys` and `item_ids`; `order` (int32, -1
    for none) indexes `order_ids`, whose sequence means nothing; `kind` (int8) is a place in KINDS.
    """

    customer_keys: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    order_ids: pa.Array
    row: Ints
    kind: npt.NDArray[np.int8]
    occurred_us: Ints
    recorded_us: Ints
    item: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    columns: dict[str, Column]

    @staticmethod
    def concatenate(parts: Sequence[RawEvents]) -> RawEvents:
        """The events of all parts; their customers, items and orders are joined by name."""
        keys, rows = _join([part.customer_keys for part in parts], [part.row for part in parts])
        items, item = _join([part.item_ids for part in parts], [part.item for part in parts])
        orders, order = _join(
            [part.order_ids.to_numpy(zero_copy_only=False) for part in parts], [part.order for part in parts]
        )
        return RawEvents(
            keys,
            items,
            pa.array(orders.tolist(), pa.string()),
            rows.astype(np.int64),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.occurred_us for part in parts]),
            np.concatenate([part.recorded_us for part in parts]),
            item.astype(np.int32),
            order.astype(np.int32),
            {name: np.concatenate([part.columns[name] for part in parts]) for name in BASE_COLUMNS},
        )


def encode_events(events: pa.Table) -> RawEvents:
    """Integer columns of an event table; absent optional columns count as null.

    Raises:
        DataError: a required column is absent, a kind is unknown, or amounts are in more than one currency.
        TimeError: a time has no time zone.
    """
    for name in ("customer_key", "occurred_at", "recorded_at", "kind"):
        if name not in events.column_names:
            raise DataError(f"the event table has no column {name}; it is required, see docs/schema.md")
    _one_currency(events)
    keys, row = _sorted_codes(events["customer_key"])
    items, item = _sorted_codes(_column(events, "item_id", pa.string()))
    order_ids, order = _codes(_column(events, "order_id", pa.string()))
    kind = _kinds(events["kind"])
    return RawEvents(
        keys,
        items,
        order_ids,
        row.astype(np.int64),
        kind,
        _instants(events["occurred_at"]),
        _instants(events["recorded_at"]),
        item,
        order,
        _columns(events) | {"at_fault": _at_fault(kind, _column(events, "topic", pa.string()))},
    )


def _columns(events: pa.Table) -> dict[str, Column]:
    value = _column(events, "value", pa.int64())
    channel = pc.index_in(_column(events, "channel", pa.string()), value_set=pa.array(CHANNELS))
    topic = _column(events, "topic", pa.string())
    return {
        "amount_minor": _integers(_column(events, "amount_minor", pa.int64()), 0),
        "discount_minor": _integers(_column(events, "discount_minor", pa.int64()), 0),
        "quantity": _integers(_column(events, "quantity", pa.int64()), 1),
        "value": _integers(value, 0),
        "has_value": np.asarray(pc.is_valid(value)),
        "channel": (_integers(channel, -1) + 1).astype(np.int8),
        "out_of_stock": np.asarray(pc.fill_null(pc.equal(topic, "out_of_stock"), fill_value=False)),
    }


def _at_fault(kind: npt.NDArray[np.int8], topic: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Whether an event is a return with a reason that is not the customer's change of mind."""
    found = np.zeros(kind.size, np.bool_)
    returns = np.flatnonzero(kind == _RETURN)
    reason = topic.take(pa.array(returns))
    found[returns] = np.asarray(pc.fill_null(pc.not_equal(reason, CHANGED_MIND), fill_value=False))
    return found


def _column(events: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if name in events.column_names:
        return events[name]
    return pa.chunked_array([pa.nulls(events.num_rows, kind)])


def _integers(column: pa.ChunkedArray, null: int) -> Ints:
    filled = pc.fill_null(column, null) if column.null_count else column
    return np.asarray(filled).astype(np.int64, copy=False)


def _instants(column: pa.ChunkedArray) -> Ints:
    if getattr(column.type, "tz", "") is None:
        raise TimeError(f"a time of the event table is {column.type}, which has no time zone; give it one")
    return np.asarray(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())).astype(np.int64, copy=False)


def _kinds(column: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    codes = pc.index_in(column, value_set=pa.array(list(KINDS)))
    if codes.null_count:
        raise DataError(f"the event table holds a kind that is not known; known kinds: {', '.join(KINDS)}")
    return np.asarray(codes).astype(np.int8)


def _one_currency(events: pa.Table) -> None:
    if "currency" in events.column_names:
        currencies = pc.unique(events["currency"]).drop_null()
        if len(currencies) > 1:
            raise DataError(
                f"amounts are in {len(currencies)} currencies ({', '.join(sorted(currencies.to_pylist()))}); "
                "sums over them mean nothing: convert them to one currency before the import"
            )


def _codes(column: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """The distinct words in the sequence of their first use, and the place of each row's word; -1 for null."""
    if len(column) == 0:
        return pa.array([], pa.string()), np.zeros(0, np.int32)
    encoded = column.cast(pa.string()).dictionary_encode().unify_dictionaries()
    parts = [chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices for chunk in encoded.chunks]
    codes = np.concatenate([np.asarray(part) for part in parts])
    return encoded.chunk(0).dictionary, codes.astype(np.int32, copy=False)


def _sorted_codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int32]]:
    """The distinct words in ascending order, and the place of each row's word; -1 for null."""
    words, codes = _codes(column)
    ascending = np.asarray(pc.array_sort_indices(words)).astype(np.int64)
    place = np.empty(len(words) + 1, np.int32)
    place[ascending] = np.arange(len(words), dtype=np.int32)
    place[-1] = -1
    return words.take(pa.array(ascending)).to_numpy(zero_copy_only=False), place[codes]


def _join(
    words: Sequence[npt.NDArray[np.object_]], codes: Sequence[npt.NDArray[np.integer]]
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    joined = sorted({word for part in words for word in part.tolist()})
    place = {word: number for number, word in enumerate(joined)}
    renumbered = []
    for part, part_codes in zip(words, codes, strict=True):
        table = np.array([*(place[word] for word in part.tolist()), -1], np.int64)
        renumbered.append(table[part_codes])
    return np.array(joined, object), np.concatenate(renumbered)
