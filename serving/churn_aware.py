"""Ranked candidates put in the order of an objective: the step between the ranking and the rules of the shop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.catalogue import Catalogue
from serving.facets import facets_of
from serving.objective import Facets, price_ranks, weighed
from serving.ranking import Ranked, top_k
from serving.recommender import Recommender
from serving.sources.histories import Histories

__all__ = ["MARGIN_SHARE", "aimed", "margins", "reordered"]

Floats = npt.NDArray[np.float64]

MARGIN_SHARE = "margin_share"
"""The item attribute that tells what the shop earns of the price, in [0, 1]."""


def aimed(
    recommender: Recommender, histories: Histories, ranked: Ranked, weights: Floats, *, margin: Floats | None = None
) -> Ranked:
    """The same candidates, by relevance and what an objective adds to it.

    Args:
        recommender: whose catalogue and sources tell the facets.
        histories: of n customers.
        ranked: their candidates, more of them than will be shown.
        weights: float64 (n, 3), of `Objective.of_many`.
        margin: of the catalogue, from `margins`, where it is kept; None works it out.
    """
    if not weights.any() or not ranked.places.shape[1]:
        return ranked
    catalogue = recommender.catalogue
    facets = facets_of(
        recommender.by_name,
        histories,
        ranked.places,
        margin=margins(catalogue) if margin is None else margin,
        weights=weights,
    )
    return reordered(ranked, facets, weights)


def reordered(ranked: Ranked, facets: Facets, weights: Floats) -> Ranked:
    """The candidates by relevance and what they gain, ties in the order they were in.

    Relevance is the score over the customer's best; where the least is below 0 all are raised, so that it becomes 0.
    """
    there = ranked.places >= 0
    least = np.minimum(np.min(ranked.scores, axis=1, initial=0.0, where=there), 0.0)[:, None]
    raised = np.where(there, ranked.scores - least, np.nan)
    best = np.max(raised, axis=1, initial=0.0, where=there)[:, None]
    scores = weighed(raised / np.where(best > 0, best, 1.0), facets, weights)
    order = top_k(scores, scores.shape[1])
    at = np.maximum(order, 0)
    return Ranked(
        np.where(order >= 0, np.take_along_axis(ranked.places, at, axis=1), -1),
        np.where(order >= 0, np.take_along_axis(scores, at, axis=1), 0.0),
        np.take_along_axis(ranked.source, at, axis=1),
    )


def margins(catalogue: Catalogue) -> Floats:
    """float64 (n_items,) in [0, 1], NaN where not known: the attribute `margin_share`, else the rank of the price.

    Shares are measured against the best, so that it has 1.
    """
    told = catalogue.numbers.get(MARGIN_SHARE)
    if told is None:
        return price_ranks(catalogue.numbers["price_minor"])
    known = np.clip(told, 0.0, None)
    best = np.nanmax(known) if np.isfinite(known).any() else 0.0
    return known / best if best > 0 else known
