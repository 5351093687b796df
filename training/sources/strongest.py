"""Cutting an item-by-item matrix down to the strongest entries of each row, block by block of rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from serving.sources.neighbours import ItemNeighbours

__all__ = ["ROWS_AT_ONCE", "strongest", "strongest_sparse"]

ROWS_AT_ONCE = 512
"""Dense rows that a fit holds at a time: 100 MB of float32 with 50,000 items."""


def strongest(blocks: Iterable[npt.NDArray[np.float32]], limit: int) -> ItemNeighbours:
    """The `limit` entries of the largest absolute value of each row, zeros and the diagonal left out.

    Args:
        blocks: float32 (b, n_items) each, the rows from the first on; they are overwritten.
        limit: at least 1.

    >>> found = strongest([np.array([[9, 1, -3], [0, 9, 2], [1, 1, 9]], np.float32)], 1)
    >>> found.items.tolist(), found.weights.tolist()
    ([2, 2, 0], [-3.0, 2.0, 1.0])
    """
    sizes, items, weights = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    row = 0
    for block in blocks:
        block[np.arange(len(block)), np.arange(row, row + len(block))] = 0.0
        row += len(block)
        kept = _largest(np.abs(block), limit)
        sizes.append(kept.sum(axis=1, dtype=np.int64))
        items.append(np.nonzero(kept)[1].astype(np.int32))
        weights.append(block[kept])
    return ItemNeighbours(np.cumsum(np.concatenate(sizes)), np.concatenate(items), np.concatenate(weights))


def strongest_sparse(blocks: Iterable[csr_matrix], limit: int) -> ItemNeighbours:
    """The same of sparse rows, in work that goes with their entries; they are not changed."""
    sizes, items, weights = [0], [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    row = 0
    for block in blocks:
        found = csr_matrix(block)
        found.sort_indices()
        for start, stop in zip(found.indptr, found.indptr[1:], strict=False):
            columns, values = found.indices[start:stop], found.data[start:stop].astype(np.float32)
            size = np.where(columns == row, np.float32(0), np.abs(values))
            kept = _largest(size[None], limit)[0] if len(size) else np.empty(0, np.bool_)
            sizes.append(int(kept.sum()))
            items.append(columns[kept].astype(np.int32))
            weights.append(values[kept])
            row += 1
    return ItemNeighbours(np.cumsum(np.array(sizes, np.int64)), np.concatenate(items), np.concatenate(weights))


def _largest(size: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.bool_]:
    """Bool (b, n): which are the `limit` largest of each row and above 0; of equal sizes those in front."""
    n_columns = size.shape[1]
    if limit >= n_columns:
        return size > 0
    least = np.maximum(np.partition(size, n_columns - limit, axis=1)[:, n_columns - limit], 0)
    kept = (size >= least[:, None]) & (size > 0)
    for row in np.flatnonzero(kept.sum(axis=1) > limit):
        level = np.flatnonzero(size[row] == least[row])
        spare = limit - int((size[row] > least[row]).sum())
        kept[row, level[spare:]] = False
    return kept
