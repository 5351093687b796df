"""From scores of several candidate sources to a slate: normalise, blend, filter, cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError

__all__ = ["BlendWeights", "Blended", "Slate", "SlateItem", "blend", "normalise", "top_k", "total"]

Floats = npt.NDArray[np.float64]
_DECIMALS = 9


@dataclass(frozen=True)
class SlateItem:
    """One place of a slate.

    Attributes:
        item_id: outside id.
        score: larger is better; comparable within one slate only.
        position: 1 is the first.
        source: the candidate source that contributed most.
        reason: a short sentence for people.
    """

    item_id: str
    score: float
    position: int
    source: str
    reason: str


@dataclass(frozen=True)
class Slate:
    """The list shown, best first: no padding, no item twice, no filtered item.

    Attributes:
        items: at most k, fewer where fewer can be proposed.
        strategy: "personal", "popularity" (nothing is known of the customer), "similar" (to the seed items) or "none"
            (the catalogue is empty).
        fallback: true where the answer is not what was asked for: a cold customer, unknown seed items, no catalogue.
        filtered_count: items of the catalogue (or of the given candidates) taken out by filters.
        unknown_count: given candidates and seed items that the catalogue does not hold.
    """

    items: tuple[SlateItem, ...]
    strategy: str
    fallback: bool
    filtered_count: int
    unknown_count: int = 0


@dataclass(frozen=True)
class BlendWeights:
    """How much each source counts; a source of weight 0 is not asked.

    Raises:
        ConfigurationError: a weight is negative or not finite, or all are 0.
    """

    als: float = 0.6
    popularity: float = 0.1
    buy_again: float = 0.3

    def __post_init__(self) -> None:
        weights = (self.als, self.popularity, self.buy_again)
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
            raise ConfigurationError("blend weights must be finite, at least 0 and not all 0; see [recommender.blend]")


def normalise(scores: Floats) -> Floats:
    """One source's scores (n, n_items) stretched to [0, 1] in each row; not proposed (NaN) becomes 0.

    The row's largest score becomes 1 and the smaller one of 0 and the row's least score becomes 0.

    >>> normalise(np.array([[4.0, 1.0, np.nan], [3.0, -1.0, 1.0]])).tolist()
    [[1.0, 0.25, 0.0], [1.0, 0.0, 0.5]]
    """
    if not scores.shape[1]:
        return np.zeros(scores.shape)
    proposed = ~np.isnan(scores)
    low = np.minimum(np.min(scores, axis=1, keepdims=True, initial=0.0, where=proposed), 0.0)
    high = np.max(scores, axis=1, keepdims=True, initial=0.0, where=proposed)
    span = np.where(high > low, high - low, 1.0)
    return np.where(proposed, (scores - low) / span, 0.0)


@dataclass(frozen=True)
class Blended:
    """The sources put together.

    Attributes:
        total: float64 (n, n_items).
        shares: what each source contributed, float64 (n, n_items) each.
        proposed: bool (n, n_items), true where a source with weight proposed the item.
    """

    total: Floats
    shares: tuple[Floats, ...]
    proposed: npt.NDArray[np.bool_]


def blend(parts: Sequence[Floats], weights: Sequence[Floats]) -> Blended:
    """The weighted sum of normalised scores.

    Rounded to 9 decimals, so that a customer alone and the same customer among others get the same slate however the
    matrix product was split.

    Args:
        parts: float64 (n, n_items) for each source, NaN where it does not propose the item; at least one.
        weights: float64 (n,) for each source, at least 0.
    """
    shares = tuple(weight[:, None] * normalise(part) for part, weight in zip(parts, weights, strict=True))
    proposed = np.zeros(parts[0].shape, np.bool_)
    for part, weight in zip(parts, weights, strict=True):
        proposed |= ~np.isnan(part) & (weight[:, None] > 0)
    return Blended(total(shares), shares, proposed)


def total(shares: Sequence[Floats]) -> Floats:
    """The sum of at least one share, rounded as `blend` says."""
    return np.round(sum(shares[1:], shares[0]), _DECIMALS)


def top_k(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """int64 (n, k): places of the k largest scores of each row, best first, ties by place; -1 behind the last.

    >>> top_k(np.array([[1.0, 3.0, np.nan, 3.0], [np.nan, np.nan, 2.0, np.nan]]), 3).tolist()
    [[1, 3, 0], [2, -1, -1]]
    """
    n_rows, n_items = scores.shape
    best = np.full((n_rows, k), -1, np.int64)
    negated = np.where(np.isnan(scores), np.inf, -scores)
    limits = np.partition(negated, k - 1, axis=1)[:, k - 1] if 0 < k < n_items else np.full(n_rows, np.inf)
    for row in range(n_rows):
        places = np.flatnonzero((negated[row] <= limits[row]) & (negated[row] < np.inf))
        ordered = places[np.argsort(negated[row, places], kind="stable")][:k]
        best[row, : len(ordered)] = ordered
    return best
