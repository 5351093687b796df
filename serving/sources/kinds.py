"""Every kind of candidate source that a release may hold."""

from __future__ import annotations

from collections.abc import Mapping

from serving.sources.buy_again import BuyAgainSource
from serving.sources.content import ContentSource
from serving.sources.factors import FactorSource
from serving.sources.graph import GraphFilterSource
from serving.sources.neighbours import NeighbourSource
from serving.sources.next_basket import NextBasketSource
from serving.sources.popularity import CategoryPopularitySource, PopularitySource
from serving.sources.recent import RecentSource
from serving.sources.session_knn import SessionKnnSource
from serving.sources.source import CandidateSource
from serving.sources.transitions import TransitionSource

__all__ = ["SOURCE_KINDS"]

_CLASSES: tuple[type[CandidateSource], ...] = (
    BuyAgainSource,
    CategoryPopularitySource,
    ContentSource,
    FactorSource,
    GraphFilterSource,
    NeighbourSource,
    NextBasketSource,
    PopularitySource,
    RecentSource,
    SessionKnnSource,
    TransitionSource,
)

SOURCE_KINDS: Mapping[str, type[CandidateSource]] = {source.kind: source for source in _CLASSES}
"""The word in files -> the class that reads it."""
