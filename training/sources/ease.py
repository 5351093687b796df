"""Fitting EASE: the ridge regression of every item on all others, in closed form, or on its nearest where many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags

from serving.sources.histories import Histories
from serving.sources.neighbours import ItemNeighbours, NeighbourSource
from training.sources.likes import Likes
from training.sources.settings import check_positive
from training.sources.strongest import ROWS_AT_ONCE, strongest, strongest_sparse

__all__ = ["EaseSettings", "fit_ease"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EaseSettings:
    """How the regression is fitted.

    Attributes:
        regularization: lambda of the ridge term.
        customer_power: a customer counts `(own weight / mean weight) ** -customer_power`; 0 is the paper's.
        popularity_power: items are divided by `(popularity / mean popularity) ** popularity_power` while the
            regression is fitted, so that the ridge does not weigh on the rare alone; 0 is the paper's.
        neighbours: so many items are kept for each.
        exact_items: the closed form up to so many items of the catalogue (its time goes with their cube).
        regressors: beyond that, each item is regressed on so many, those that it is most often liked with.

    Raises:
        ConfigurationError: a number is not above 0 (the powers may be 0).
    """

    regularization: float = 500.0
    customer_power: float = 0.5
    popularity_power: float = 0.25
    neighbours: int = 300
    exact_items: int = 8_000
    regressors: int = 150

    def __post_init__(self) -> None:
        check_positive(self, "recommender.ease", zero=("customer_power", "popularity_power"))


def fit_ease(histories: Histories, n_items: int, settings: EaseSettings) -> NeighbourSource:
    """S = B with `B[i, j] = -P[i, j] / P[j, j]`, where P is the inverse of `Xt X + lambda I`; the diagonal is 0.

    Customers and items are weighed before as the settings say, and the items back afterwards. Of each row the largest
    entries are kept, of either sign.

    Source: Steck (2019), Embarrassingly shallow autoencoders for sparse data, WWW, eq. 8.
    """
    likes = Likes.read(histories, n_items)
    scale = likes.item_scale**settings.popularity_power
    small = diags((1 / scale).astype(np.float32))
    gram = (small @ likes.together(likes.customer_scale**-settings.customer_power) @ small).tocsr()
    if n_items <= settings.exact_items:
        weights = _closed_form(gram, settings.regularization)
        blocks = (weights[start : start + ROWS_AT_ONCE] for start in range(0, n_items, ROWS_AT_ONCE))
        found = strongest((_weighed_back(block, scale, at) for at, block in enumerate(blocks)), settings.neighbours)
    else:
        found = _nearest(gram, settings, scale)
    return NeighbourSource(found, "ease")


def _closed_form(gram: csr_matrix, regularization: float) -> Floats:
    dense = gram.toarray().astype(np.float64)
    dense[np.diag_indices_from(dense)] += regularization
    inverse = np.linalg.inv(dense)
    inverse /= -np.diag(inverse)
    return inverse


def _weighed_back(block: Floats, scale: Floats, at: int) -> npt.NDArray[np.float32]:
    rows = scale[at * ROWS_AT_ONCE : at * ROWS_AT_ONCE + len(block)]
    return (block / rows[:, None] * scale).astype(np.float32)


def _nearest(gram: csr_matrix, settings: EaseSettings, scale: Floats) -> ItemNeighbours:
    """The regression of each item on those with the largest cosine, one small system an item.

    Source: Ning and Karypis (2011), SLIM: sparse linear methods for top-N recommender systems, section 4.3 (fsSLIM).
    """
    length = 1 / np.sqrt(np.maximum(gram.diagonal(), 1e-12))
    cosine = (diags(length) @ gram @ diags(length)).tocsr()
    near = strongest_sparse(_rows(cosine), settings.regressors)
    n_items = gram.shape[0]
    place = np.full(n_items, -1, np.int64)
    rows, columns, weights = [], [], []
    for item in range(n_items):
        own = near.items[near.offsets[item] : near.offsets[item + 1]].astype(np.int64)
        if not len(own):
            continue
        chosen = np.append(own, item)
        system = _block(gram, chosen, place)
        target = system[:-1, -1].copy()
        left = system[:-1, :-1]
        left[np.diag_indices_from(left)] += settings.regularization
        rows.append(own)
        columns.append(np.full(len(own), item))
        weights.append(np.linalg.solve(left, target) / scale[own] * scale[item])
    if not rows:
        return ItemNeighbours.of_matrix(csr_matrix(gram.shape, dtype=np.float32))
    cells = (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return strongest_sparse(_rows(csr_matrix(cells, shape=gram.shape)), settings.neighbours)


def _block(gram: csr_matrix, chosen: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> Floats:
    """float64 (c, c): the entries of some rows and columns; `place` is -1 everywhere, before and after."""
    place[chosen] = np.arange(len(chosen))
    starts, sizes = gram.indptr[chosen], gram.indptr[chosen + 1] - gram.indptr[chosen]
    ends = np.cumsum(sizes)
    cells = np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1])
    where = place[gram.indices[cells]]
    held = where >= 0
    found = np.zeros((len(chosen), len(chosen)))
    found[np.repeat(np.arange(len(chosen)), sizes)[held], where[held]] = gram.data[cells[held]]
    place[chosen] = -1
    return found


def _rows(matrix: csr_matrix) -> Iterator[csr_matrix]:
    for start in range(0, matrix.shape[0], ROWS_AT_ONCE):
        yield matrix[start : start + ROWS_AT_ONCE]
