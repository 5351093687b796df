"""All that is known of a set of customers, as ragged columns sorted by (track, customer, time).

Built once from the event log, sorted once; every window of every cut-off is then two positions and a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.day_tracks import ACTIVE_DAY, DISAPPOINTMENT_DAY, FAULTS, OWN_DOING, days_of, where
from features.raw_events import RawEvents, encode_events
from features.schema import KINDS
from features.sorting import stable_order
from features.tracks import ORDER, Columns, Ints, Track

__all__ = ["TRACKS", "CustomerView"]

TRACKS: tuple[str, ...] = (*KINDS, ORDER)
"""The tracks of a view: one a kind, and the derived track of orders."""

_PURCHASE = TRACKS.index("purchase")
_ORDER = TRACKS.index(ORDER)


@dataclass(frozen=True, eq=False)
class CustomerView:
    """Events of n customers in canonical order: equal content gives equal arrays, however the input was ordered.

    `event_id` must be unique in the input (the event log sees to it). Ties at one instant are ordered by item, value
    and amount.

    Attributes:
        customer_keys: object (n,), pseudonyms, sorted ascending; a row number is a place in it.
        item_ids: object (n_items,), sorted ascending.
        offsets: int64 (n_tracks * n + 1,), the events of (track t, customer i) are `offsets[t * n + i]:[... + 1]`.
    """

    customer_keys: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    order_ids: pa.Array = field(repr=False)
    offsets: Ints = field(repr=False)
    occurred_us: Ints = field(repr=False)
    recorded_us: Ints = field(repr=False)
    item: npt.NDArray[np.int32] = field(repr=False)
    order: npt.NDArray[np.int32] = field(repr=False)
    columns: Columns = field(repr=False)
    _tracks: dict[str, Track] = field(default_factory=dict, repr=False)

    @classmethod
    def from_events(cls, events: pa.Table) -> CustomerView:
        """The view of a table with the columns of `schema.EVENTS` (those that features do not use may be absent).

        Raises:
            DataError: a kind is unknown, or amounts are in more than one currency.
        """
        return _assemble(encode_events(events))

    @classmethod
    def union(cls, views: Sequence[CustomerView]) -> CustomerView:
        """One view of the events of several, which must have no event in common."""
        return _assemble(RawEvents.concatenate([view.raw() for view in views]))

    def as_one(self, customer_key: str) -> CustomerView:
        """The view of all these events as one customer's: as if every one of them had been sent under this key."""
        if self.n_customers == 1:
            return replace(self, customer_keys=np.array([customer_key], object))
        raw = self.raw()
        key = np.array([customer_key] if raw.row.size else [], object)
        return _assemble(replace(raw, customer_keys=key, row=np.zeros_like(raw.row)))

    @property
    def n_customers(self) -> int:
        """How many customers have at least one event."""
        return int(self.customer_keys.size)

    def __len__(self) -> int:
        return int(self.offsets[_ORDER * self.n_customers]) if self.n_customers else 0

    @cached_property
    def _row_by_key(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.customer_keys.tolist())}

    def rows_of(self, customer_keys: Sequence[str]) -> Ints:
        """int64: the row of each key; -1 for a customer without events."""
        known = self._row_by_key
        return np.fromiter((known.get(key, -1) for key in customer_keys), np.int64, len(customer_keys))

    def track(self, name: str) -> Track:
        """The events of one kind, or a derived track: ORDER, ACTIVE_DAY or DISAPPOINTMENT_DAY.

        Raises:
            KeyError: there is no such track.
        """
        found = self._tracks.get(name)
        if found is None:
            if name == ACTIVE_DAY:
                found = days_of([self.track(kind) for kind in OWN_DOING])
            elif name == DISAPPOINTMENT_DAY:
                found = days_of([where(self.track(kind), column) for kind, column in FAULTS])
            elif name in TRACKS:
                found = self._slice(TRACKS.index(name))
            else:
                raise KeyError(name)
            self._tracks[name] = found
        return found

    def _slice(self, track: int) -> Track:
        n = self.n_customers
        offsets = self.offsets[track * n : (track + 1) * n + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        return Track(
            offsets - offsets[0],
            self.occurred_us[part],
            self.recorded_us[part],
            self.item[part],
            self.columns.at(part),
        )

    def select(self, rows: Ints | Sequence[int]) -> CustomerView:
        """The view of some customers alone. `rows` ascending and distinct; `item_ids` shrinks to their items."""
        chosen = np.asarray(rows, np.int64)
        segments = (np.arange(len(TRACKS))[:, None] * self.n_customers + chosen).ravel()
        starts, sizes = self.offsets[segments], self.offsets[segments + 1] - self.offsets[segments]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        places = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        return self._take(places, offsets, self.customer_keys[chosen])

    def known_at(self, as_of_us: int) -> CustomerView:
        """The view of what was known at an instant: `occurred_at < as_of` and `recorded_at < as_of`.

        Orders are derived anew, so an order whose first line was recorded late counts from the line then known.
        The customers stay the same; some may have no event left.
        """
        known = (self.occurred_us < as_of_us) & (self.recorded_us < as_of_us)
        if known.all():
            return self
        return _assemble(self.raw(known))

    def before(self, ends_us: Ints) -> CustomerView:
        """The view of what occurred before an instant of each customer's own: int64 (n,), microseconds, exclusive.

        Orders are derived anew. The customers stay the same; some may have no event left.
        """
        segment = np.repeat(np.arange(len(TRACKS) * self.n_customers), np.diff(self.offsets))
        kept = self.occurred_us < ends_us[segment % max(self.n_customers, 1)]
        return self if kept.all() else _assemble(self.raw(kept))

    def hidden_at(self, as_of_us: int) -> Ints:
        """int64: rows of customers with an event that had occurred, but was not recorded yet: late for `as_of`."""
        late = np.flatnonzero((self.occurred_us < as_of_us) & (self.recorded_us >= as_of_us))
        segments = np.searchsorted(self.offsets, late, side="right") - 1
        return np.unique(segments % max(self.n_customers, 1))

    def _take(self, places: Ints, offsets: Ints, keys: npt.NDArray[np.object_]) -> CustomerView:
        item = self.item[places]
        used = np.zeros(self.item_ids.size + 1, np.bool_)  # the last place takes the -1 of events without an item
        used[item] = True
        used[-1] = False
        renumber = np.cumsum(used, dtype=np.int32) - np.int32(1)
        renumber[-1] = -1
        return CustomerView(
            customer_keys=keys,
            item_ids=self.item_ids[used[:-1]],
            order_ids=self.order_ids,
            offsets=offsets,
            occurred_us=self.occurred_us[places],
            recorded_us=self.recorded_us[places],
            item=renumber[item],
            order=self.order[places],
            columns=self.columns.at(places),
        )

    def raw(self, keep: npt.NDArray[np.bool_] | None = None) -> RawEvents:
        """The events as they were before orders were derived; `keep` is a mask over all rows of this view."""
        end = len(self)
        n = self.n_customers
        segment = np.repeat(np.arange(_ORDER * n), np.diff(self.offsets[: _ORDER * n + 1]))
        places = slice(0, end) if keep is None else np.flatnonzero(keep[:end])
        segment = segment[places]
        orders = self.order[places]
        used = np.unique(orders[orders >= 0])
        order = np.full(orders.size, -1, np.int32)
        order[orders >= 0] = np.searchsorted(used, orders[orders >= 0])
        return RawEvents(
            customer_keys=self.customer_keys,
            item_ids=self.item_ids,
            order_ids=self.order_ids.take(pa.array(used)),
            row=segment % max(n, 1),
            kind=(segment // max(n, 1)).astype(np.int8),
            occurred_us=self.occurred_us[places],
            recorded_us=self.recorded_us[places],
            item=self.item[places],
            order=order,
            columns={name: column[places] for name, column in self.columns.items()},
        )


def _assemble(raw: RawEvents) -> CustomerView:
    """Sort into canonical order and put the derived track of orders behind the kinds."""
    n = raw.customer_keys.size
    segment = raw.kind.astype(np.int64) * n + raw.row
    counts = np.bincount(segment, minlength=len(TRACKS) * n).astype(np.int64)
    places = _canonical_order(raw, segment, counts)
    before = int(counts[: _PURCHASE * n].sum())
    lines = places[before : before + int(counts[_PURCHASE * n : (_PURCHASE + 1) * n].sum())]
    first = lines[_first_lines(raw.row[lines], raw.order[lines], raw.occurred_us[lines])]
    if n:
        counts[_ORDER * n :] = np.bincount(raw.row[first], minlength=n)
    places = np.concatenate((places, first))
    return CustomerView(
        customer_keys=raw.customer_keys,
        item_ids=raw.item_ids,
        order_ids=raw.order_ids,
        offsets=np.concatenate(([0], np.cumsum(counts))),
        occurred_us=raw.occurred_us.take(places),
        recorded_us=raw.recorded_us.take(places),
        item=raw.item.take(places),
        order=raw.order.take(places),
        columns=Columns(raw.columns, places),
    )


def _canonical_order(raw: RawEvents, segment: Ints, counts: Ints) -> Ints:
    """int64 (m,): the places that sort events by (segment, occurred_at), ties by item, then by value, amount, ..."""
    by_time = np.argsort(raw.occurred_us)
    order = by_time.take(stable_order(segment.take(by_time), counts.size))
    tied = _equal_neighbours(np.repeat(np.arange(counts.size), counts), raw.occurred_us.take(order))
    if not tied.any():
        return order
    in_run, run = _members(tied)
    members = order[in_run]
    n_items = raw.item_ids.size + 1
    key = run * n_items + (raw.item[members] + 1)
    settled = stable_order(key, (int(run[-1]) + 1) * n_items)
    members = order[in_run] = members[settled]
    still = _equal_neighbours(key[settled])
    if still.any():
        within, run = _members(still)
        members = members[within]
        names = (
            "at_fault",
            "out_of_stock",
            "channel",
            "quantity",
            "discount_minor",
            "amount_minor",
            "has_value",
            "value",
        )
        keys = [raw.recorded_us[members], *(raw.columns[name][members] for name in names), run]
        order[in_run[within]] = members[np.lexsort(keys)]
    return order


def _equal_neighbours(*keys: Ints) -> npt.NDArray[np.bool_]:
    """Booleans (m - 1,): whether all keys of an event equal those of the next one."""
    return np.asarray(np.logical_and.reduce([key[1:] == key[:-1] for key in keys]))


def _members(tied: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The places that lie in a run of equal neighbours, and for each the number of its run, from 0."""
    in_run = np.flatnonzero(np.concatenate((tied, [False])) | np.concatenate(([False], tied)))
    run = np.cumsum(np.concatenate(([False], ~tied)))[in_run]
    return in_run, run - run[0]


def _first_lines(row: Ints, order: npt.NDArray[np.int32], occurred_us: Ints) -> Ints:
    """int64: places of the first line of each order; lines sorted by (customer, time).

    Lines of one customer with one order_id are one order. A line without order_id belongs to the order of its instant.
    """
    places = np.arange(row.size)
    named = order >= 0
    first = np.zeros(row.size, np.bool_)
    n_orders = int(order.max(initial=-1)) + 1
    pair = row[named] * n_orders + order[named]
    ascending = stable_order(pair, (int(row.max(initial=0)) + 1) * n_orders)
    ordered = pair.take(ascending)
    first[places[named][ascending[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: pair.size]]]] = True
    bare = places[~named]
    if bare.size:
        again = (row[bare[1:]] == row[bare[:-1]]) & (occurred_us[bare[1:]] == occurred_us[bare[:-1]])
        first[bare[np.concatenate(([True], ~again))]] = True
    return np.flatnonzero(first)
