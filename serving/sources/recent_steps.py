"""What a customer did last, as weights: an occasion further back counts less, and so does an older one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError, ConfigurationError
from features.instants import DAY_US
from serving.sources.histories import Histories
from serving.sources.source import Ints

__all__ = ["MOST_ITEMS", "RecentSteps"]

MOST_ITEMS = 500
"""Of a basket of thousands so many items are read, those of the largest weight: an answer has its time."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RecentSteps:
    """How steps are weighed. Steps of one instant are one occasion: a basket counts as one step back.

    The weight of an item is the sum over its occasions of `step_decay ** occasions_back * 2 ** -(age / half-life)`,
    at most 1: who looks at one item twenty times is not drawn to it twenty times as much.

    Attributes:
        step_decay: in (0, 1]; what an occasion counts against the one after it.
        half_life_days: above 0, the age at which a step counts half; 0: age does not matter.
        last: so many occasions are read, the last ones.

    Raises:
        ConfigurationError: a number is out of range.
    """

    step_decay: float = 0.8
    half_life_days: float = 30.0
    last: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.step_decay <= 1:
            raise ConfigurationError(f"recent steps: step_decay is {self.step_decay}; write a number in (0, 1]")
        if not (math.isfinite(self.half_life_days) and self.half_life_days >= 0):
            raise ConfigurationError(
                f"recent steps: half_life_days is {self.half_life_days}; write days, or 0 where age does not matter"
            )
        if self.last < 1:
            raise ConfigurationError(f"recent steps: last is {self.last}; write at least 1")

    def of(self, histories: Histories, row: int) -> tuple[Ints, Floats]:
        """The items of one customer's last occasions, int64 (h,), ascending and distinct, and weights float64 (h,).

        >>> steps = RecentSteps(step_decay=0.5, half_life_days=0)
        >>> items, weights = steps.of(Histories.of_lists([[2, 0, 1]], 3), 0)
        >>> items.tolist(), weights.tolist()
        ([0, 1, 2], [0.5, 1.0, 0.25])
        """
        cells = slice(histories.steps.offsets[row], histories.steps.offsets[row + 1])
        items, times = histories.steps.items[cells], histories.steps.times_us[cells]
        if not len(items):
            return np.empty(0, np.int64), np.empty(0)
        later = np.concatenate((np.cumsum((np.diff(times) > 0)[::-1])[::-1], [0]))
        kept = later < self.last
        items, times, later = items[kept], times[kept], later[kept]
        weights = self.step_decay ** later.astype(np.float64)
        if self.half_life_days:
            weights *= np.exp2(-(histories.as_of_us - times) / DAY_US / self.half_life_days)
        distinct, which = np.unique(items, return_inverse=True)
        found = np.minimum(np.bincount(which, weights, minlength=len(distinct)), 1.0)
        if len(found) > MOST_ITEMS:
            most = np.sort(np.argsort(-found, kind="stable")[:MOST_ITEMS])
            distinct, found = distinct[most], found[most]
        return distinct, found

    def to_settings(self) -> dict[str, Any]:
        """By the names of the attributes."""
        return {"step_decay": self.step_decay, "half_life_days": self.half_life_days, "last": self.last}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> RecentSteps:
        """The settings of `to_settings`.

        Raises:
            ArtefactError: one is missing, is not a number or is out of range.
        """
        wanted = ("step_decay", "half_life_days", "last")
        numbers = [settings.get(name) for name in wanted]
        told = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
        if set(settings) != set(wanted) or not told or not isinstance(settings["last"], int):
            raise ArtefactError(f"the steps must be weighed by {', '.join(wanted)}; fit and release anew")
        try:
            return cls(float(settings["step_decay"]), float(settings["half_life_days"]), settings["last"])
        except ConfigurationError as error:
            raise ArtefactError(f"{error}; fit and release anew") from None
