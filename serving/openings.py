"""What stock, rules and filter leave of a catalogue: the same for everybody, so worked out once and kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serving.filter_masks import FilterMasks
from serving.rulebook import Rulebook

__all__ = ["Opening", "Openings"]

Bools = npt.NDArray[np.bool_]

_KEPT = 64


@dataclass(frozen=True, eq=False)
class Opening:
    """Which items may be shown, bool (n_items,), read-only, and how many each reason took out."""

    eligible: Bools
    filtered: dict[str, int]


@dataclass(eq=False)
class Openings:
    """The openings of one catalogue that were used last; safe to share between threads.

    Attributes:
        masks: filters of the catalogue.
    """

    masks: FilterMasks
    _kept: OrderedDict[tuple[Rulebook, str], Opening] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def of(self, book: Rulebook, where: str, pool: Bools | None = None) -> Opening:
        """What the rules and a filter (empty: none) leave of the catalogue, or of a pool, which is not kept.

        Raises:
            FilterError: the filter cannot be read or does not fit the catalogue.
        """
        if pool is not None:
            return self._narrowed(pool.copy(), book, where)
        with self._lock:
            found = self._kept.get((book, where))
            if found is not None:
                self._kept.move_to_end((book, where))
                return found
        found = self._narrowed(np.ones(book.n_items, np.bool_), book, where)
        with self._lock:
            self._kept[book, where] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _narrowed(self, eligible: Bools, book: Rulebook, where: str) -> Opening:
        n_left, filtered = int(np.count_nonzero(eligible)), {}
        by_request = self.masks.mask(where) if where else None
        for reason, masks in (("filter", (book.passes, by_request)), ("out_of_stock", (book.in_stock,))):
            for mask in masks:
                if mask is not None:
                    eligible &= mask
            n_before, n_left = n_left, int(np.count_nonzero(eligible))
            filtered[reason] = n_before - n_left
        eligible.setflags(write=False)
        return Opening(eligible, filtered)
