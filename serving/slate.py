"""A slate: the list shown, and what is said with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Slate", "SlateItem"]


@dataclass(frozen=True)
class SlateItem:
    """One place of a slate.

    Attributes:
        item_id: outside id.
        score: larger is better; comparable within one slate only.
        position: 1 is the first.
        source: the candidate source that contributed most.
        reason: a short sentence for people.
        shown_as: "ranked", or "pinned" or "sponsored" by the rules of the shop.
    """

    item_id: str
    score: float
    position: int
    source: str
    reason: str
    shown_as: str = "ranked"


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
        propensities: for each item the chance in (0, 1] with which it was put at its position; None where nothing was
            drawn, so that each is certain.
        filtered: reason -> how many of those.
        more: whether a next page would hold an item.
        objective: what the order is for, weights by name.
    """

    items: tuple[SlateItem, ...]
    strategy: str
    fallback: bool
    filtered_count: int
    unknown_count: int = 0
    propensities: tuple[float, ...] | None = None
    filtered: Mapping[str, int] = field(default_factory=dict)
    more: bool = False
    objective: Mapping[str, float] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether every score is a number; those of a sound release are."""
        return all(math.isfinite(item.score) for item in self.items)
