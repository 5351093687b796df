"""Boosted trees as they are applied: LightGBM's text model, checked before LightGBM reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.booster_text import Objective, check_booster_text, trees_only
from serving.tree_scan import TreeScan

__all__ = ["Trees", "column_names"]

Array = npt.NDArray[np.float64]
_ONE_THREAD_ROWS = 4_000


def column_names(feature_names: tuple[str, ...]) -> tuple[str, ...]:
    """The features' names as LightGBM's text can hold them: what is no letter, digit or `_.-~` is percent-encoded.

    >>> column_names(("orders_count_90d", "Payment Method"))
    ('orders_count_90d', 'Payment%20Method')
    """
    return tuple(quote(name, safe="") for name in feature_names)


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees over named features; there is no untrained state and nothing in it changes.

    text: LightGBM's text model; what stands behind its trees is dropped.
    objective: "binary" trees give log-odds, "regression" trees a number.
    """

    feature_names: tuple[str, ...]
    text: str
    objective: Objective = "binary"
    n_trees: int = field(init=False)
    _booster: lgb.Booster = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", trees_only(self.text))
        n_trees = check_booster_text(self.text, column_names(self.feature_names), self.objective)
        object.__setattr__(self, "n_trees", n_trees)
        object.__setattr__(self, "_booster", lgb.Booster(model_str=self.text))

    def margins(self, values: Array) -> Array:
        """The sum of the trees, float64 (n,), for values float64 (n, f), C-ordered; NaN is missing.

        The same bits for a row alone and among many: many rows are scanned (see `TreeScan`) where the trees allow it.
        """
        if values.shape[0] > _ONE_THREAD_ROWS and self._scan is not None:
            return self._scan.sums(values)
        found = self._booster.predict(values, raw_score=True, num_threads=_threads(values))
        return np.asarray(found, dtype=np.float64).reshape(values.shape[0])

    @cached_property
    def _scan(self) -> TreeScan | None:
        """Made when many rows come first: a service that answers one customer at a time never needs it."""
        return TreeScan.of(self.text)

    def contributions(self, values: Array) -> Array:
        """What each feature adds to the sum, float64 (n, f + 1); the last column is the average sum.

        Source: Lundberg, Erion and Lee 2018, Consistent individualized feature attribution (TreeSHAP).
        """
        found = self._booster.predict(values, pred_contrib=True, num_threads=_threads(values))
        return np.asarray(found, dtype=np.float64).reshape(values.shape[0], len(self.feature_names) + 1)

    def to_bytes(self) -> bytes:
        """The text as a file's content."""
        return self.text.encode("ascii")

    @classmethod
    def from_bytes(
        cls, data: bytes, feature_names: tuple[str, ...], what: str, objective: Objective = "binary"
    ) -> Trees:
        """The trees that `to_bytes` wrote; `what` names the file in errors.

        Raises:
            ArtefactError: the text is truncated, altered, of another objective, or for other features.
        """
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError:
            raise ArtefactError(f"{what} is not plain text; it was altered") from None
        if trees_only(text) != text:
            raise ArtefactError(f"{what} holds more than trees; it was altered")
        return cls(feature_names, text, objective)


def _threads(values: Array) -> int:
    """One thread for few rows; starting more costs more than it saves."""
    return 1 if values.shape[0] <= _ONE_THREAD_ROWS else 0
