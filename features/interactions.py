"""Time-decayed interactions: how much each customer was drawn to each item, as known at an instant.

The weight of customer c and item i is the sum, over the events of c with i that were known at `as_of`, of

    weight of the kind * 2 ** -(age_days / half_life_days)        age measured from occurred_at to as_of

with events in `[-inf, as_of)` by `occurred_at` and by `recorded_at`. A negative weight says that the customer turned
the item down. Weights are added as whole multiples of 2**-32, so neither the order of the events nor the company of
other customers changes a bit of the result; what is smaller than 2**-33 is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from features.customer_view import CustomerView
from features.errors import ConfigurationError
from features.instants import DAY_US
from features.schema import KINDS
from features.sorting import run_starts, stable_order
from features.tracks import Track

__all__ = ["Cells", "InteractionSettings", "Interactions", "ItemIndex", "interactions", "known", "weigh"]

_QUANTUM = 2.0**-32
_FEW_ITEMS = 256
_MIDDLE_STARS = 3
_REVIEW = "review"


def _usual_weights() -> dict[str, float]:
    return {"purchase": 1.0, "cart": 0.3, "view": 0.1, "return": -1.0, "review": 0.5}


@dataclass(frozen=True)
class InteractionSettings:
    """What each kind of event says about a taste, and how fast it is forgotten.

    Attributes:
        half_life_days: age in days at which an event counts half.
        weights: kind -> weight of an event of age 0. A review counts its weight at 5 stars, nothing at 3 and the
            negative weight at 1. Kinds that are not named count nothing.
        max_weight: largest absolute weight of one customer and one item, so that a key that sends
            10,000 events about an item is no louder than this.

    Raises:
        ConfigurationError: a number is out of range or a kind is unknown.
    """

    half_life_days: float = 90.0
    weights: Mapping[str, float] = field(default_factory=_usual_weights)
    max_weight: float = 10.0

    def __post_init__(self) -> None:
        for name in ("half_life_days", "max_weight"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number > 0):
                raise ConfigurationError(f"interactions.{name} is {number}; write a number above 0")
        for kind, weight in self.weights.items():
            if kind not in KINDS:
                raise ConfigurationError(f"interactions.weights.{kind} is not a kind; known: {', '.join(KINDS)}")
            if not math.isfinite(weight):
                raise ConfigurationError(f"interactions.weights.{kind} is {weight}; write a finite number")


@dataclass(frozen=True)
class ItemIndex:
    """The catalogue's order: position of each item id.

    >>> ItemIndex(("cup", "pot")).positions_of(["pot", "unknown"]).tolist()
    [1, -1]
    """

    item_ids: tuple[str, ...]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Item id -> position."""
        return {item_id: position for position, item_id in enumerate(self.item_ids)}

    def positions_of(self, item_ids: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
        """int64 (n,): the position of each id, -1 where the catalogue has no such item."""
        positions = self.positions
        return np.fromiter((positions.get(item_id, -1) for item_id in item_ids), np.int64, len(item_ids))

    def of_view_items(self, view: CustomerView, items: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """int64 (m,): catalogue positions of rows of `view.item_ids`; -1 for unknown or missing items.

        Only ids that occur are looked up, so one short history costs little in a large view.
        """
        if not items.size:
            return np.empty(0, np.int64)
        if view.item_ids.size <= _FEW_ITEMS:
            few: npt.NDArray[np.int64] = np.append(self.positions_of(view.item_ids), -1)[items]
            return few
        if items.size > view.item_ids.size:  # a table of all is cheaper than a sort
            met = np.zeros(view.item_ids.size + 1, np.bool_)  # the last place takes the -1 of what is missing
            met[items] = True
            met[-1] = False
            table = np.full(met.size, -1, np.int64)
            table[met] = self.positions_of(view.item_ids[met[:-1]])
            found: npt.NDArray[np.int64] = table[items]
            return found
        used, inverse = np.unique(items, return_inverse=True)
        present = used >= 0
        positions = np.full(len(used), -1, np.int64)
        positions[present] = self.positions_of(view.item_ids[used[present]])
        return positions[inverse]


@dataclass(frozen=True)
class Cells:
    """One entry for each customer and item with a weight that is not 0, sorted by (customer, item).

    Attributes:
        customers: int64 (m,), rows of the view.
        items: int64 (m,), positions in the catalogue.
        weights: float64 (m,).
    """

    customers: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interactions:
    """Customers x items as known at `as_of_us`.

    Attributes:
        customer_keys: object (n_customers,), in the view's order; customers without interactions have empty rows.
        item_ids: object (n_items,) of str.
        weights: float32 CSR (n_customers, n_items), sorted indices, no stored zeros.
        as_of_us: exclusive cut-off, microseconds.
        settings: as used.
    """

    customer_keys: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    weights: csr_matrix
    as_of_us: int
    settings: InteractionSettings


def known(track: Track, as_of_us: int) -> npt.NDArray[np.bool_]:
    """Which events (bool (m,)) of a track lie in `[-inf, as_of)` both by `occurred_at` and by `recorded_at`.

    The same rule as `CustomerView.known_at`, without copying the tracks that nobody asks for.
    """
    return (track.occurred_us < as_of_us) & (track.recorded_us < as_of_us)


def weigh(view: CustomerView, as_of_us: int, settings: InteractionSettings, index: ItemIndex | None = None) -> Cells:
    """Decayed weights, one for each customer and item; items that `index` does not hold are left out.

    Without an index, `items` are rows of `view.item_ids`.
    """
    customers, items, weights = _events(view, as_of_us, settings)
    if index is not None:
        items = index.of_view_items(view, items)
    kept = items >= 0
    n_items = max(len(view.item_ids) if index is None else len(index.item_ids), 1)
    keys = customers[kept] * n_items + items[kept]
    quanta = np.rint(weights[kept] / _QUANTUM).astype(np.int64)
    order = stable_order(keys, view.n_customers * n_items)
    keys, quanta = keys[order], quanta[order]
    starts = run_starts(keys)
    sums = np.add.reduceat(quanta, starts) if len(starts) else quanta
    keys = keys[starts]
    stored = sums != 0
    totals = np.clip(sums[stored] * _QUANTUM, -settings.max_weight, settings.max_weight)
    return Cells(keys[stored] // n_items, keys[stored] % n_items, totals)


def interactions(
    view: CustomerView,
    as_of_us: int,
    settings: InteractionSettings,
    item_ids: Sequence[str] | None = None,
) -> Interactions:
    """Customers x items as known at `as_of_us`: events in `[-inf, as_of)` by both of their times.

    Args:
        view: histories; may hold events after the cut-off, which change nothing.
        as_of_us: exclusive cut-off, microseconds.
        settings: weights of the kinds and half-life.
        item_ids: the columns wanted; other items are left out. None: every item with a weight, in id order.
    """
    if item_ids is not None:
        index = ItemIndex(tuple(item_ids))
        cells = weigh(view, as_of_us, settings, index)
        columns, ids = cells.items, np.array(index.item_ids, dtype=object)
    else:
        cells = weigh(view, as_of_us, settings)
        used, columns = np.unique(cells.items, return_inverse=True)
        ids = view.item_ids[used]
    offsets = np.searchsorted(cells.customers, np.arange(view.n_customers + 1))
    matrix = csr_matrix(
        (cells.weights.astype(np.float32), columns.astype(np.int32), offsets.astype(np.int32)),
        shape=(view.n_customers, len(ids)),
    )
    return Interactions(view.customer_keys, ids, matrix, as_of_us, settings)


def _events(
    view: CustomerView, as_of_us: int, settings: InteractionSettings
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Customer rows, view items and decayed weights of every event that counts."""
    customers: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    items: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    weights: list[npt.NDArray[np.float64]] = [np.empty(0)]
    for kind, kind_weight in settings.weights.items():
        track = view.track(kind)
        if not kind_weight or not len(track.occurred_us):
            continue
        seen = known(track, as_of_us) & (track.item >= 0)
        age_days = (as_of_us - track.occurred_us[seen]) / DAY_US
        weight = kind_weight * np.exp2(-age_days / settings.half_life_days)
        if kind == _REVIEW:
            stars = np.where(track.columns["has_value"][seen], track.columns["value"][seen], _MIDDLE_STARS)
            weight *= (stars - _MIDDLE_STARS) / (5 - _MIDDLE_STARS)
        customers.append(track.customer_rows[seen])
        items.append(track.item[seen].astype(np.int64))
        weights.append(weight)
    return np.concatenate(customers), np.concatenate(items), np.concatenate(weights)
