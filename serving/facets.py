"""The facets of candidates, from the sources and the catalogue that a recommender holds anyway."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from serving.objective import Facets
from serving.ranking import normalise
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource, Ints

__all__ = ["facets_of"]

Floats = npt.NDArray[np.float64]


def facets_of(
    sources: Mapping[str, CandidateSource],
    histories: Histories,
    places: Ints,
    *,
    margin: Floats,
    weights: Floats,
) -> Facets:
    """What is known of candidates besides their relevance.

    Args:
        sources: by name; novelty asks "popularity", due "buy_again" and taste the factorisation, where there is one.
        histories: of n customers.
        places: int64 (n, m), catalogue positions, -1 for none.
        margin: float64 (n_items,) in [0, 1], NaN where it is not known.
        weights: float64 (n, 3), of `Objective.of_many`; what counts for nobody is not worked out and is 0.
    """
    at = np.maximum(places, 0)
    nothing = np.zeros(places.shape)
    new, back = bool(weights[:, 1].any()), bool(weights[:, 2].any())
    return Facets(
        margin=margin[at],
        novelty=_novelty(sources.get("popularity"), histories, places, len(margin)) if new else nothing,
        due=np.clip(_normalised(sources.get("buy_again"), histories, places), 0.0, 1.0) if back else nothing,
        taste=_taste(sources, histories, places, len(margin)) if back else nothing,
    )


def _novelty(popularity: CandidateSource | None, histories: Histories, places: Ints, n_items: int) -> Floats:
    popular = _normalised(popularity, histories, places)
    met = _held(histories.steps.customers, histories.steps.items, places, n_items)
    return np.where(met, 0.0, 1.0 - np.clip(popular, 0.0, 1.0))


def _taste(sources: Mapping[str, CandidateSource], histories: Histories, places: Ints, n_items: int) -> Floats:
    """float64 (n, m): the share of the item's vector that lies along the customer's; 0 for what they bought."""
    factors = next((source for source in sources.values() if isinstance(source, FactorSource)), None)
    if factors is None:
        return np.zeros(places.shape)
    along = np.clip(np.nan_to_num(factors.cosines(histories, places)), 0.0, 1.0).astype(np.float64) ** 2
    return np.where(_held(histories.bought.customers, histories.bought.items, places, n_items), 0.0, along)


def _normalised(source: CandidateSource | None, histories: Histories, places: Ints) -> Floats:
    if source is None:
        return np.zeros(places.shape)
    best = source.propose(histories, 1).best
    found = source.scores(histories, np.concatenate([best[:, None], places], axis=1))
    return normalise(found[:, 1:], found[:, 0])


def _held(customers: Ints, items: Ints, places: Ints, n_items: int) -> npt.NDArray[np.bool_]:
    """Which places (n, m) are among the pairs of a customer and an item, bool (n, m)."""
    keys = np.arange(len(places))[:, None] * max(n_items, 1) + places
    return np.isin(keys, customers * max(n_items, 1) + items)
