"""What is still on the customer's mind: looked at or put aside lately, and not bought since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from features.instants import DAY_US
from serving.sources.histories import PURCHASE, Histories
from serving.sources.parts import positive_numbers
from serving.sources.source import Arrays, Ints
from serving.sources.sparse_rows import Reached, ReachingSource

__all__ = ["RecentSource"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecentSource(ReachingSource):
    """The customer's own items, the latest first: `2 ** -(age / half-life) / (1 + items met since)`.

    Age and order are those of the last step with the item. Where that was a purchase, the item is off the mind and
    counts `bought_share` of it; when it is due again is for others to say.

    Attributes:
        n_items: length of the catalogue.
        half_life_days: age at which an item counts half.
        bought_share: in (0, 1].
        name: the word for the source.
    """

    kind: ClassVar[str] = "recent"

    n_items: int
    half_life_days: float
    bought_share: float
    name: str = "recent"

    def of(self, histories: Histories, row: int) -> tuple[Ints, Floats]:
        """The items of one customer, int64 (h,), ascending and distinct, and their scores float64 (h,) in (0, 1].

        >>> source = RecentSource(3, half_life_days=1.0, bought_share=0.5)
        >>> items, scores = source.of(Histories.of_lists([[2, 0, 2]], 3), 0)  # bought 3, 2 and 1 days ago
        >>> items.tolist(), scores.tolist()
        ([0, 2], [0.0625, 0.25])
        """
        steps = histories.steps
        cells = slice(steps.offsets[row], steps.offsets[row + 1])
        back = steps.items[cells][::-1]
        items, first = np.unique(back, return_index=True)  # of what comes last, in the order of items
        times, kinds = steps.times_us[cells][::-1][first], steps.kinds[cells][::-1][first]
        since = len(times) - np.searchsorted(np.sort(times), times, side="right")
        age_days = (histories.as_of_us - times) / DAY_US
        share = np.where(kinds == PURCHASE, self.bought_share, 1.0)
        return items, np.asarray(share * np.exp2(-age_days / self.half_life_days) / (1.0 + since), np.float64)

    def reached(self, histories: Histories) -> Reached:
        """The customer's own items."""
        return Reached.of_rows(self.n_items, [self.of(histories, row) for row in range(histories.n_customers)])

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        settings = {"n_items": self.n_items, "half_life_days": self.half_life_days, "bought_share": self.bought_share}
        return settings, {}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        given = dict(settings)
        n_items = given.pop("n_items", None)
        if not isinstance(n_items, int) or isinstance(n_items, bool) or n_items < 0 or arrays:
            raise ArtefactError("n_items must be a whole number, and there are no arrays; fit and release anew")
        half_life_days, bought_share = positive_numbers(given, "half_life_days", "bought_share")
        return cls(n_items, half_life_days, bought_share)
