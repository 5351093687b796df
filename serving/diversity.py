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

__all__ = ["Likeness", "Marginal", "mmr"]

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike items are, from 0 to 1.

    `same_category * [they share a category] + (1 - same_category) * max(0, cosine of their vectors)`; without vectors
    the category alone. An item without a category shares it with nobody, and a vector of zeros is like no other.

    Attributes:
        directions: float32 (m, n_factors) of length 1 or 0, or None.
        categories: int (m,), -1 where missing.
        same_category: in [0, 1].
    """

    directions: Vectors | None
    categories: npt.NDArray[np.signedinteger]
    same_category: float

    @classmethod
    def of(cls, vectors: Vectors | None, categories: npt.NDArray[np.signedinteger], same_category: float) -> Likeness:
        """From vectors of any length."""
        if vectors is None or same_category == 1.0:
            return cls(None, categories, 1.0)
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
        directions: Vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
        return cls(directions, categories, same_category)

    def to(self, row: int) -> Floats:
        """Similarity (m,) of every item to one of them."""
        category = self.categories[row]
        if self.directions is None:
            same = self.categories == category if category >= 0 else np.zeros(len(self.categories), np.bool_)
            return same.astype(np.float64)
        found: Floats = np.maximum(self.directions @ self.directions[row], 0.0).astype(np.float64)
        if self.same_category:
            found *= 1.0 - self.same_category
            if category >= 0:
                found[self.categories == category] += self.same_category
        return found


class Marginal:
    """What each of m items would add to a list that grows: relevance less likeness to what is chosen.

    `values` float64 (m,); without a likeness they stay.
    """

    def __init__(self, relevance: Floats, likeness: Likeness | None, dial: float) -> None:
        self.values: Floats = (1.0 - dial) * relevance
        self._relevant = self.values
        self._likeness = likeness
        self._dial = dial
        self._largest = np.zeros(len(relevance))

    def choose(self, row: int) -> None:
        """Put an item into the list; `values` is new then, of the chosen items too."""
        if self._likeness is not None:
            np.maximum(self._largest, self._likeness.to(row), out=self._largest)
            self.values = self._relevant - self._dial * self._largest


def mmr(relevance: Floats, likeness: Likeness, dial: float, k: int) -> Ints:
    """Rows of the best k items, in the order chosen; ties go to the first row.

    Args:
        relevance: float64 (m,), the best about 1.
        likeness: of the m items.
        dial: 0 is relevance alone, 1 difference alone.
        k: at least 0; fewer rows come back where there are fewer items.

    Raises:
        DataError: `dial` is not within [0, 1], or the likeness is of another number of items.

    >>> shelves = Likeness.of(None, np.array([7, 7, 8]), 1.0)
    >>> mmr(np.array([1.0, 0.9, 0.6]), shelves, 0.5, 3).tolist()
    [0, 2, 1]
    """
    if not 0.0 <= dial <= 1.0:
        raise DataError(f"the dial of diversity is {dial}; write a number from 0 to 1")
    if len(likeness.categories) != len(relevance):
        raise DataError(f"likeness is of {len(likeness.categories)} items, relevance of {len(relevance)}")
    marginal = Marginal(relevance, likeness, dial)
    taken = np.zeros(len(relevance))
    chosen = []
    for _ in range(min(k, len(relevance))):
        row = int(np.argmax(marginal.values + taken))
        chosen.append(row)
        taken[row] = -np.inf
        marginal.choose(row)
    return np.array(chosen, np.int64)
