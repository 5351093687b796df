"""Factorised taste: a vector for each item, and for each customer one that is solved from the history when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dposv

from serving.sources.histories import Histories
from serving.sources.longest_first import LongestFirst
from serving.sources.parts import Shape, arrays_of, positive_numbers
from serving.sources.source import Arrays, Bools, Excluded, Ints, Proposals, Scores, best_of

__all__ = ["FactorSource"]

Floats = npt.NDArray[np.float64]

_CUSTOMERS_AT_ONCE = 256
_LIKE_LENGTH, _ITEMS_AT_ONCE = 16, 16_384
_FEW_ITEMS = 8_192
"""So many items are all looked at."""


@dataclass(frozen=True, eq=False)
class FactorSource:
    """Implicit-feedback matrix factorisation: the customer is folded in from the whole history, so is never stale.

    Attributes:
        item_factors: float32 (n_items, n_factors).
        alpha: confidence of an interaction of weight w is `1 + alpha * |w|`.
        regularization: lambda of the ridge term.

    Source: Hu, Koren, Volinsky (2008), Collaborative filtering for implicit feedback datasets, eq. 4.
    """

    kind: ClassVar[str] = "factors"

    item_factors: npt.NDArray[np.float32]
    alpha: float
    regularization: float
    name: str = "als"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.item_factors)

    @cached_property
    def _gram(self) -> Floats:
        factors = self.item_factors.astype(np.float64)
        return factors.T @ factors + self.regularization * np.eye(factors.shape[1])

    @cached_property
    def _longest_first(self) -> LongestFirst:
        return LongestFirst.of(self.item_factors)

    def fold_in(self, items: Ints, weights: Floats) -> Floats:
        """float64 (n, n_factors): each customer's x of `(YtY + Yt (C - I) Y + lambda I) x = Yt C p`.

        Args:
            items: catalogue positions (n, m), distinct in a row where the weight is not 0.
            weights: (n, m); confidence is `1 + alpha * |weight|`; p is 1 above 0 and 0 below. An item of weight 0
                counts for nothing.
        """
        factors = self.item_factors[items].astype(np.float64)
        extra = self.alpha * np.abs(weights)
        left = self._gram + np.matmul((factors * extra[:, :, None]).transpose(0, 2, 1), factors)
        right = np.matmul(np.where(weights > 0, 1.0 + extra, 0.0)[:, None, :], factors)
        return np.asarray(np.linalg.solve(left, right.transpose(0, 2, 1))[:, :, 0], np.float64)

    def vectors(self, histories: Histories) -> Scores:
        """float32 (n, n_factors); NaN in the rows of cold customers."""
        return histories.once((self, "vectors"), lambda: self._folded_in(histories))

    def _folded_in(self, histories: Histories) -> Scores:
        """Histories of like length together, filled up with items of weight 0: alone a customer gets the same."""
        vectors = np.full((histories.n_customers, self.item_factors.shape[1]), np.nan, np.float32)
        starts, sizes = histories.offsets[:-1], np.diff(histories.offsets)
        widths = np.where(histories.cold, -1, -(-sizes // _LIKE_LENGTH) * _LIKE_LENGTH)
        for width in np.unique(widths[widths >= 0]).tolist():
            alike = np.flatnonzero(widths == width)
            at_once = max(_ITEMS_AT_ONCE // max(width, 1), 1)
            for rows in (alike[start : start + at_once] for start in range(0, len(alike), at_once)):
                within = np.arange(width)
                own = within < sizes[rows, None]
                cells = np.where(own, starts[rows, None] + within, 0)
                vectors[rows] = self.fold_in(histories.items[cells], np.where(own, histories.weights[cells], 0.0))
        return vectors

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The items of the highest predicted preference; nothing to a cold customer."""
        vectors = self.vectors(histories)
        parts = []
        for start in range(0, histories.n_customers, _CUSTOMERS_AT_ONCE):
            part = vectors[start : start + _CUSTOMERS_AT_ONCE]
            own = None if excluded is None else excluded.part(start, start + _CUSTOMERS_AT_ONCE)
            if self.n_items <= _FEW_ITEMS:
                parts.append(best_of(part @ self.item_factors.T, limit, allowed, own))
            else:
                parts.append(self._longest_first.propose(part, limit, allowed, own))
        return Proposals.together(parts, limit)

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """Predicted preference, about 0 to 1; NaN in the rows of cold customers."""
        vectors = self.vectors(histories)
        found = np.full(places.shape, np.nan, np.float32)
        for row, (vector, own) in enumerate(zip(vectors, places, strict=True)):
            found[row] = np.where(own >= 0, np.einsum("ij,j->i", self.item_factors[own], vector), np.float32(np.nan))
        return found

    def cosines(self, histories: Histories, places: Ints) -> Scores:
        """Of the customer's vector and the item's, float32 (n, m) in [-1, 1]: taste, whoever else has it.

        An item's length, which grows with how many know it, says nothing here. NaN in the rows of cold customers, at
        place -1, and where a vector is 0.
        """
        items, own = self.item_factors[places], self.vectors(histories)
        squared = np.einsum("ijk,ijk->ij", items, items) * np.einsum("ik,ik->i", own, own)[:, None]
        lengths = np.sqrt(np.where((places >= 0) & (squared > 0), squared, np.float32(np.nan)))
        return np.asarray(np.clip(np.einsum("ijk,ik->ij", items, own) / lengths, -1, 1), np.float32)

    def leading(self, histories: Histories, row: int, places: Ints) -> Ints:
        """See `Explaining`: the item with the largest share in the customer's vector, as the places see it.

        The vector is a sum over the history: `x = sum of c_i p_i A^-1 y_i`, so the score of an item is one too.

        Source: Hu, Koren, Volinsky (2008), section 5, explaining recommendations.
        """
        cells = slice(histories.offsets[row], histories.offsets[row + 1])
        items, weights = histories.items[cells], histories.weights[cells]
        if not len(items):
            return np.full(len(places), -1, np.int64)
        own = self.item_factors[items].astype(np.float64)
        extra = self.alpha * np.abs(weights)
        moved = _solved(self._gram + (own.T * extra) @ own, own.T * np.where(weights > 0, 1.0 + extra, 0.0))
        shares = self.item_factors[places].astype(np.float64) @ moved
        shares[places[:, None] == items] = -np.inf  # an item does not speak for itself
        best = np.argmax(shares, axis=1)
        return np.where(shares[np.arange(len(places)), best] > 0, items[best], -1)

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        settings = {"alpha": self.alpha, "regularization": self.regularization}
        return settings, {"item_factors": self.item_factors}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        (factors,) = arrays_of(arrays, {"item_factors": Shape(np.float32, 2)})
        alpha, regularization = positive_numbers(settings, "alpha", "regularization")
        return cls(factors, alpha, regularization)


def _solved(left: Floats, right: Floats) -> Floats:
    """What a symmetric, positive definite matrix (f, f) makes the right sides, (f,) or (f, m), of."""
    _, found, fault = dposv(left, right)
    return np.asarray(np.linalg.solve(left, right) if fault else found, np.float64)
