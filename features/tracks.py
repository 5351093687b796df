"""A track: the events of one kind, sorted by (customer, time), as ragged columns.

Columns are integers, so that a sum over any window is a difference of two prefix sums and exact: the same bits for
one customer, for all of them, on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from features.instants import DAY_US, HOUR_US, MINUTE_US
from features.sorting import stable_order

__all__ = ["BASE_COLUMNS", "CHANNELS", "DERIVED_COLUMNS", "NEVER_US", "ORDER", "Column", "Columns", "Ints", "Track"]

Ints = npt.NDArray[np.int64]

Column = npt.NDArray[Any]
"""Integers or booleans, one an event."""

ORDER = "order"
"""The derived track of orders: the first line of each order, at that line's instant."""

NEVER_US = -(1 << 62)
"""The instant of what has not happened; earlier than every real instant."""

CHANNELS = ("web", "app", "store")
"""Channels with a share of their own; every other word is counted in the totals alone."""

LATE_HOURS_BOUNDS = (12, 120)
"""A delivery late by less counts as the first in `late_hours_bounded`, one late by more as the second."""

PATIENCE_MINUTES, LONGEST_WAIT_MINUTES = 60, 600
"""A wait for support begins to count in `long_wait_minutes` after the first, and counts at most the second."""

BASE_COLUMNS: dict[str, npt.DTypeLike] = {
    "amount_minor": np.int64,
    "discount_minor": np.int64,
    "quantity": np.int64,
    "value": np.int64,
    "has_value": np.bool_,
    "channel": np.int8,
    "out_of_stock": np.bool_,
    "at_fault": np.bool_,
}
"""What is kept of each event beside its times, item and order. Null amounts and values are 0, null quantity 1;
`has_value` is false where `value` was null; `channel` is 1 + the place in CHANNELS, else 0. `at_fault` is true for a
return whose topic is there and is not `changed_mind`."""


class Columns(Mapping[str, Column]):
    """Columns of some events, each taken out of the whole when it is first asked for.

    Most features ask for few columns of few kinds, and taking five million values out of order costs more than
    summing them.
    """

    def __init__(self, whole: Mapping[str, Column], places: Ints) -> None:
        self._whole = whole
        self._places = places
        self._taken: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        found = self._taken.get(name)
        if found is None:
            found = self._whole[name].take(self._places)
            self._taken[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    def at(self, places: Ints | slice) -> Columns:
        """The columns of some of these events."""
        return Columns(self._whole, self._places[places])


@dataclass(frozen=True, eq=False)
class Track:
    """Events of one kind of n customers, sorted by (customer, occurred_at).

    Attributes:
        offsets: int64 (n + 1,); the events of customer i are `offsets[i]:offsets[i + 1]`.
        occurred_us: int64 (m,), microseconds UTC.
        recorded_us: int64 (m,), microseconds UTC.
        item: int32 (m,), index into the view's `item_ids`; -1 where the event has no item.
        columns: the BASE_COLUMNS, each (m,).
    """

    offsets: Ints
    occurred_us: Ints
    recorded_us: Ints
    item: npt.NDArray[np.int32]
    columns: Mapping[str, Column]
    _cache: dict[str, Ints] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self.occurred_us.size)

    @property
    def customer_rows(self) -> Ints:
        """int64 (m,): the customer row of each event."""
        if self.offsets.size == 2:
            return np.zeros(len(self), np.int64)
        return np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))

    def column(self, name: str) -> Column:
        """(m,) integers or booleans: a base column, or one of DERIVED_COLUMNS."""
        return self.columns[name] if name in BASE_COLUMNS else DERIVED_COLUMNS[name](self)

    def prefix(self, name: str) -> Ints:
        """int64 (m + 1,): `prefix[j] - prefix[i]` is the sum of a column over events i:j.

        Wrap-around of the running sum does no harm: a difference is right whenever it fits into int64 itself.
        """
        found = self._cache.get(name)
        if found is None:
            found = running_sum(self.column(name))
            self._cache[name] = found
        return found

    def last_where(self, name: str) -> Ints:
        """int64 (m + 1,): the place of the last event before each place whose column is true; -1 for none.

        The event may be another customer's: compare with `offsets`.
        """
        found = self._cache.get(f"last_where {name}")
        if found is None:
            found = np.full(len(self) + 1, -1, np.int64)
            true = np.flatnonzero(self.column(name))
            found[true + 1] = true
            np.maximum.accumulate(found, out=found)
            self._cache[f"last_where {name}"] = found
        return found

    def where(self, name: str) -> tuple[Ints, Ints]:
        """int64 (k,) twice: the places of the events whose column is not 0, ascending, and its values there."""
        places, values = self._cache.get(f"where {name}"), self._cache.get(f"values where {name}")
        if places is None or values is None:  # either may be missing: a view is read by several threads
            column = self.column(name)
            places = column.nonzero()[0]
            values = column[places].astype(np.int64, copy=False)
            self._cache[f"where {name}"] = places
            self._cache[f"values where {name}"] = values
        return places, values

    def customers_with_events(self) -> Ints:
        """int64: the rows of customers with at least one event of this track."""
        found = self._cache.get("customers_with_events")
        if found is None:
            found = np.flatnonzero(self.offsets[1:] > self.offsets[:-1])
            self._cache["customers_with_events"] = found
        return found

    def previous_same_item_us(self) -> Ints:
        """int64 (m,): when the same customer last met the same item on this track; NEVER_US for the first time."""
        found = self._cache.get("previous_same_item_us")
        if found is None:
            found = _previous_same_item_us(self)
            self._cache["previous_same_item_us"] = found
        return found


def running_sum(column: Column) -> Ints:
    """int64 (m + 1,) running sum that starts with 0."""
    total = np.empty(column.size + 1, np.int64)
    total[0] = 0
    np.cumsum(column, dtype=np.int64, out=total[1:])
    return total


def _previous_same_item_us(track: Track) -> Ints:
    size = len(track)
    previous = np.full(size, NEVER_US, np.int64)
    if size < 2:
        return previous
    n_items = int(track.item.max()) + 2
    pair = track.customer_rows * n_items + (track.item.astype(np.int64) + 1)
    order = stable_order(pair, (track.offsets.size - 1) * n_items)
    ordered = pair.take(order)
    same = ordered[1:] == ordered[:-1]
    previous[order[1:][same]] = track.occurred_us[order[:-1][same]]
    return previous


def _gap_us(track: Track) -> Ints:
    gap = np.zeros(len(track), np.int64)
    np.subtract(track.occurred_us[1:], track.occurred_us[:-1], out=gap[1:])
    starts = track.offsets[:-1]
    gap[starts[starts < track.offsets[1:]]] = 0
    return gap


def _hour(track: Track) -> Ints:
    return track.occurred_us // HOUR_US % 24


def _weekend(track: Track) -> Column:
    return np.asarray((track.occurred_us // DAY_US + 3) % 7 >= 5)  # 1970-01-01 was a Thursday; Monday is 0


def _low(track: Track) -> Column:
    return np.logical_and(track.columns["has_value"], track.columns["value"] <= 2)


def _late_hours_bounded(track: Track) -> Ints:
    value: Ints = track.columns["value"]
    least, most = LATE_HOURS_BOUNDS
    return np.where(value > 0, np.minimum(np.maximum(value, least), most), 0)


def _long_wait_minutes(track: Track) -> Ints:
    value: Ints = track.columns["value"]  # 0 where there is none
    return np.minimum(np.maximum(value - PATIENCE_MINUTES, 0), LONGEST_WAIT_MINUTES)


def _through(channel: int) -> Callable[[Track], Column]:
    return lambda track: track.columns["channel"] == channel


DERIVED_COLUMNS: dict[str, Callable[[Track], Column]] = {
    # minutes since this customer's previous event of the track; 0 for the first one
    "gap_minutes": lambda track: _gap_us(track) // MINUTE_US,
    "gap_minutes_squared": lambda track: (_gap_us(track) // MINUTE_US) ** 2,
    "weekend": _weekend,
    "morning": lambda track: (_hour(track) >= 6) & (_hour(track) < 12),
    "evening": lambda track: _hour(track) >= 18,
    "discounted": lambda track: track.columns["discount_minor"] > 0,
    "repeated_item": lambda track: track.previous_same_item_us() > NEVER_US,
    "late": lambda track: track.columns["value"] > 0,
    "late_hours": lambda track: np.maximum(track.columns["value"].astype(np.int64), 0),
    # of a late delivery, at least 12 and at most 120; 0 for one in time
    "late_hours_bounded": _late_hours_bounded,
    # minutes waited beyond the first 60, at most 600; 0 without an answer
    "long_wait_minutes": _long_wait_minutes,
    "unanswered": lambda track: np.logical_not(track.columns["has_value"]),
    "low": _low,
    **{name: _through(place) for place, name in enumerate(CHANNELS, start=1)},
}
"""Columns worked out from the base columns when they are first asked for."""
