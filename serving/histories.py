"""The compact history of each customer: the sealed log as loaded at the start, and what was accepted since.

The tail is read from the store by sequence number, so every process sees what any of them accepted. Of its events only
the newest stay in memory; of the others the numbers, by which they are read again when their customer is asked about.
What a customer did as a visitor before logging in is part of the customer's history; see visitor_links. One thread uses
a `Histories`; the views it hands out never change and may be read anywhere.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.customer_view import CustomerView
from features.event_log import EventLog
from features.schema import EVENTS
from serving.store import EVENT_FIELDS, EventRow, Store
from serving.visitor_links import VisitorLinks

__all__ = ["Histories", "SealedHistory", "to_events"]

_COLUMNS = (
    "event_id",
    "customer_key",
    "occurred_at",
    "recorded_at",
    "kind",
    "item_id",
    "order_id",
    "quantity",
    "amount_minor",
    "discount_minor",
    "currency",
    "channel",
    "value",
    "topic",
)
_VIEWS_KEPT, _VIEWED_EVENTS_KEPT = 4_096, 80_000
"""Whichever is reached first: histories differ in length, and grow."""
_ROWS_KEPT = 20_000
"""Of the newest accepted events, a KB each."""
_NOTHING: array[int] = array("q")


@dataclass(frozen=True, eq=False)
class SealedHistory:
    """The sealed log in memory.

    Attributes:
        view: all customers' events.
        version: of the log; -1 where there is no log yet.
        currency: of all amounts; None where nothing was ever paid.
        event_hashes: int64, ascending hashes of the event ids, 8 bytes each; tells a repeated event of an import.
            The chance that a new event among n is taken for a repeated one is n / 2^64.
    """

    view: CustomerView
    version: int = -1
    currency: str | None = None
    event_hashes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    @classmethod
    def of(cls, log: EventLog | None) -> SealedHistory:
        """Read a log, or start from nothing."""
        if log is None:
            return cls(CustomerView.from_events(EVENTS.arrow.empty_table()))
        version = log.version
        events = log.read(columns=_COLUMNS, version=version)
        currencies = pc.unique(events["currency"]).drop_null().to_pylist()
        hashes = np.fromiter(_hashes(events["event_id"]), np.int64, events.num_rows)
        hashes.sort()
        view = CustomerView.from_events(events.drop_columns(["event_id"]))
        return cls(view, version, currencies[0] if currencies else None, hashes)

    def has(self, event_id: str) -> bool:
        """Whether the sealed log holds an event of this name."""
        wanted = np.int64(hash(event_id))
        place = int(np.searchsorted(self.event_hashes, wanted))
        return place < self.event_hashes.size and bool(self.event_hashes[place] == wanted)


def _hashes(ids: pa.ChunkedArray) -> Iterable[int]:
    for chunk in ids.chunks:
        yield from map(hash, chunk.to_pylist())


def to_events(rows: Sequence[EventRow]) -> pa.Table:
    """Rows of the store as a table in the written schema of events."""
    fields = EVENTS.arrow
    arrays = [pa.array([row[name] for row in rows], fields.field(name).type) for name in EVENT_FIELDS]
    return pa.Table.from_arrays(arrays, schema=fields)


class Histories:
    """`history(customer_key)` at any moment, the event accepted a moment ago included."""

    def __init__(self, store: Store, sealed: SealedHistory) -> None:
        self.sealed = sealed
        self.currency = sealed.currency
        self.latest_recorded_us: dict[str, int] = {}
        self.newest_recorded_us = 0  # of all of them
        self._tail = store.tail()
        self._links = VisitorLinks()
        self._links_seq = -1  # none were read
        self._seq = store.sealed_until(sealed.version)  # what the log holds is not read a second time
        self._tails: dict[str, array[int]] = {}  # sequence numbers of each customer's events
        self._newest: dict[int, EventRow] = {}  # in the order of their numbers
        self._views: dict[str, tuple[int, CustomerView]] = {}  # the one asked for last stands last
        self._n_viewed = 0  # events in these views
        self.catch_up()

    @property
    def n_customers(self) -> int:
        """Customers with at least one sealed event."""
        return self.sealed.view.n_customers

    def close(self) -> None:
        """Give the connection back."""
        self._tail.close()

    def catch_up(self) -> int:
        """Take in what was accepted, here or by another process, since the last call; how many events.

        Raises:
            UnavailableError: the store cannot be read now; what is in memory stays as it is.
        """
        rows = self._tail.after(self._seq)
        if rows or self._links_seq < 0:  # a new link comes with an event
            self._link(self._tail.links_after(self._links_seq))
        for row in rows:
            self._seq = row["seq"]
            if not self._is_sealed(row):
                self._newest[self._seq] = row
                self._take(row)
                if len(self._newest) > _ROWS_KEPT:
                    del self._newest[next(iter(self._newest))]
        return len(rows)

    def knows(self, customer_key: str) -> bool:
        """Whether there is an event of the customer."""
        return customer_key in self._tails or int(self.sealed.view.rows_of((customer_key,))[0]) >= 0

    def history(self, customer_key: str) -> CustomerView | None:
        """The view of one customer; None where nothing is known of the customer.

        Views are kept for the customers asked for last, with the sums that features have made on them: a customer
        who is here now is asked about again, and an event adds to the view instead of making it anew.

        Raises:
            UnavailableError: the store cannot be read now, and older events than those in memory are needed.
        """
        tail = self._tails.get(customer_key, _NOTHING)
        n_merged, view = self._taken_out(customer_key)
        if view is None:
            view = self._sealed_of(customer_key)
        if n_merged < len(tail):
            newer = CustomerView.from_events(to_events(self._rows(tail[n_merged:]))).as_one(customer_key)
            view = newer if view is None else CustomerView.union([view, newer])
        if view is not None:
            self._views[customer_key] = (len(tail), view)
            self._n_viewed += len(view)
            while len(self._views) > _VIEWS_KEPT or self._n_viewed > _VIEWED_EVENTS_KEPT:
                self._taken_out(next(iter(self._views)))
        return view

    def at_hand(self, customer_key: str | None, visitor_key: str | None) -> CustomerView | None:
        """The view of the customer, of the visitor, or of both at once: a login need not be known yet."""
        if customer_key is not None and visitor_key is not None:
            return self.together(customer_key, visitor_key)
        key = visitor_key if customer_key is None else customer_key
        return None if key is None else self.history(key)

    def together(self, customer_key: str, visitor_key: str) -> CustomerView | None:
        """The view of a customer who is here as this visitor, whose events count for this once if nobody owns them."""
        known = self.history(customer_key)
        visitor = None if self._links.knows(visitor_key) else self.history(visitor_key)
        if visitor is None:
            return known
        here = visitor.as_one(customer_key)
        return here if known is None else CustomerView.union([known, here])

    def many(self, customer_keys: Collection[str]) -> tuple[CustomerView, ...]:
        """Views that together hold the given customers (distinct) as far as anything is known of them."""
        if len(customer_keys) == 1:
            view = self.history(next(iter(customer_keys)))
            return () if view is None else (view,)
        newer, linked = self._tails, self._links.visitors_of
        moved = [key for key in customer_keys if key in newer or key in linked]
        tails = [view for key in moved if (view := self.history(key)) is not None]
        rows = self.sealed.view.rows_of([key for key in customer_keys if key not in newer and key not in linked])
        rows = np.sort(rows[rows >= 0])
        return (*tails, self.sealed.view.select(rows)) if rows.size else tuple(tails)

    def _is_sealed(self, row: EventRow) -> bool:
        """By its mark, or by its name: an import may have brought it before it was sealed and marked."""
        version = row["sealed_version"]
        return (version is not None and version <= self.sealed.version) or self.sealed.has(row["event_id"])

    def _sealed_of(self, customer_key: str) -> CustomerView | None:
        """What the log holds of the customer, under the own key and under those of visitors who logged in since."""
        visitors = self._links.visitors_of.get(customer_key)
        if visitors is None:
            row = self.sealed.view.rows_of((customer_key,))
            return None if row[0] < 0 else self.sealed.view.select(row)
        theirs = [visitor for visitor in visitors if self._links.owner_of_sealed(visitor) == customer_key]
        rows = self.sealed.view.rows_of((customer_key, *theirs))
        rows = np.sort(rows[rows >= 0])
        return self.sealed.view.select(rows).as_one(customer_key) if rows.size else None

    def _take(self, row: EventRow) -> None:
        key = row["customer_key"]
        self._credit(key, row)
        owner = self._links.owner(key, row["seq"])
        if owner is not None:
            self._credit(owner, row)
        if self.currency is None and row["amount_minor"] is not None:
            self.currency = row["currency"]

    def _credit(self, key: str, row: EventRow) -> None:
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = array("q")
        tail.append(row["seq"])
        self.latest_recorded_us[key] = max(row["recorded_at"], self.latest_recorded_us.get(key, 0))
        self.newest_recorded_us = max(row["recorded_at"], self.newest_recorded_us)

    def _link(self, links: Sequence[EventRow]) -> None:
        """Take links in; the events that change hands with them go where they belong."""
        self._links_seq = links[-1]["seq"] if links else max(self._links_seq, 0)
        for visitor, customers in self._links.take(links).items():
            theirs = self._tails.get(visitor, _NOTHING)
            places = set(theirs)
            for customer in customers:
                self._taken_out(customer)
                own = [seq for seq in self._tails.pop(customer, _NOTHING) if seq not in places]
                if own:
                    self._tails[customer] = array("q", own)
            for row in self._rows(theirs):
                owner = self._links.owner(visitor, row["seq"])
                if owner is not None:
                    self._credit(owner, row)

    def _taken_out(self, customer_key: str) -> tuple[int, CustomerView | None]:
        """The view that is kept, if there is one, and how much of the tail it holds; it is kept no longer."""
        n_merged, view = self._views.pop(customer_key, (0, None))
        if view is not None:
            self._n_viewed -= len(view)
        return n_merged, view

    def _rows(self, seqs: Sequence[int]) -> list[EventRow]:
        """The events of these numbers, in the order of the numbers that are given."""
        newest = self._newest
        older = [seq for seq in seqs if seq not in newest]
        if not older:
            return [newest[seq] for seq in seqs]
        read = {row["seq"]: row for row in self._tail.at(older)}
        return [row for seq in seqs if (row := newest.get(seq) or read.get(seq)) is not None]
