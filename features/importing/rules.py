"""Conditions of a mapping (keep, drop, kind rules) over a column, as a boolean mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.importing.mapping import KindRule, Rule
from features.importing.money import millionths
from features.validation import Findings

__all__ = ["matches"]

_TEXT: dict[str, Callable[[pa.Array, Any], pa.Array]] = {
    "equals": lambda column, value: pc.equal(column, _text(value)),
    "not_equals": lambda column, value: pc.not_equal(column, _text(value)),
    "in": lambda column, values: pc.is_in(column, pa.array([_text(one) for one in values], pa.string())),
    "not_in": lambda column, values: pc.invert(pc.is_in(column, pa.array([_text(v) for v in values], pa.string()))),
    "starts_with": lambda column, value: pc.starts_with(column, _text(value)),
    "matches": lambda column, value: pc.match_substring_regex(column, _text(value)),
}
_NUMBER: dict[str, Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.bool_]]] = {
    "lt": lambda values, limit: values < limit,
    "at_most": lambda values, limit: values <= limit,
    "gt": lambda values, limit: values > limit,
    "at_least": lambda values, limit: values >= limit,
}


def matches(column: pa.Array, rule: Rule | KindRule) -> npt.NDArray[np.bool_]:
    """Which rows the rule holds for. A null matches `is_null` only; text that is no number matches no comparison."""
    if rule.operator == "is_null":
        return _bools(pc.is_null(column))
    there = _bools(pc.is_valid(column))
    if rule.operator == "not_null":
        return there
    if rule.operator in _NUMBER:
        values, number = millionths(column, rule.column, Findings(len(column)))
        return number & _NUMBER[rule.operator](values, round(float(rule.value) * 1_000_000))
    return there & _bools(_TEXT[rule.operator](_as_text(column), rule.value))


def _as_text(column: pa.Array) -> pa.Array:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _bools(condition: pa.Array) -> npt.NDArray[np.bool_]:
    result: npt.NDArray[np.bool_] = pc.fill_null(condition, fill_value=False).to_numpy(zero_copy_only=False)
    return result
