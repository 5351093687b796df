"""What a slate is for: relevance always; margin and discovery for who stays, winning back for who may leave.

Items are ranked by

    relevance + margin * m + discovery * n + retention * b,    b = due of what they bought, taste of what they did not

with a relevance of 1 for the customer's best item. Only what is relevant at all (above 0) gains: what nobody wants is
not shown for its margin. The three weights move with the probability that the customer leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError

__all__ = ["Facets", "Objective", "ObjectiveWeights", "price_ranks", "weighed"]

Floats = npt.NDArray[np.float64]
_DECIMALS = 9  # as scores are rounded, so that a customer alone and among others gets the same slate


@dataclass(frozen=True)
class ObjectiveWeights:
    """What an item is worth besides being wanted, each in [0, 1] beside a relevance of 1.

    Attributes:
        margin: what the shop earns with it.
        discovery: that the customer has met nothing like it.
        retention: that it brings a customer back.

    Raises:
        ConfigurationError: a weight is out of its range.
    """

    margin: float = 0.0
    discovery: float = 0.0
    retention: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not (math.isfinite(weight) and 0 <= weight <= 1):
                raise ConfigurationError(f"recipe: objective.{name} is {weight:g}; write a number from 0 to 1")

    def named(self) -> Mapping[str, float]:
        """All weights by name, relevance among them, for the answer."""
        return {"relevance": 1.0, **asdict(self)}


@dataclass(frozen=True, eq=False)
class Facets:
    """What is known of m items for each of n customers besides their relevance, float64 (n, m) each, in [0, 1].

    What is not known (NaN) counts nothing.

    Attributes:
        margin: what the shop earns with it, 1 for the best of the catalogue.
        novelty: 0 for what the customer has met; else how unlike the most popular item it is.
        due: how due again, 1 for the customer's likeliest repeat purchase, 0 for what they never bought.
        taste: how far it lies along the customer's taste, however few know it; 0 for what they bought before.
    """

    margin: Floats
    novelty: Floats
    due: Floats
    taste: Floats

    @property
    def winning_back(self) -> Floats:
        """float64 (n, m): due again, or to their taste and not yet theirs; an item is never both."""
        return np.maximum(_or_nothing(self.due), _or_nothing(self.taste))

    def gain(self, weights: Floats) -> Floats:
        """float64 (n, m), at least 0, for weights float64 (n, 3) in the order of ObjectiveWeights."""
        found = weights[:, :1] * _or_nothing(self.margin) + weights[:, 1:2] * _or_nothing(self.novelty)
        return np.asarray(found + weights[:, 2:] * self.winning_back, np.float64)


@dataclass(frozen=True)
class Objective:
    """How the weights move with the probability that the customer leaves.

    Attributes:
        staying: weights at `from_probability` and below, and where the probability is not known.
        leaving: weights at `to_probability` and above; between the two they lie on a straight line.
        from_probability, to_probability: in [0, 1], ascending.

    Raises:
        ConfigurationError: the probabilities do not ascend within [0, 1].
    """

    staying: ObjectiveWeights = field(default_factory=ObjectiveWeights)
    leaving: ObjectiveWeights = field(default_factory=ObjectiveWeights)
    from_probability: float = 0.3
    to_probability: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 <= self.from_probability < self.to_probability <= 1.0:
            raise ConfigurationError(
                f"recipe: objective.from_probability and to_probability are {self.from_probability:g} and "
                f"{self.to_probability:g}; write two numbers from 0 to 1, the smaller one first"
            )

    def weights(self, churn_probability: float | None) -> ObjectiveWeights:
        """The weights for one customer; None for somebody of whom no probability is known.

        >>> Objective(ObjectiveWeights(margin=0.4), ObjectiveWeights(retention=0.2)).weights(0.5)
        ObjectiveWeights(margin=0.2, discovery=0.0, retention=0.1)
        """
        return _weights(self, churn_probability)

    def of_many(self, churn_probability: Floats) -> Floats:
        """float64 (n, 3), in the order of ObjectiveWeights, for churn probabilities (n,); NaN: none is known."""
        span = self.to_probability - self.from_probability
        share = np.nan_to_num(np.clip((churn_probability - self.from_probability) / span, 0.0, 1.0))[:, None]
        mixed = (1.0 - share) * np.array(astuple(self.staying)) + share * np.array(astuple(self.leaving))
        return np.asarray(np.round(mixed, _DECIMALS), np.float64)


@lru_cache(maxsize=4_096)
def _weights(objective: Objective, churn_probability: float | None) -> ObjectiveWeights:
    known = math.nan if churn_probability is None else churn_probability
    margin, discovery, retention = objective.of_many(np.array([known]))[0].tolist()
    return ObjectiveWeights(margin, discovery, retention)


def weighed(relevance: Floats, facets: Facets, weights: Floats) -> Floats:
    """float64 (n, m): what candidates are ranked by; NaN where the relevance is.

    >>> facets = Facets(*(np.array([[0.0, 0.0, one, 0.0]]) for one in (1.0, 0.0, 0.0, 0.5)))
    >>> weighed(np.array([[1.0, 0.5, 0.9, 0.0]]), facets, np.array([[0.1, 0.0, 0.4]])).tolist()
    [[1.0, 0.5, 1.2, 0.0]]

    Args:
        relevance: float64 (n, m), 1 for the best of each customer.
        facets: of the same items.
        weights: float64 (n, 3), of `Objective.of_many`.
    """
    gained = np.where(relevance > 0, relevance + facets.gain(weights), relevance)
    return np.asarray(np.round(gained, _DECIMALS), np.float64)


def price_ranks(price_minor: Floats) -> Floats:
    """The share of prices (n,) that are below each, ties counted half; NaN where there is no price.

    Stands for the margin where a shop does not tell it: what is dearer earns more.

    >>> price_ranks(np.array([100.0, 300.0, np.nan, 300.0])).round(3).tolist()
    [0.167, 0.667, nan, 0.667]
    """
    known = np.sort(price_minor[~np.isnan(price_minor)])
    below, up_to = np.searchsorted(known, price_minor, "left"), np.searchsorted(known, price_minor, "right")
    return np.where(np.isnan(price_minor), np.nan, (below + up_to) / 2 / max(len(known), 1))


def _or_nothing(values: Floats) -> Floats:
    """The numbers; 0 where one is missing."""
    return np.where(np.isnan(values), 0.0, values)
