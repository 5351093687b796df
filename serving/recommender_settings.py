"""What a recommender needs to know besides its arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from features.errors import ConfigurationError
from features.interactions import InteractionSettings
from serving.ranking import BlendWeights

__all__ = ["RecommenderSettings"]


@dataclass(frozen=True)
class RecommenderSettings:
    """Settings as fitted; kept with the arrays.

    Attributes:
        interactions: how a history becomes weights; the same in training and serving.
        blend: weights of the sources.
        alpha: confidence of an interaction of weight w is `1 + alpha * |w|`.
        regularization: lambda of the factorisation.
        prior_days: strength of an item's repeat rate against the customer's own, in days of watching.
        horizon_days: buy-again scores are probabilities of a purchase within it.

    Raises:
        ConfigurationError: a number is not above 0.
    """

    interactions: InteractionSettings = field(default_factory=InteractionSettings)
    blend: BlendWeights = field(default_factory=BlendWeights)
    alpha: float = 20.0
    regularization: float = 100.0
    prior_days: float = 60.0
    horizon_days: float = 30.0

    def __post_init__(self) -> None:
        for name in ("alpha", "regularization", "prior_days", "horizon_days"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"recommender.{name} is {getattr(self, name)}; write a number above 0")
