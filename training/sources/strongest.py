"""Cutting an item-by-item matrix down to the strongest entries of each row, block by block of dense rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from serving.sources.neighbours import ItemNeighbours

__all__ = ["ROWS_AT_ONCE", "strongest"]

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
        values = np.take_along_axis(block, kept, axis=1)
        held = values != 0
        sizes.append(held.sum(axis=1, dtype=np.int64))
        items.append(kept[held].astype(np.int32))
        weights.append(values[held])
    return ItemNeighbours(np.cumsum(np.concatenate(sizes)), np.concatenate(items), np.concatenate(weights))


def _largest(size: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.int64]:
    """int64 (b, limit): columns of the largest of each row, ascending; equal sizes: those in front."""
    n_columns = size.shape[1]
    if limit >= n_columns:
        return np.broadcast_to(np.arange(n_columns), size.shape)
    least = np.partition(size, n_columns - limit, axis=1)[:, n_columns - limit, None]
    above = size > least
    level = size == least
    spare = limit - above.sum(axis=1)
    above |= level & (np.cumsum(level, axis=1) <= spare[:, None])
    return np.nonzero(above)[1].reshape(len(size), limit)
