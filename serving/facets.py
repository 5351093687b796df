"""The facets of candidates, from the sources and the catalogue that a recommender holds anyway."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from serving.objective import Facets
from serving.ranking import normalise
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource, Ints

__all__ = ["facets_of"]

Floats = npt.NDArray[np.float64]


def facets_of(
    sources: Mapping[str, CandidateSource],
    histories: Histories,
    places: Ints,
    *,
    category: npt.NDArray[np.int32],
    margin: Floats,
    weights: Floats,
) -> Facets:
    """What is known of candidates besides their relevance.

    Args:
        sources: by name; novelty asks "popularity" and due "buy_again", where there is one.
        histories: of n customers.
        places: int64 (n, m), catalogue positions, -1 for none.
        category: int32 (n_items,), -1 where an item has none.
        margin: float64 (n_items,) in [0, 1], NaN where it is not known.
        weights: float64 (n, 3), of `Objective.of_many`; what counts for nobody is not worked out and is 0.
    """
    at = np.maximum(places, 0)
    nothing = np.zeros(places.shape)
    new, back = bool(weights[:, 1].any()), bool(weights[:, 2].any())
    return Facets(
        margin=margin[at],
        novelty=_novelty(sources.get("popularity"), histories, places, len(category)) if new else nothing,
        due=np.clip(_normalised(sources.get("buy_again"), histories, places), 0.0, 1.0) if back else nothing,
        familiar=_familiar(histories, category, at) if back else nothing,
    )


def _novelty(popularity: CandidateSource | None, histories: Histories, places: Ints, n_items: int) -> Floats:
    popular = _normalised(popularity, histories, places)
    return np.where(_met(histories, places, n_items), 0.0, 1.0 - np.clip(popular, 0.0, 1.0))


def _normalised(source: CandidateSource | None, histories: Histories, places: Ints) -> Floats:
    if source is None:
        return np.zeros(places.shape)
    best = source.propose(histories, 1).best
    found = source.scores(histories, np.concatenate([best[:, None], places], axis=1))
    return normalise(found[:, 1:], found[:, 0])


def _met(histories: Histories, places: Ints, n_items: int) -> npt.NDArray[np.bool_]:
    """Which places the customer has ever turned to, bool (n, m)."""
    steps = histories.steps
    keys = np.arange(len(places))[:, None] * max(n_items, 1) + places
    return np.isin(keys, steps.customers * max(n_items, 1) + steps.items)


def _familiar(histories: Histories, category: npt.NDArray[np.int32], at: Ints) -> Floats:
    """float64 (n, m): weight of the place's category over that of the customer's weightiest; 0 without a category."""
    n, n_categories = histories.n_customers, int(category.max(initial=-1)) + 1
    if not n_categories:
        return np.zeros(at.shape)
    rows = np.repeat(np.arange(n), np.diff(histories.offsets))
    codes = category[histories.items]
    counted = (histories.weights > 0) & (codes >= 0)
    keys = rows[counted] * n_categories + codes[counted]
    turned = np.bincount(keys, histories.weights[counted], minlength=n * n_categories).reshape(n, n_categories)
    top = turned.max(axis=1, keepdims=True)
    share = turned / np.where(top > 0, top, 1.0)
    wanted = category[at]
    return np.where(wanted >= 0, np.take_along_axis(share, np.maximum(wanted, 0).astype(np.int64), axis=1), 0.0)
