"""Part of many rows, evenly taken: enough for what has few numbers to learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["evenly"]

Places = npt.NDArray[np.int64]


def evenly(places: Places, most: int) -> Places:
    """Every k-th of the places, int64, with the smallest k that leaves at most `most`.

    >>> evenly(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    >>> evenly(np.arange(3), 4).tolist()
    [0, 1, 2]
    """
    return places[:: max(1, -(-places.size // most))]
