"""What is usual for a customer: of their own history where a feature holds it, else of customers like them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.reason_catalogue import FeatureWords, catalogue

__all__ = ["OwnUsual", "own_usual"]

Array = npt.NDArray[np.float64]
_TENURE = "tenure_days"
_LEAST_EVENTS = 2


@dataclass(frozen=True)
class OwnUsual:
    """How a customer's own usual value of one feature follows from their other values.

    kind: `value` the value of column `of`; `constant` the number; `rate` the count or sum of column `of` outside this
    feature's window, over as many days; `gap` the days of column `of`'s window over its count; `none`.
    own_days, of_days: lengths of this feature's window and of that of column `of`; None reaches to the first order.
    typical: the column whose training median is told where the customer's own usual is not known.
    """

    kind: str
    typical: int
    column: int = -1
    of: int = -1
    tenure: int = -1
    own_days: int = 0
    of_days: int | None = None
    number: float = np.nan

    def of_rows(self, values: Array, rows: npt.NDArray[np.int64]) -> Array:
        """float64 (m,) of some rows of values float64 (n, f); NaN where the customer's history is too short to tell."""
        if self.kind == "value":
            return np.asarray(values[rows, self.of])
        if self.kind == "rate":
            return self._rate(values, rows)
        if self.kind == "gap":
            found = np.full(rows.size, np.nan)
            count = values[rows, self.of]
            np.divide(float(self.of_days or 0), count, out=found, where=count >= _LEAST_EVENTS)
            return found
        return np.full(rows.size, self.number)

    def _rate(self, values: Array, rows: npt.NDArray[np.int64]) -> Array:
        """Over the part of the longer window before this one; known where that part is at least as long as this one."""
        reach = values[rows, self.tenure]
        before = (reach if self.of_days is None else np.minimum(reach, self.of_days)) - self.own_days
        found = np.full(rows.size, np.nan)
        rest = np.maximum(values[rows, self.of] - values[rows, self.column], 0.0)
        np.divide(rest * self.own_days, before, out=found, where=before >= self.own_days)
        return found


def own_usual(words: FeatureWords, column_of: Mapping[str, int]) -> OwnUsual:
    """The rule of a feature over the columns of a model; unknown where the model lacks a column that it reads."""
    rule, column = words.usual, column_of[words.name]
    unknown = OwnUsual("none", column)
    if rule is None:
        return unknown
    if isinstance(rule, int | float):
        return OwnUsual("constant", column, number=float(rule))
    if isinstance(rule, str):
        return OwnUsual("value", column_of[rule], of=column_of[rule]) if rule in column_of else unknown
    kind, of = next(iter(rule.items()))
    if of not in column_of or (kind == "rate_of" and (_TENURE not in column_of or words.window_days is None)):
        return unknown
    of_days = catalogue().words(of).window_days
    if kind == "gap_of":
        return OwnUsual("gap", column, of=column_of[of], of_days=of_days)
    return OwnUsual("rate", column, column, column_of[of], column_of[_TENURE], words.window_days or 0, of_days)
