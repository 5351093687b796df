"""One array a file, `.npy`, read where it lies and without pickle: the processes that map a file share it."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = ["read_npy", "write_npy"]

_MOST_HEADER = 10_000
_NUMBERS = {"<f4", "<f8", "<i4", "<i8", "|b1", "|i1", "|u1"}


def write_npy(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a `.npy` file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_npy(content: Any, path: str) -> npt.NDArray[Any]:
    """The array of a `.npy` file as a view of its bytes; numbers and booleans alone, in C order.

    Raises:
        ArtefactError: the bytes are not such a file.
    """
    view = memoryview(content)
    head = io.BytesIO(view[:_MOST_HEADER])
    try:
        version = np.lib.format.read_magic(head)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        start, size = head.tell(), math.prod(shape)
    except (ValueError, TypeError, SyntaxError, EOFError, RecursionError):
        raise _unreadable(path) from None
    whole = version == (1, 0) and not fortran and dtype.str in _NUMBERS and min(shape, default=0) >= 0
    if not whole or len(view) - start != size * dtype.itemsize:
        raise _unreadable(path)
    found: npt.NDArray[Any] = np.frombuffer(view, dtype, size, start).reshape(shape)
    return found


def _unreadable(path: str) -> ArtefactError:
    return ArtefactError(f"{path} is truncated or not an array of numbers; copy the release again")
