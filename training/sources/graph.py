"""Fitting a graph filter: items liked together, sharpened along the main directions, with a low-pass part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags

from serving.sources.graph import GraphFilterSource
from serving.sources.histories import Histories
from serving.sources.neighbours import ItemNeighbours
from training.sources.likes import Likes
from training.sources.settings import check_positive
from training.sources.strongest import ROWS_AT_ONCE, strongest

__all__ = ["GraphSettings", "fit_graph"]

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

_SPARE = 32


@dataclass(frozen=True)
class GraphSettings:
    """How the filter is fitted. GF-CF is customer_power 1, sharpening 0, popularity_power 0, low_pass .3, factors 256.

    Attributes:
        customer_power: a customer counts `weight ** -customer_power`.
        sharpening: T of the response `m exp(-T m)`; m is an eigenvalue over the largest one. 0 leaves m.
        popularity_power: items are multiplied by `(popularity / mean popularity) ** popularity_power` at the end.
        low_pass: weight of the ideal low-pass filter.
        factors: main directions: of the sharpening and of the low-pass filter.
        kept_factors: so many of them are kept as factors, the others as neighbours; at most `factors`.
        neighbours: so many items are kept for each, the largest entries of either sign; 0 keeps all items liked
            together, and all `factors` as factors: the filter as it is in the paper.
        seed: of the start of the directions.

    Raises:
        ConfigurationError: a number is negative, or one is 0 that may not be.
    """

    customer_power: float = 0.7
    sharpening: float = 2.0
    popularity_power: float = 0.2
    low_pass: float = 0.14
    factors: int = 512
    kept_factors: int = 32
    neighbours: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        zero = ("customer_power", "sharpening", "popularity_power", "low_pass", "kept_factors", "neighbours", "seed")
        check_positive(self, "recommender.graph", zero=zero)


def fit_graph(histories: Histories, n_items: int, settings: GraphSettings) -> GraphFilterSource:
    """The filter `(P + V diag(r(m) - m) Vt) D^p + b D^-1/2 V Vt D^1/2`.

    P is `Rt R` over its largest eigenvalue, with `R = U^-a/2 X D^-1/2`; U and D are the weights of customers and items,
    V and m the main eigenvectors and eigenvalues of P, and `r(m) = m exp(-T m)`.

    Source: Shen et al. (2021), How powerful is graph convolution for recommendation?, CIKM, eq. 19 (GF-CF: the linear
    and the ideal low-pass filter); Choi et al. (2023), Blurring-sharpening process models for collaborative filtering,
    SIGIR, eq. 9 (sharpening `dx/dt = -x P`, of which `exp(-T m)` is the solution).
    """
    likes = Likes.read(histories, n_items)
    settled = min(settings.factors, n_items, likes.matrix.shape[0])
    root = diags((likes.by_item**-0.5).astype(np.float32))
    together = (root @ likes.together(likes.by_customer**-settings.customer_power) @ root).tocsr()
    half = diags((likes.by_customer ** (-settings.customer_power / 2)).astype(np.float32)) @ likes.matrix @ root
    directions, values = main_directions(half.tocsr(), settled, settings.seed)
    largest = float(values.max(initial=0.0)) or 1.0
    together.data /= np.float32(largest)
    return _cut(_Filter.of(likes, together, directions, values / largest, settings), settings)


def main_directions(matrix: csr_matrix, n: int, seed: int, rounds: int = 5) -> tuple[Singles, Floats]:
    """The n largest eigenvalues of `Mt M` and their eigenvectors: float32 (columns, n), float64 (n,), descending.

    Source: Halko, Martinsson, Tropp (2011), Finding structure with randomness, SIAM Review 53(2), algorithm 4.4.
    """
    width = min(n + _SPARE, *matrix.shape)
    transposed = matrix.T.tocsr()
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], width)).astype(np.float32)
    for _ in range(rounds):
        basis = np.linalg.qr(transposed @ (matrix @ basis))[0]
    seen = matrix @ basis
    values, turn = np.linalg.eigh((seen.T @ seen).astype(np.float64))
    chosen = np.argsort(-values, kind="stable")[:n]
    return basis @ turn[:, chosen].astype(np.float32), np.maximum(values[chosen], 0.0)


@dataclass(frozen=True, eq=False)
class _Filter:
    """The filter `together * scale + sum over parts of taken given^T`, before it is cut.

    Attributes:
        together: P.
        scale: float32 (n_items,), D^p.
        parts: taken and given, float32 (n_items, n_factors) each, of what is added to P.
        whole: the same for all that the filter does along the main directions, P's share of it included.
    """

    together: csr_matrix
    scale: Singles
    parts: tuple[tuple[Singles, Singles], ...]
    whole: tuple[tuple[Singles, Singles], ...]

    @classmethod
    def of(
        cls, likes: Likes, together: csr_matrix, directions: Singles, values: Floats, settings: GraphSettings
    ) -> _Filter:
        scale = (likes.item_scale**settings.popularity_power).astype(np.float32)
        root = (likes.by_item**0.5).astype(np.float32)[:, None]
        response = (values * np.exp(-settings.sharpening * values)).astype(np.float32)
        answered = directions * scale[:, None]
        low = (directions / root, np.float32(settings.low_pass) * directions * root)
        sharper = (directions * (response - values.astype(np.float32)), answered)
        parts = (*((sharper,) if settings.sharpening else ()), *((low,) if settings.low_pass else ()))
        return cls(together, scale, parts, ((directions * response, answered), low))

    def rows(self, start: int, stop: int, kept: int) -> Singles:
        """float32 (stop - start, n_items): some rows, without the first `kept` directions."""
        dense: Singles = self.together[start:stop].toarray() * self.scale
        for taken, given in self.parts:
            dense += taken[start:stop] @ given.T
        for taken, given in self.whole:
            dense -= taken[start:stop, :kept] @ given[:, :kept].T
        return dense


def _cut(whole: _Filter, settings: GraphSettings) -> GraphFilterSource:
    n_items = len(whole.scale)
    if settings.neighbours:
        kept = settings.kept_factors
        steps = range(0, n_items, ROWS_AT_ONCE)
        blocks: Iterator[Singles] = (whole.rows(at, min(at + ROWS_AT_ONCE, n_items), kept) for at in steps)
        neighbours = strongest(blocks, settings.neighbours)
        factors = tuple((taken[:, :kept], given[:, :kept]) for taken, given in whole.whole)
    else:
        linear = (whole.together @ diags(whole.scale)).tocsr()
        linear.setdiag(0)
        neighbours, factors = ItemNeighbours.of_matrix(linear), whole.parts
    nothing = np.empty((n_items, 0), np.float32)
    taken = np.concatenate([nothing, *(part[0] for part in factors)], axis=1)
    given = np.concatenate([nothing, *(part[1] for part in factors)], axis=1)
    return GraphFilterSource(neighbours, np.ascontiguousarray(taken), np.ascontiguousarray(given))
