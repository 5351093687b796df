"""Who changed band from one book of scores to the next: what a CRM needs to stay in step without reading everybody.

The population of a book are its eligible customers. Following the changes from the first book on, or reading one book
and following from there, leads to the same state as reading the newest book.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving.bands import Band
from serving.score_book import Book
from serving.sorted_keys import SortedKeys

__all__ = ["CHANGE_COLUMNS", "BandChange", "BandChanges", "Change", "band_changes"]

Change = Literal["entered", "band_changed", "left"]
CHANGE_COLUMNS = ("customer_key", "churn_probability", "band", "eligible")
"""The columns of a book that its changes are read from."""
_NOBODY = -1


@dataclass(frozen=True)
class BandChange:
    """One customer's change.

    entered: was not in the population of the book before (new, or back); left: is no longer in it (silent for too
    long, or gone). A band is None where the customer was not, or is not, in the population; so is the probability.
    """

    customer_key: str
    change: Change
    band_before: Band | None
    band: Band | None
    churn_probability: float | None


@dataclass(frozen=True, eq=False)
class BandChanges:
    """All changes from one book to the next, by ascending customer_key.

    before, after: int8 (m,), codes of the bands, -1 for nobody. probability: float64 (m,), NaN for nobody.
    """

    customer_keys: pa.Array
    before: npt.NDArray[np.int8]
    after: npt.NDArray[np.int8]
    probability: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.customer_keys)

    def page(self, start: int, limit: int) -> tuple[BandChange, ...]:
        """At most `limit` changes from place `start` on."""
        return tuple(self._one(place) for place in range(start, min(start + limit, len(self))))

    def _one(self, place: int) -> BandChange:
        before, after = int(self.before[place]), int(self.after[place])
        change: Change = "entered" if before == _NOBODY else "left" if after == _NOBODY else "band_changed"
        return BandChange(
            self.customer_keys[place].as_py(),
            change,
            _band(before),
            _band(after),
            None if after == _NOBODY else float(self.probability[place]),
        )


def _band(code: int) -> Band | None:
    names: tuple[Band, ...] = ("low", "medium", "high")
    return None if code == _NOBODY else names[code]


def band_changes(before: Book | None, after: Book) -> BandChanges:
    """The changes from `before` (None: from nothing, so everybody enters) to `after`.

    A change of the cut-offs between two releases is a change of the band like any other: the band is what is acted on.
    """
    now = np.flatnonzero(after.eligible)
    then = np.zeros(0, np.int64) if before is None else np.flatnonzero(before.eligible)
    then_keys = pa.array([], pa.string()) if before is None else before.keys.take(pa.array(then))
    then_codes = np.zeros(0, np.int8) if before is None else before.band_codes[then]
    place = SortedKeys.of(then_keys).places_of(after.sorted_keys.texts[now])
    codes = np.full(now.size, _NOBODY, np.int8)
    codes[place >= 0] = then_codes[place[place >= 0]]
    changed = np.flatnonzero(codes != after.band_codes[now])
    gone = np.ones(then.size, np.bool_)
    gone[place[place >= 0]] = False
    left = np.flatnonzero(gone)
    keys = pa.concat_arrays([after.keys.take(pa.array(now[changed])), then_keys.take(pa.array(left))])
    order = pc.sort_indices(keys)
    by_key = np.asarray(order)
    nobody = np.full(left.size, _NOBODY, np.int8)
    return BandChanges(
        keys.take(order),
        np.concatenate([codes[changed], then_codes[left]])[by_key],
        np.concatenate([after.band_codes[now[changed]], nobody])[by_key],
        np.concatenate([after.probability[now[changed]], np.full(left.size, np.nan)])[by_key],
    )
