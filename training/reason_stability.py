"""Whether retraining changes what customers are told: two models' reasons for the same customers, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from features.errors import DataError, NotEnoughDataError

__all__ = ["ReasonStability", "reason_stability"]

Array = npt.NDArray[np.float64]
_TOP = 3


@dataclass(frozen=True)
class ReasonStability:
    """How alike the reasons of two models are, over the same n customers.

    top_overlap: mean share of a customer's first three reasons, raising ones, that both models give, in [0, 1].
    same_first: share of the customers whose first reason is the same.
    importance_correlation: Spearman's, in [-1, 1], between the mean weights of the groups of features; 1 is one order.
    """

    n: int
    top_overlap: float
    same_first: float
    importance_correlation: float


def reason_stability(earlier: Array, later: Array) -> ReasonStability:
    """Compare the group sums of two models, float64 (n, g) each, of the same customers in the same order.

    Raises:
        DataError: they are of different shapes.
        NotEnoughDataError: there is no customer, or there are fewer than 2 groups.

    >>> same = np.array([[3.0, 2.0, 1.0, -4.0]])
    >>> reason_stability(same, same).top_overlap
    1.0
    """
    if earlier.shape != later.shape or earlier.ndim != 2:
        raise DataError(f"reasons of shapes {earlier.shape} and {later.shape} are not of the same customers")
    if earlier.shape[0] == 0 or earlier.shape[1] < 2:
        raise NotEnoughDataError(f"the stability of reasons needs customers and 2 groups, not shape {earlier.shape}")
    first, second = _top(earlier), _top(later)
    shared = np.count_nonzero(first & second, axis=1)
    most = np.maximum(np.maximum(first.sum(axis=1), second.sum(axis=1)), 1)
    overlap = np.where(first.any(axis=1) | second.any(axis=1), shared / most, 1.0)
    weights = np.abs(earlier).mean(axis=0), np.abs(later).mean(axis=0)
    return ReasonStability(
        n=int(earlier.shape[0]),
        top_overlap=float(overlap.mean()),
        same_first=float(np.mean(earlier.argmax(axis=1) == later.argmax(axis=1))),
        importance_correlation=_spearman(*weights),
    )


def _top(sums: Array) -> npt.NDArray[np.bool_]:
    """Mask, bool (n, g), of the at most three groups that raise the risk most."""
    chosen = np.zeros(sums.shape, np.bool_)
    places = np.argsort(-sums, axis=1, kind="stable")[:, :_TOP]
    np.put_along_axis(chosen, places, values=True, axis=1)
    found: npt.NDArray[np.bool_] = chosen & (sums > 0.0)
    return found


def _spearman(first: Array, second: Array) -> float:
    a, b = (rankdata(weights) - (weights.size + 1) / 2.0 for weights in (first, second))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0.0 else float("nan")
