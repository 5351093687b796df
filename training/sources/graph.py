"""Fitting a graph filter: items liked together, sharpened along the main directions, with a low-pass part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
        rounds: of the subspace iteration that finds the directions; more come nearer to the exact ones. (On Gowalla
            few are better: with 3 in place of the exact directions GF-CF gains .0014 in Recall@20.)
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
    rounds: int = 5
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
    directions, values = main_directions(half.tocsr(), settled, settings.seed, settings.rounds)
    largest = float(values.max(initial=0.0)) or 1.0
    together.data /= np.float32(largest)
    return _cut(together, _parts(likes, directions, values / largest, settings), likes, settings)


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
class _Part:
    """What the filter does along the main directions, in the order of their eigenvalues: `taken diag(c) given^T`.

    Attributes:
        taken, given: float32 (n_items, n_factors).
        whole: float32 (n_factors,), c of all that it does.
        beyond: float32 (n_factors,), c of what it does beyond P.
    """

    taken: Singles
    given: Singles
    whole: Singles
    beyond: Singles

    def factors(self, weights: Singles) -> tuple[Singles, Singles]:
        """Taken and given with the weights of the columns, those of weight 0 left out."""
        held = np.flatnonzero(weights)
        return self.taken[:, held] * weights[held], self.given[:, held]


def _parts(likes: Likes, directions: Singles, values: Floats, settings: GraphSettings) -> tuple[_Part, _Part]:
    root = (likes.by_item**0.5).astype(np.float32)[:, None]
    scale = (likes.item_scale**settings.popularity_power).astype(np.float32)[:, None]
    response = values * np.exp(-settings.sharpening * values)
    low = np.full(len(values), settings.low_pass, np.float32)
    beyond = (response - values).astype(np.float32)
    sharper = _Part(directions, directions * scale, response.astype(np.float32), beyond)
    return sharper, _Part(directions / root, directions * root, low, low)


def _joined(factors: Iterable[tuple[Singles, Singles]], n_items: int) -> tuple[Singles, Singles]:
    columns = [(np.empty((n_items, 0), np.float32),) * 2, *factors]
    taken, given = (np.concatenate(side, axis=1) for side in zip(*columns, strict=True))
    return np.ascontiguousarray(taken), np.ascontiguousarray(given)


def _cut(together: csr_matrix, parts: tuple[_Part, ...], likes: Likes, settings: GraphSettings) -> GraphFilterSource:
    """P and the parts as neighbours and factors."""
    n_items, scale = likes.n_items, (likes.item_scale**settings.popularity_power).astype(np.float32)
    if not settings.neighbours:
        linear = (together @ diags(scale)).tocsr()
        linear = linear - diags(linear.diagonal())
        taken, given = _joined((part.factors(part.beyond) for part in parts), n_items)
        return GraphFilterSource(ItemNeighbours.of_matrix(linear), taken, given)
    kept = [np.where(np.arange(len(part.whole)) < settings.kept_factors, part.whole, 0) for part in parts]
    pairs = list(zip(parts, kept, strict=True))
    taken, given = _joined((part.factors(part.beyond - own) for part, own in pairs), n_items)
    neighbours = strongest(_rows(together, scale, taken, given), settings.neighbours)
    return GraphFilterSource(neighbours, *_joined((part.factors(own) for part, own in pairs), n_items))


def _rows(together: csr_matrix, scale: Singles, taken: Singles, given: Singles) -> Iterator[Singles]:
    for start in range(0, len(scale), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        yield together[block].toarray() * scale + taken[block] @ given.T
