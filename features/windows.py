"""Windows over a view: how many events, which sum, which last one, in `[start, end)`.

Every answer is a difference of two positions in sorted events, so it is exact, and the same for one customer as for
all of them.
"""

from __future__ import annotations

import numpy as np

from features.customer_view import CustomerView
from features.tracks import NEVER_US, Ints, Track

__all__ = ["counts", "counts_known", "first_us", "last_us", "positions", "totals"]


def positions(track: Track, instant_us: int) -> Ints:
    """int64 (n,): for each customer, the place in the track of the first event at or after an instant.

    >>> import numpy as np
    >>> track = Track(np.array([0, 2, 3]), np.array([10, 20, 15]), np.array([10, 20, 15]), np.zeros(3, np.int32), {})
    >>> positions(track, 20)
    array([1, 3])
    """
    if track.offsets.size == 2:  # one customer: the times are sorted, so a search does
        return track.offsets[:1] + track.occurred_us.searchsorted(instant_us)
    there = track.customers_with_events()
    before = (track.occurred_us < instant_us).view(np.int8)
    reached = track.offsets[:-1].copy()
    if there.size:
        reached[there] += np.add.reduceat(before, track.offsets[there], dtype=np.int32)
    return reached


def counts(view: CustomerView, track: str, start_us: int, end_us: int) -> Ints:
    """int64 (n_customers,): events of a track with `start_us <= occurred_at < end_us`."""
    events = view.track(track)
    return positions(events, end_us) - positions(events, start_us)


def counts_known(view: CustomerView, track: str, start_us: int, end_us: int, known_us: int) -> Ints:
    """int64 (n_customers,): as `counts`, of what was recorded before `known_us`, which is `end_us` or later."""
    found = counts(view, track, start_us, end_us)
    hidden = view.hidden_at(known_us)
    if hidden.size:
        found[hidden] = counts(view.select(hidden).known_at(known_us), track, start_us, end_us)
    return found


def totals(view: CustomerView, track: str, column: str, start_us: int, end_us: int) -> Ints:
    """int64 (n_customers,): the sum of a column over `[start_us, end_us)`; 0 where there is no event."""
    events = view.track(track)
    prefix = events.prefix(column)
    return prefix[positions(events, end_us)] - prefix[positions(events, start_us)]


def last_us(view: CustomerView, track: str, as_of_us: int) -> Ints:
    """int64 (n_customers,): when the last event before `as_of_us` occurred; NEVER_US for never."""
    events = view.track(track)
    return instants_at(events, positions(events, as_of_us) - 1, events.offsets[:-1], events.offsets[1:])


def first_us(view: CustomerView, track: str, as_of_us: int) -> Ints:
    """int64 (n_customers,): when the first event occurred, if before `as_of_us`; NEVER_US for never."""
    events = view.track(track)
    starts = events.offsets[:-1]
    return instants_at(events, starts, starts, positions(events, as_of_us))


def instants_at(track: Track, places: Ints, low: Ints, high: Ints) -> Ints:
    """int64 (n,): `occurred_us` at the places that lie in `[low, high)`; NEVER_US elsewhere."""
    found = np.full(places.size, NEVER_US, np.int64)
    inside = (places >= low) & (places < high)
    found[inside] = track.occurred_us[places[inside]]
    return found
