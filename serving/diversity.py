"""Maximal marginal relevance: a list whose items are good and unlike each other.

The next item is the one with the largest

    (1 - dial) * relevance - dial * (largest similarity to an item chosen before)

Source: Carbonell and Goldstein (1998), The use of MMR, diversity-based reranking for reordering documents and producing
summaries, SIGIR; their lambda is 1 - dial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError

__all__ = ["MOST_COMPARED", "Likeness", "Marginal", "mmr"]

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.signedinteger]
Ints = npt.NDArray[np.int64]

MOST_COMPARED = 1_000
"""So many of the most relevant items are compared with what is chosen; the rest follow them in the order of relevance,
as if each were chosen before."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike items are, from 0 to 1.

    `same_category * [they share a category] + (1 - same_category) * max(0, cosine of their vectors)`; without vectors
    the category alone. An item without a category shares it with nobody, and a vector of zeros is like no other.

    Attributes:
        vectors: float32 (n_items, n_factors) of any length, or None.
        categories: int (n_items,), -1 where missing.
        same_category: in [0, 1].
    """

    vectors: Vectors | None
    categories: Codes
    same_category: float

    def among(self, places: Ints) -> _Among:
        """Ready to compare some of the items with any other."""
        compared = self.same_category < 1.0
        return _Among(self.directions(places) if compared else None, self.categories[places], self.same_category)

    def directions(self, places: Ints) -> Vectors | None:
        """Of some items, float32 (m, n_factors) of length 1 or 0; None without vectors."""
        return None if self.vectors is None else _directions(self.vectors[places])


class _Among:
    """Some items, ready to be compared; what `to` returns is written anew by the next call."""

    def __init__(self, directions: Vectors | None, categories: Codes, same_category: float) -> None:
        self.directions = directions
        self.categories = categories
        self._same_category = 1.0 if directions is None else same_category
        self._similar = np.zeros(len(categories), np.float32)

    def to(self, direction: Vectors | None, category: int) -> Vectors:
        """Similarity float32 (m,) of every item to one."""
        similar = self._similar
        if self.directions is None or direction is None:
            similar[:] = 0.0
        else:
            np.dot(self.directions, direction, out=similar)
            np.maximum(similar, 0.0, out=similar)
            similar *= 1.0 - self._same_category
        if category >= 0 and self._same_category:
            np.add(similar, self._same_category, out=similar, where=self.categories == category)
        return similar


class Marginal:
    """What each of m items would add to a list that grows: relevance less likeness to what is chosen.

    `values` is float64 (m,), of the items chosen already too; they are the caller's to leave out. With dial 0 nothing
    is compared.
    """

    def __init__(self, places: Ints, relevance: Floats, likeness: Likeness, dial: float) -> None:
        """Items in the order of relevance, the best first."""
        self._relevant: Floats = (1.0 - dial) * relevance
        self.values = self._relevant.copy()
        self._likeness = likeness
        self._places = places
        self._dial = dial
        self._largest = np.zeros(len(places), np.float32)
        self._largest[MOST_COMPARED:] = 1.0
        self._among = likeness.among(places[:MOST_COMPARED]) if dial else None
        if self._among is not None:
            self._compare()

    def begin_after(self, places: Ints) -> None:
        """Put items of the catalogue into the list that need not be among the m, as those of earlier pages."""
        if self._among is None or not len(places):
            return
        directions = self._likeness.directions(places)
        for number, category in enumerate(self._likeness.categories[places].tolist()):
            self._put(self._among, None if directions is None else directions[number], category)
        self._compare()

    def choose(self, row: int) -> None:
        """Put one of the m items into the list."""
        if self._among is None:
            return
        if row >= MOST_COMPARED:
            self.begin_after(self._places[row : row + 1])
            return
        directions = self._among.directions
        self._put(self._among, None if directions is None else directions[row], int(self._among.categories[row]))
        self._compare()

    def _put(self, among: _Among, direction: Vectors | None, category: int) -> None:
        largest = self._largest[:MOST_COMPARED]
        np.maximum(largest, among.to(direction, category), out=largest)

    def _compare(self) -> None:
        np.multiply(self._largest, -self._dial, out=self.values)
        self.values += self._relevant


def mmr(places: Ints, relevance: Floats, likeness: Likeness, dial: float, k: int) -> Ints:
    """Rows of the best k items, in the order chosen; ties go to the first row.

    Args:
        places: int64 (m,), in the order of relevance, the best first.
        relevance: float64 (m,), the best about 1.
        likeness: of all items.
        dial: 0 is relevance alone, 1 difference alone.
        k: at least 0; fewer rows come back where there are fewer items.

    Raises:
        DataError: `dial` is not within [0, 1], or there is not one relevance a place.

    >>> shelves = Likeness(None, np.array([7, 7, 8]), 1.0)
    >>> mmr(np.array([0, 1, 2]), np.array([1.0, 0.9, 0.6]), shelves, 0.5, 3).tolist()
    [0, 2, 1]
    """
    if not 0.0 <= dial <= 1.0:
        raise DataError(f"the dial of diversity is {dial}; write a number from 0 to 1")
    if len(places) != len(relevance):
        raise DataError(f"there are {len(places)} places and {len(relevance)} relevances; give one each")
    marginal = Marginal(places, relevance, likeness, dial)
    taken = np.zeros(len(places))
    chosen: list[int] = []
    for _ in range(min(k, len(places))):
        row = int((marginal.values + taken).argmax())
        chosen.append(row)
        taken[row] = -np.inf
        marginal.choose(row)
    return np.array(chosen, np.int64)


def _directions(vectors: Vectors) -> Vectors:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    found: Vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return found
