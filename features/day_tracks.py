"""Derived tracks of days: the first event of each (customer, UTC day) among those of several kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.instants import DAY_US
from features.sorting import stable_order
from features.tracks import Ints, Track

__all__ = ["ACTIVE_DAY", "DISAPPOINTMENT_DAY", "FAULTS", "OWN_DOING", "days_of", "where"]

ACTIVE_DAY = "active_day"
"""The name of a track. It is made when it is first asked for, and is not among the arrays of a view."""

DISAPPOINTMENT_DAY = "disappointment_day"
"""The name of the track of days on which an item proved wrong: it went back, or was reviewed badly, or both."""

FAULTS = (("return", "at_fault"), ("review", "low"))
"""The kinds of event, and the column that must be true, that tell of a disappointment."""

OWN_DOING = ("view", "cart", "purchase", "return", "support", "csat", "nps", "review", "login", "cancel")
"""The kinds of event that say that the customer was there, as what the shop sends, shows or delivers does not."""


def days_of(tracks: Sequence[Track]) -> Track:
    """The days of the n customers on which one of some tracks has an event, each at the instant of the first.

    Each track gives at most one instant a customer and day before they are put together, so memory is bounded by the
    days of each kind. The result has instants alone: no columns, no items, and nothing is known of recording.

    >>> day = DAY_US
    >>> offsets, times = np.array([0, 3, 4]), np.array([5, 9, day + 1, 7])
    >>> views = Track(offsets, times, times, np.zeros(4, np.int32), {})
    >>> logins = Track(np.array([0, 1, 1]), np.array([2]), np.array([2]), np.zeros(1, np.int32), {})
    >>> found = days_of([views, logins])
    >>> found.offsets.tolist(), found.occurred_us.tolist()
    ([0, 2, 3], [2, 86400000001, 7])
    """
    n = tracks[0].offsets.size - 1
    if n == 1:
        return _of_one([track.occurred_us for track in tracks if len(track)])
    rows, instants = zip(*(_first_of_day(track) for track in tracks), strict=True)
    row, instant = np.concatenate(rows), np.concatenate(instants)
    if not instant.size:
        return _track(np.zeros(n + 1, np.int64), instant)
    day = instant // DAY_US
    earliest = int(day.min())
    span = int(day.max()) - earliest + 1
    key = row * span + (day - earliest)
    order = stable_order(key, n * span)
    key = key.take(order)
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    first = np.minimum.reduceat(instant.take(order), starts)
    counts = np.bincount(key.take(starts) // span, minlength=n)
    return _track(np.concatenate(([0], np.cumsum(counts))), first)


def where(track: Track, column: str) -> Track:
    """The events of a track whose column is true, as instants alone."""
    places = track.where(column)[0]
    return _track(np.searchsorted(places, track.offsets), track.occurred_us[places])


def _of_one(instants: list[Ints]) -> Track:
    """The same for one customer, whose instants need only be sorted."""
    times = np.concatenate(instants) if instants else np.zeros(0, np.int64)
    times.sort()
    day = times // DAY_US
    fresh = np.ones(times.size, np.bool_)
    np.not_equal(day[1:], day[:-1], out=fresh[1:])
    first = times[fresh]
    return _track(np.array([0, first.size]), first)


def _first_of_day(track: Track) -> tuple[Ints, Ints]:
    """Row and instant of the first event of each (customer, day) of one track, whose events are sorted so."""
    row, day = track.customer_rows, track.occurred_us // DAY_US
    fresh = np.ones(day.size, np.bool_)
    np.logical_or(day[1:] != day[:-1], row[1:] != row[:-1], out=fresh[1:])
    return row[fresh], track.occurred_us[fresh]


def _track(offsets: Ints, occurred_us: Ints) -> Track:
    nothing = np.broadcast_to(np.int32(-1), occurred_us.shape)
    return Track(offsets, occurred_us, occurred_us, nothing, {})
