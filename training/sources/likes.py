"""What the sources that are fitted on likes alone read: the weights above 0, and how much lies on each side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags

from serving.sources.histories import Histories

__all__ = ["Likes"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Likes:
    """X of the papers: customers by items, weights above 0.

    Attributes:
        matrix: float32 (n_customers, n_items), sorted indices, no stored zeros.
    """

    matrix: csr_matrix

    @classmethod
    def read(cls, histories: Histories, n_items: int) -> Likes:
        """The weights above 0; refusals (below 0) are left out."""
        matrix = histories.matrix(n_items)
        matrix.data = np.maximum(matrix.data, 0.0)
        matrix.eliminate_zeros()
        return cls(matrix)

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return int(self.matrix.shape[1])

    @cached_property
    def by_customer(self) -> Floats:
        """float64 (n_customers,): the weight of each; 1 where there is none, so that it divides."""
        return _at_least_something(self.matrix.sum(axis=1))

    @cached_property
    def by_item(self) -> Floats:
        """float64 (n_items,): the weight on each; 1 where there is none, so that it divides."""
        return _at_least_something(self.matrix.sum(axis=0))

    @cached_property
    def item_scale(self) -> Floats:
        """float64 (n_items,): `by_item` over its mean among the items that have any."""
        return self.by_item / _mean(self.by_item, np.asarray(self.matrix.sum(axis=0)).ravel() > 0)

    @cached_property
    def customer_scale(self) -> Floats:
        """float64 (n_customers,): `by_customer` over its mean among the customers who have any."""
        return self.by_customer / _mean(self.by_customer, np.diff(self.matrix.indptr) > 0)

    def together(self, customer_weight: Floats) -> csr_matrix:
        """float32 (n_items, n_items): `Xt diag(w) X`, how often two items are liked by one customer."""
        weighted = (diags(customer_weight.astype(np.float32)) @ self.matrix).tocsr()
        found = (self.matrix.T.tocsr() @ weighted).tocsr()
        found.sort_indices()
        return found


def _at_least_something(sums: npt.NDArray[np.floating]) -> Floats:
    flat = np.asarray(sums, np.float64).ravel()
    return np.where(flat > 0, flat, 1.0)


def _mean(values: Floats, held: npt.NDArray[np.bool_]) -> float:
    return float(values[held].mean()) if held.any() else 1.0
