"""Popularity: decayed distinct customers, over the whole catalogue and within each category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.instants import DAY_US
from serving.sources.histories import Histories, Purchases
from serving.sources.popularity import CategoryPopularitySource, PopularitySource
from training.sources.settings import check_positive

__all__ = ["PopularitySettings", "fit_category_popularity", "fit_popularity", "popularity"]


@dataclass(frozen=True)
class PopularitySettings:
    """How purchases become popularity.

    Attributes:
        half_life_days: age at which a customer's purchase counts half.
        cap: most that one customer adds over all items.

    Raises:
        ConfigurationError: a number is not above 0.
    """

    half_life_days: float = 30.0
    cap: float = 20.0

    def __post_init__(self) -> None:
        check_positive(self, "recommender.popularity")


def popularity(bought: Purchases, as_of_us: int, n_items: int, settings: PopularitySettings) -> npt.NDArray[np.float64]:
    """float64 (n_items,): decayed number of distinct customers who bought each item.

    A customer counts `2 ** -(age of the last purchase / half-life)` for an item, however often it was bought, and at
    most `cap` over all items, so that one key with 10,000 events moves nothing.
    """
    share = np.exp2(-(as_of_us - bought.last_us) / DAY_US / settings.half_life_days)
    totals = np.bincount(bought.customers, share)
    allowance = np.minimum(1.0, settings.cap / np.maximum(totals, settings.cap)) if len(totals) else totals
    return np.bincount(bought.items, share * allowance[bought.customers], minlength=n_items).astype(np.float64)


def fit_popularity(histories: Histories, n_items: int, settings: PopularitySettings) -> PopularitySource:
    """Popularity over the whole catalogue."""
    found = popularity(histories.bought, histories.as_of_us, n_items, settings)
    return PopularitySource(found.astype(np.float32))


def fit_category_popularity(
    histories: Histories, category: npt.NDArray[np.int32], settings: PopularitySettings
) -> CategoryPopularitySource:
    """Popularity within each category: `category` int32 (n_items,), -1 where an item has none."""
    found = popularity(histories.bought, histories.as_of_us, len(category), settings)
    best = np.zeros(int(category.max(initial=-1)) + 2)
    np.maximum.at(best, category, found)  # the items without a category share the last place
    share = np.divide(found, best[category], out=np.zeros_like(found), where=best[category] > 0)
    return CategoryPopularitySource(np.where(category >= 0, share, 0.0).astype(np.float32), category.astype(np.int32))
