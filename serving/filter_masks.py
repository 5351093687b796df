"""Which items a filter lets through: one vectorised pass over the catalogue, kept for the filters that come again."""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError
from serving.catalogue import Catalogue, Coded
from serving.filter_language import (
    AllOf,
    Comparison,
    Expression,
    Filter,
    Membership,
    Missing,
    Not,
    Test,
    parse_filter,
)

__all__ = ["FilterMasks", "mask_of"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_BLOCK = 65_536
"""Items judged at once."""
_ONE_BY_ONE = 16
"""Up to so many values are compared each by itself; more are searched."""

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def mask_of(chosen: Filter, catalogue: Catalogue, places: Ints | None = None) -> Bools:
    """Which items (bool (n_items,)) a filter lets through.

    Args:
        chosen: as `parse_filter` read it.
        catalogue: the items.
        places: int64 (m,), none of them negative: judge these items alone; the mask is then (m,).

    Raises:
        FilterError: the filter asks for an attribute that the catalogue does not have, or of another kind.
    """
    chosen.check(catalogue.attributes)
    evaluation = _Evaluation(catalogue)
    if places is not None:
        return evaluation.of(chosen.root, places)
    starts = range(0, max(1, len(catalogue)), _BLOCK)
    return np.concatenate([evaluation.of(chosen.root, slice(start, start + _BLOCK)) for start in starts])


@dataclass(eq=False)
class FilterMasks:
    """Masks of one catalogue by the text of the filter: the ones used last, within a bound of memory.

    Safe to share between threads: a mask is never written again (it is read-only), and two threads that ask for the
    same new filter at once both compute it.

    Attributes:
        catalogue: the items; another catalogue needs masks of its own.
        max_masks: filters kept.
        max_bytes: memory of the masks kept; a mask has one byte an item, and the one used last is always kept.

    Raises:
        ConfigurationError: a bound is below 1.
    """

    catalogue: Catalogue
    max_masks: int = 256
    max_bytes: int = 64 * 2**20
    _kept: OrderedDict[str, Bools] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_masks", "max_bytes"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; write at least 1")

    def __len__(self) -> int:
        return len(self._kept)

    def mask(self, text: str) -> Bools:
        """The mask (bool (n_items,), read-only) of a filter.

        Raises:
            FilterError: it cannot be read or does not fit the catalogue; nothing is kept of it.
        """
        with self._lock:
            found = self._kept.get(text)
            if found is not None:
                self._kept.move_to_end(text)
                return found
        mask = mask_of(parse_filter(text, self.catalogue.attributes), self.catalogue)
        mask.setflags(write=False)
        most = max(1, min(self.max_masks, self.max_bytes // max(1, mask.nbytes)))
        with self._lock:
            self._kept[text] = mask
            self._kept.move_to_end(text)
            while len(self._kept) > most:
                self._kept.popitem(last=False)
        return mask


class _Evaluation:
    """One pass over a catalogue, in blocks that stay in the processor's cache; values are looked up once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._sought: dict[Test, Ints | Floats] = {}

    def of(self, expression: Expression, at: Ints | slice) -> Bools:
        """A fresh mask of some items, which the caller may write into."""
        if isinstance(expression, Not):
            found = self.of(expression.part, at)
            return np.logical_not(found, out=found)
        if isinstance(expression, Comparison | Membership | Missing):
            numbers = self._catalogue.numbers.get(expression.attribute)
            if numbers is not None:
                return self._number_test(expression, numbers[at])
            attribute = self._catalogue.coded[expression.attribute]
            return self._code_test(expression, attribute, attribute.codes[at])
        found = self.of(expression.parts[0], at)
        combine = np.logical_and if isinstance(expression, AllOf) else np.logical_or
        for part in expression.parts[1:]:
            combine(found, self.of(part, at), out=found)
        return found

    def _number_test(self, test: Test, numbers: Floats) -> Bools:
        """NaN is missing: every comparison of numpy with it is false, but for the one with `!=`."""
        if isinstance(test, Missing):
            return _missing(np.isnan(numbers), negated=test.negated)
        if isinstance(test, Comparison) and test.operator != "!=":
            found: Bools = _COMPARE[test.operator](numbers, test.value)
            return found
        values, negated = _wanted(test)
        if test not in self._sought:
            self._sought[test] = np.unique(np.array(values, np.float64))
        held = _among(numbers, self._sought[test])
        return ~held & ~np.isnan(numbers) if negated else held

    def _code_test(self, test: Test, attribute: Coded, codes: npt.NDArray[np.signedinteger]) -> Bools:
        if isinstance(test, Missing):
            return _missing(codes < 0, negated=test.negated)
        values, negated = _wanted(test)
        if test not in self._sought:
            self._sought[test] = np.array(sorted({attribute.code_of(value) for value in values} - {-1}), np.int64)
        wanted = self._sought[test]
        if len(wanted) <= _ONE_BY_ONE:
            held = reduce(operator.or_, [codes == code for code in wanted.tolist()], np.zeros(len(codes), np.bool_))
        else:
            held = _among(codes, wanted)
        return ~held & (codes >= 0) if negated else held


def _among(values: npt.NDArray[Any], sought: Ints | Floats) -> Bools:
    """Which values are among some others, ascending, at least one."""
    if len(sought) <= _ONE_BY_ONE:
        return reduce(operator.or_, [values == one for one in sought.tolist()])
    held: Bools = sought[np.minimum(np.searchsorted(sought, values), len(sought) - 1)] == values
    return held


def _wanted(test: Comparison | Membership) -> tuple[tuple[str | float | bool, ...], bool]:
    if isinstance(test, Membership):
        return test.values, test.negated
    return (test.value,), test.operator == "!="


def _missing(missing: Bools, *, negated: bool) -> Bools:
    return np.logical_not(missing, out=missing) if negated else missing
