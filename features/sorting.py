"""Stable order of integers, fast: key and place packed into one int64, sorted by value, unpacked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["run_starts", "stable_order"]


def stable_order(keys: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """int64 (m,): the places that sort keys in `[0, limit)` ascending; equal keys keep their sequence.

    A plain sort of packed integers is vectorised and several times faster than a stable argsort. Where key and place
    need more than 63 bits together, the stable argsort it is.

    >>> import numpy as np
    >>> stable_order(np.array([2, 0, 2, 1]), 3)
    array([1, 3, 0, 2])
    """
    bits = int(keys.size).bit_length()
    if int(limit).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    packed = keys << bits
    packed |= np.arange(keys.size)
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def run_starts(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 (r,): where each run of equal keys begins.

    >>> import numpy as np
    >>> run_starts(np.array([4, 4, 7, 9, 9])).tolist()
    [0, 2, 3]
    """
    begins = np.empty(keys.size, np.bool_)
    begins[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    return np.flatnonzero(begins)
