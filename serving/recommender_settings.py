"""What a recommender needs to know besides its sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from features.errors import ConfigurationError
from features.interactions import InteractionSettings
from serving.ranking import check_weights

__all__ = ["SESSION_MINUTES", "USUAL_BLEND", "RecommenderSettings"]

SESSION_MINUTES = 30
"""Whose last step is not longer ago is here now."""

USUAL_BLEND: Mapping[str, float] = {"als": 0.6, "popularity": 0.1, "buy_again": 0.3}
"""The weights where nothing better is known."""


@dataclass(frozen=True)
class RecommenderSettings:
    """Settings as fitted; kept with the arrays.

    Attributes:
        interactions: how a history becomes weights; the same in training and serving.
        blend: weights of the sources by name; a source without one is not asked.
        new: the weights where customers are not shown what they own; empty: those of `blend` and its ranker.
        session: the weights while the customer is here, chosen for what they turn to next; empty: as if they were not.
        similar: the weights where items like given ones are asked for.
        candidates: each source proposes so many.
        learnt_until_us: exclusive end of what it was fitted on, microseconds; 0 where nobody says.

    Raises:
        ConfigurationError: a weight is negative, none is above 0, or `candidates` is below 1.
    """

    interactions: InteractionSettings = field(default_factory=InteractionSettings)
    blend: Mapping[str, float] = field(default_factory=lambda: dict(USUAL_BLEND))
    new: Mapping[str, float] = field(default_factory=dict)
    session: Mapping[str, float] = field(default_factory=dict)
    similar: Mapping[str, float] = field(default_factory=lambda: {"als": 1.0})
    candidates: int = 60
    learnt_until_us: int = 0

    def __post_init__(self) -> None:
        check_weights(self.blend, "recommender.blend")
        if self.new:
            check_weights(self.new, "recommender.new")
        if self.session:
            check_weights(self.session, "recommender.session")
        check_weights(self.similar, "recommender.similar")
        if self.candidates < 1:
            raise ConfigurationError(f"recommender.candidates is {self.candidates}; write a number above 0")

    def weights(self, *, similar: bool = False, news: bool = False, session: bool = False) -> Mapping[str, float]:
        """Of the sources by name: for items like given ones, while the customer is here, for new items, or for any."""
        if similar:
            return self.similar
        if session and self.session:
            return self.session
        return self.new if news and self.new else self.blend
