"""Every candidate source that a recommender may be made of, each fitted on the same histories by its own settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from features.errors import ConfigurationError
from serving.catalogue import Catalogue
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource
from training.sources.als import AlsSettings, fit_als
from training.sources.buy_again import BuyAgainSettings, fit_buy_again
from training.sources.content import ContentSettings, fit_content
from training.sources.ease import EaseSettings, fit_ease
from training.sources.graph import GraphSettings, fit_graph
from training.sources.next_basket import NextBasketSettings, fit_next_basket
from training.sources.popularity import PopularitySettings, fit_category_popularity, fit_popularity
from training.sources.recent import RecentSettings, fit_recent
from training.sources.rp3beta import Rp3BetaSettings, fit_rp3beta
from training.sources.session_knn import SessionKnnSettings, fit_session_knn
from training.sources.terms import tokens_of
from training.sources.transitions import TransitionSettings, fit_transitions

__all__ = ["SOURCES", "SourceSettings", "fit_sources"]


@dataclass(frozen=True)
class SourceSettings:
    """Which sources are fitted, and how each is.

    Attributes:
        use: names out of SOURCES. Without popularity, visitors of whom nothing is known get nothing.
        als, ease, ...: of each source.

    Raises:
        ConfigurationError: a name is unknown or stands twice, or there is none.
    """

    use: tuple[str, ...] = (
        "als",
        "popularity",
        "buy_again",
        "category_popularity",
        "content",
        "ease",
        "next_basket",
        "recent",
        "session_knn",
        "transitions",
    )
    als: AlsSettings = field(default_factory=AlsSettings)
    buy_again: BuyAgainSettings = field(default_factory=BuyAgainSettings)
    content: ContentSettings = field(default_factory=ContentSettings)
    ease: EaseSettings = field(default_factory=EaseSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
    next_basket: NextBasketSettings = field(default_factory=NextBasketSettings)
    popularity: PopularitySettings = field(default_factory=PopularitySettings)
    recent: RecentSettings = field(default_factory=RecentSettings)
    rp3beta: Rp3BetaSettings = field(default_factory=Rp3BetaSettings)
    session_knn: SessionKnnSettings = field(default_factory=SessionKnnSettings)
    transitions: TransitionSettings = field(default_factory=TransitionSettings)

    def __post_init__(self) -> None:
        unknown = [name for name in self.use if name not in SOURCES]
        if unknown or not self.use or len(set(self.use)) < len(self.use):
            known = ", ".join(sorted(SOURCES))
            raise ConfigurationError(
                f"recommender.sources.use is {', '.join(self.use) or 'empty'}; write names out of {known}, each once"
            )


@dataclass(frozen=True, eq=False)
class _Given:
    histories: Histories
    catalogue: Catalogue
    settings: SourceSettings
    tokens: Sequence[Sequence[str]]


def _category_popularity(given: _Given) -> CandidateSource:
    codes = given.catalogue.texts["category"].codes
    return fit_category_popularity(given.histories, codes, given.settings.popularity)


SOURCES: Mapping[str, Callable[[_Given], CandidateSource]] = {
    "als": lambda given: fit_als(given.histories, len(given.catalogue), given.settings.als),
    "popularity": lambda given: fit_popularity(given.histories, len(given.catalogue), given.settings.popularity),
    "buy_again": lambda given: fit_buy_again(given.histories, len(given.catalogue), given.settings.buy_again),
    "category_popularity": _category_popularity,
    "content": lambda given: fit_content(len(given.catalogue), given.tokens, given.settings.content),
    "ease": lambda given: fit_ease(given.histories, len(given.catalogue), given.settings.ease),
    "graph": lambda given: fit_graph(given.histories, len(given.catalogue), given.settings.graph),
    "next_basket": lambda given: fit_next_basket(given.histories, len(given.catalogue), given.settings.next_basket),
    "recent": lambda given: fit_recent(len(given.catalogue), given.settings.recent),
    "rp3beta": lambda given: fit_rp3beta(given.histories, len(given.catalogue), given.settings.rp3beta),
    "session_knn": lambda given: fit_session_knn(given.histories, len(given.catalogue), given.settings.session_knn),
    "transitions": lambda given: fit_transitions(
        given.histories, len(given.catalogue), given.settings.transitions, given.tokens
    ),
}
"""The word for a source -> how it is fitted."""


def fit_sources(histories: Histories, catalogue: Catalogue, settings: SourceSettings) -> tuple[CandidateSource, ...]:
    """The sources in the order of `settings.use`, all of the same catalogue and histories."""
    given = _Given(histories, catalogue, settings, tokens_of(catalogue))
    return tuple(SOURCES[name](given) for name in settings.use)
