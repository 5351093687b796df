"""Reading the arrays of a source from a release: what they must be, said once and checked before use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = ["Shape", "arrays_of", "positive_numbers"]

_AGAIN = "fit and release anew"


@dataclass(frozen=True)
class Shape:
    """What an array must be: its dtype, its number of axes, and the bounds of its values (None: any finite number).

    `above` is exclusive, `least` and `most` are not.
    """

    dtype: npt.DTypeLike
    n_axes: int
    least: float | None = None
    most: float | None = None
    above: float | None = None

    def check(self, name: str, array: npt.NDArray[Any]) -> None:
        """Raise ArtefactError where an array is not so."""
        dtype = np.dtype(self.dtype)
        if array.dtype != dtype or array.ndim != self.n_axes:
            raise ArtefactError(f"{name} must be {dtype} of {self.n_axes} axes; {_AGAIN}")
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtefactError(f"{name} holds values that are not finite; {_AGAIN}")
        if not array.size:
            return
        low, high = array.min(), array.max()
        if (self.least is not None and low < self.least) or (self.above is not None and low <= self.above):
            raise ArtefactError(f"{name} holds a value that is too small; {_AGAIN}")
        if self.most is not None and high > self.most:
            raise ArtefactError(f"{name} holds a value that is too large; {_AGAIN}")


def arrays_of(
    arrays: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, Shape], *, same_length: bool = False
) -> tuple[npt.NDArray[Any], ...]:
    """The wanted arrays, in the order of `wanted`.

    Raises:
        ArtefactError: one is missing or one too many is there, an array is not as its `Shape` says, or
            (`same_length`) their first axes differ.
    """
    if set(arrays) != set(wanted):
        raise ArtefactError(f"the arrays must be {', '.join(sorted(wanted))}; {_AGAIN}")
    for name, shape in wanted.items():
        shape.check(name, arrays[name])
    found = tuple(arrays[name] for name in wanted)
    if same_length and len({len(array) for array in found}) > 1:
        raise ArtefactError(f"{', '.join(wanted)} must be of one length; {_AGAIN}")
    return found


def positive_numbers(settings: Mapping[str, Any], *names: str) -> tuple[float, ...]:
    """The named settings, finite and above 0, in the order of the names; there must be no others.

    Raises:
        ArtefactError: they are not so.
    """
    found = [settings.get(name) for name in names]
    numbers = tuple(float(one) for one in found if isinstance(one, int | float) and 0 < one < math.inf)
    if set(settings) != set(names) or len(numbers) < len(names):
        raise ArtefactError(f"the settings must be {', '.join(names)}, numbers above 0; {_AGAIN}")
    return numbers
