"""The settings of behavioural segments."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import ConfigurationError

__all__ = ["SegmentSettings"]


@dataclass(frozen=True)
class SegmentSettings:
    """How behavioural segments are found.

    counts: numbers of segments to try. min_stability: the least mean adjusted Rand index of a number that is chosen
    by its silhouette; where none reaches it, the most stable one is taken. min_share: of the customers, in the
    smallest segment. min_customers: with fewer nobody is told apart. bootstraps: samples of
    at most 4,000 customers that the stability rests on.
    """

    counts: tuple[int, ...] = (3, 4, 5, 6, 7)
    min_stability: float = 0.8
    min_share: float = 0.03
    min_customers: int = 200
    bootstraps: int = 20
    seed: int = 20_260_101

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 2 or max(self.counts) > 20:
            raise ConfigurationError(f"setting churn.segments.counts is {self.counts}; write numbers from 2 to 20")
        if self.bootstraps < 2 or self.min_customers < 10 * max(self.counts):
            raise ConfigurationError(
                "settings churn.segments need at least 2 bootstraps, and min_customers of 10 a segment or more"
            )
