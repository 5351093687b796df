"""What is still on a customer's mind: nothing to estimate, two settings."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import ConfigurationError
from serving.sources.recent import RecentSource
from training.sources.settings import check_positive

__all__ = ["RecentSettings", "fit_recent"]


@dataclass(frozen=True)
class RecentSettings:
    """How long an item stays on the mind.

    Attributes:
        half_life_days: age at which it counts half.
        bought_share: what it counts once it is bought.

    Raises:
        ConfigurationError: a number is not above 0, or bought_share is above 1.
    """

    half_life_days: float = 14.0
    bought_share: float = 0.05

    def __post_init__(self) -> None:
        check_positive(self, "recommender.recent")
        if self.bought_share > 1:
            raise ConfigurationError(f"recommender.recent.bought_share is {self.bought_share}; write at most 1")


def fit_recent(n_items: int, settings: RecentSettings) -> RecentSource:
    """The source of a catalogue of so many items."""
    return RecentSource(n_items, settings.half_life_days, settings.bought_share)
