"""What one customer met before, as far as the rules of a slate ask: bought, looked at, and shown without a click."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.instants import DAY_US
from features.interactions import ItemIndex, known
from serving.sources.histories import PURCHASE, Histories

__all__ = ["Encounters", "Shown", "shown_without_click"]

Ints = npt.NDArray[np.int64]

_IMPRESSION = "impression"


@dataclass(frozen=True, eq=False)
class Shown:
    """Items shown without a click: distinct places int64 (m,), and how often each was, int64 (m,), at least 1."""

    places: Ints
    times: Ints

    @classmethod
    def nothing(cls) -> Shown:
        """Nothing was shown."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class Encounters:
    """What one customer met, as places of the catalogue.

    Attributes:
        bought: int64 (m,), distinct.
        last_bought_us: int64 (m,), when each was bought last, microseconds.
        seen: int64 (s,), distinct: looked at or put into a basket.
        shown: shown lately without a click.
    """

    bought: Ints
    last_bought_us: Ints
    seen: Ints
    shown: Shown

    @classmethod
    def nobody(cls) -> Encounters:
        """Of a visitor nobody knows."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing, Shown.nothing())

    @classmethod
    def of(cls, histories: Histories, customer: int, shown: Shown | None = None) -> Encounters:
        """Of one row of some histories; what was shown is not in them."""
        bought = slice(histories.bought_offsets[customer], histories.bought_offsets[customer + 1])
        steps = slice(histories.steps.offsets[customer], histories.steps.offsets[customer + 1])
        looked = histories.steps.items[steps][histories.steps.kinds[steps] != PURCHASE]
        return cls(
            histories.bought.items[bought],
            histories.bought.last_us[bought],
            np.unique(looked),
            Shown.nothing() if shown is None else shown,
        )


def shown_without_click(
    view: CustomerView, customer: int, histories: Histories, index: ItemIndex, within_days: float
) -> Shown:
    """Impressions of one customer in `[as_of - within_days, as_of)`, known at as_of, after the last step with the item.

    A step is a view, a basket or a purchase; an impression at its very instant was answered by it.

    Args:
        view: with the impressions.
        customer: the row, in `view` and in `histories`.
        histories: of the same customers; they say what as_of is.
        index: places of the catalogue.
        within_days: how far back an impression counts.
    """
    track, as_of_us = view.track(_IMPRESSION), histories.as_of_us
    if not len(track.occurred_us):
        return Shown.nothing()
    counted = known(track, as_of_us) & (track.occurred_us >= as_of_us - within_days * DAY_US)
    counted &= track.customer_rows == customer
    items = index.of_view_items(view, track.item[counted])
    times = track.occurred_us[counted][items >= 0]
    places, rows = np.unique(items[items >= 0], return_inverse=True)
    if not len(places):
        return Shown.nothing()
    steps = slice(histories.steps.offsets[customer], histories.steps.offsets[customer + 1])
    clicked, clicked_us = histories.steps.items[steps], histories.steps.times_us[steps]
    at = np.minimum(np.searchsorted(places, clicked), len(places) - 1)
    answered = places[at] == clicked
    last_us = np.full(len(places), np.iinfo(np.int64).min)
    np.maximum.at(last_us, at[answered], clicked_us[answered])
    counts = np.bincount(rows[times > last_us[rows]], minlength=len(places))
    return Shown(places[counts > 0], counts[counts > 0])
