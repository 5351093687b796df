"""What candidate sources read of customers: weighted items, purchases, and the steps in the order of time.

The fits read the same: a source is fitted on the `Histories` of many customers and answers those of one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from features.customer_view import CustomerView
from features.instants import DAY_US
from features.interactions import InteractionSettings, ItemIndex, known, weigh
from features.schema import KINDS
from features.sorting import run_starts, stable_order

__all__ = ["PURCHASE", "STEP_KINDS", "Histories", "Purchases", "Steps"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Made = TypeVar("Made")

_KINDS = tuple(KINDS)
STEP_KINDS: tuple[str, ...] = ("view", "cart", "purchase")
"""The kinds of event that are steps: what the customer did with an item of their own will."""

PURCHASE = _KINDS.index("purchase")
"""The code of a purchase in `Steps.kinds`: its place in `schema.KINDS`."""


@dataclass(frozen=True)
class Purchases:
    """What was bought: one entry for each customer and item, sorted by (customer, item).

    Several lines of one item at one instant are one purchase.

    Attributes:
        customers: int64 (m,), rows of the view.
        items: int64 (m,), catalogue positions.
        counts: int64 (m,), purchases, at least 1.
        first_us, last_us: int64 (m,), microseconds.
    """

    customers: Ints
    items: Ints
    counts: Ints
    first_us: Ints
    last_us: Ints

    @classmethod
    def read(cls, view: CustomerView, as_of_us: int, index: ItemIndex) -> Purchases:
        """Purchases known at `as_of`: in `[-inf, as_of)` by both times, of items that the catalogue holds."""
        track = view.track("purchase")
        items = index.of_view_items(view, track.item)
        seen = known(track, as_of_us) & (items >= 0)
        return cls.of_lines(track.customer_rows[seen], items[seen], track.occurred_us[seen], len(index.item_ids))

    @classmethod
    def of_lines(cls, customers: Ints, items: Ints, times_us: Ints, n_items: int) -> Purchases:
        """The purchases of lines (m,) that are in the order of time for each customer."""
        keys = customers * max(n_items, 1) + items
        order = stable_order(keys, int(keys.max(initial=0)) + 1)  # so each run of one key stays in the order of time
        keys, times = keys[order], times_us[order]
        starts = run_starts(keys)
        distinct = np.zeros(len(keys), np.bool_)
        distinct[starts] = True
        distinct[1:] |= times[1:] != times[:-1]
        counts = np.add.reduceat(distinct.astype(np.int64), starts) if len(starts) else np.empty(0, np.int64)
        ends = np.append(starts[1:], len(keys)) - 1
        chosen = keys[starts]
        n_items = max(n_items, 1)
        return cls(chosen // n_items, chosen % n_items, counts, times[starts], times[ends[: len(starts)]])


@dataclass(frozen=True)
class Steps:
    """What each customer did with items, in the order of time; ties by kind, then by item.

    Attributes:
        offsets: int64 (n + 1,); the steps of customer i are `offsets[i]:offsets[i + 1]`.
        items: int64 (m,), catalogue positions; an item may come often.
        times_us: int64 (m,), microseconds, ascending within a customer. Purchases of one instant are one basket.
        kinds: int8 (m,), places in `schema.KINDS`.
    """

    offsets: Ints
    items: Ints
    times_us: Ints
    kinds: npt.NDArray[np.int8]

    @classmethod
    def read(cls, view: CustomerView, as_of_us: int, index: ItemIndex) -> Steps:
        """The events of STEP_KINDS in `[-inf, as_of)` by both times, of items that the catalogue holds."""
        rows, items, times, kinds = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)], []
        for kind in STEP_KINDS:
            track = view.track(kind)
            places = index.of_view_items(view, track.item)
            seen = known(track, as_of_us) & (places >= 0)
            rows.append(track.customer_rows[seen])
            items.append(places[seen])
            times.append(track.occurred_us[seen])
            kinds.append(np.full(int(seen.sum()), _KINDS.index(kind), np.int8))
        customers, item, time = np.concatenate(rows), np.concatenate(items), np.concatenate(times)
        kind_of = np.concatenate(kinds)
        if not _ascending(customers, time, kind_of, item):
            order = np.lexsort((item, kind_of, time, customers))
            customers, time, kind_of, item = customers[order], time[order], kind_of[order], item[order]
        return cls(np.searchsorted(customers, np.arange(view.n_customers + 1)), item, time, kind_of)

    @property
    def customers(self) -> Ints:
        """int64 (m,): the customer of each step."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class Histories:
    """What candidate sources read of n customers, as known at `as_of_us`.

    Attributes:
        as_of_us: exclusive cut-off, microseconds.
        offsets: int64 (n + 1,); the weighted items of customer i are `items[offsets[i]:offsets[i + 1]]`.
        items: int64 (m,), catalogue positions, ascending within a customer.
        weights: float64 (m,), decayed weights, not 0; negative for items turned down.
        bought: purchases, with `customers` counted from 0.
        bought_offsets: int64 (n + 1,) into `bought`.
        steps: the same customers' steps.
    """

    as_of_us: int
    offsets: Ints
    items: Ints
    weights: Floats
    bought: Purchases
    bought_offsets: Ints
    steps: Steps

    @classmethod
    def read(cls, view: CustomerView, as_of_us: int, index: ItemIndex, settings: InteractionSettings) -> Histories:
        """The histories of every customer of a view; events that are not known at `as_of` change nothing."""
        cells = weigh(view, as_of_us, settings, index)
        bought = Purchases.read(view, as_of_us, index)
        rows = np.arange(view.n_customers + 1)
        return cls(
            as_of_us,
            np.searchsorted(cells.customers, rows),
            cells.items,
            cells.weights,
            bought,
            np.searchsorted(bought.customers, rows),
            Steps.read(view, as_of_us, index),
        )

    @classmethod
    def of_baskets(cls, baskets: Sequence[Sequence[Sequence[int]]], n_items: int) -> Histories:
        """The histories of customers of whom only the order of their purchases is known.

        Each customer is a list of baskets, each basket a list of catalogue positions. `as_of` is 0; the last basket
        was a day before it and the others a day apart. Every item weighs 1, whatever its age.
        """
        sizes = np.array([sum(map(len, one)) for one in baskets], np.int64)
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        items = np.array([item for one in baskets for basket in one for item in basket], np.int64)
        ages = [len(one) - place for one in baskets for place, basket in enumerate(one) for _ in basket]
        times = -DAY_US * np.array(ages, np.int64)
        rows = np.repeat(np.arange(len(baskets)), sizes)
        bought = Purchases.of_lines(rows, items, times, n_items)
        ends = np.searchsorted(bought.customers, np.arange(len(baskets) + 1))
        order = np.lexsort((items, times, rows))
        steps = Steps(offsets, items[order], times[order], np.full(len(items), PURCHASE, np.int8))
        return cls(0, ends, bought.items, np.ones(len(bought.items)), bought, ends, steps)

    @classmethod
    def of_lists(cls, lists: Sequence[Sequence[int]], n_items: int) -> Histories:
        """`of_baskets` where every basket is of one item: lists of catalogue positions in the order of time.

        >>> Histories.of_lists([[2, 0, 2], []], 3).items.tolist()
        [0, 2]
        """
        return cls.of_baskets([[(item,) for item in one] for one in lists], n_items)

    @classmethod
    def nobody(cls, as_of_us: int) -> Histories:
        """One customer of whom nothing is known."""
        nothing, offsets = np.empty(0, np.int64), np.zeros(2, np.int64)
        purchases = Purchases(nothing, nothing, nothing, nothing, nothing)
        steps = Steps(offsets, nothing, nothing, np.empty(0, np.int8))
        return cls(as_of_us, offsets, nothing, np.empty(0), purchases, offsets, steps)

    @cached_property
    def _worked_out(self) -> dict[Hashable, Any]:
        return {}

    def once(self, asked: Hashable, work: Callable[[], Made]) -> Made:
        """What `work` makes of these very histories, made when it is first asked for and kept as long as they are.

        So a source that proposes items and then scores them solves a customer once. `asked` names the work; a source
        that is in it is told apart from its like.
        """
        if asked not in self._worked_out:
            self._worked_out[asked] = work()
        made: Made = self._worked_out[asked]
        return made

    @property
    def n_customers(self) -> int:
        """How many customers."""
        return len(self.offsets) - 1

    @cached_property
    def cold(self) -> npt.NDArray[np.bool_]:
        """Which customers (bool (n,)) have nothing that draws them to an item of the catalogue."""
        drawn = np.concatenate(([0], np.cumsum(self.weights > 0)))
        undrawn = drawn[self.offsets[1:]] == drawn[self.offsets[:-1]]
        return np.asarray(undrawn & (np.diff(self.bought_offsets) == 0), np.bool_)

    def matrix(self, n_items: int) -> csr_matrix:
        """float32 (n, n_items): the weights, sorted indices, no stored zeros."""
        cells = (self.weights.astype(np.float32), self.items, self.offsets)
        return csr_matrix(cells, shape=(self.n_customers, n_items))

    def part(self, start: int, stop: int) -> Histories:
        """The customers `start:stop`, counted from 0 again."""
        return self.select(np.arange(start, stop))

    def select(self, rows: Ints) -> Histories:
        """Some customers alone, in the order of `rows`, int64, counted from 0 again."""
        offsets, cells = _ragged(self.offsets, rows)
        bought_offsets, bought = _ragged(self.bought_offsets, rows)
        step_offsets, steps = _ragged(self.steps.offsets, rows)
        return Histories(
            self.as_of_us,
            offsets,
            self.items[cells],
            self.weights[cells],
            Purchases(
                np.repeat(np.arange(len(rows)), np.diff(bought_offsets)),
                self.bought.items[bought],
                self.bought.counts[bought],
                self.bought.first_us[bought],
                self.bought.last_us[bought],
            ),
            bought_offsets,
            Steps(step_offsets, self.steps.items[steps], self.steps.times_us[steps], self.steps.kinds[steps]),
        )


def _ascending(*keys: npt.NDArray[np.integer]) -> bool:
    """Whether entries are in the order of the first key, ties by the next, and so on; as one kind of event often is."""
    tied = np.ones(max(len(keys[0]) - 1, 0), np.bool_)
    for key in keys:
        if (tied & (key[1:] < key[:-1])).any():
            return False
        tied &= key[1:] == key[:-1]
    return True


def _ragged(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The offsets of some rows on their own, and the places of their entries."""
    starts, sizes = offsets[rows], offsets[rows + 1] - offsets[rows]
    own = np.concatenate(([0], np.cumsum(sizes)))
    return own, np.repeat(starts - own[:-1], sizes) + np.arange(own[-1])
