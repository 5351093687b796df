"""The recommender as it is when a decision is made: frozen candidate sources, one blend or ranker.

It ranks; a slate is made of that by `serving.storefront`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import ArtefactError, ConfigurationError
from features.interactions import ItemIndex
from features.settings import read_settings
from serving.catalogue import Catalogue
from serving.exploration import ItemBeliefs
from serving.ranker import Ranker
from serving.ranking import Asked, Candidates, Ranked, blend, gather, given_places, judge, rank
from serving.ranking_features import ItemFacts
from serving.recommender_files import SETTINGS_FILE, pack, unpack
from serving.recommender_settings import RecommenderSettings
from serving.sources.buy_again import BuyAgainSource
from serving.sources.histories import Histories
from serving.sources.source import Bools, CandidateSource, Excluded, Ints

__all__ = ["Recommender", "RecommenderSettings"]

Floats = npt.NDArray[np.float64]

_CUSTOMERS_AT_ONCE = 256
_POPULARITY = "popularity"
_FILLING = 1e-6
"""Weight of what is popular where too little else is proposed: behind everything that anything else speaks for."""


@dataclass(frozen=True, eq=False)
class Recommender:
    """A fitted recommender; there is no other state. Safe to share between threads.

    Attributes:
        catalogue: the items and their attributes, as known when it was fitted.
        sources: the candidate sources, of distinct names, all of this catalogue.
        settings: as fitted.
        ranker, new_ranker: order what sources propose, the latter where nothing owned is shown; None: the blend does.
        beliefs: of each item's rate of response, for slots that explore; None: nothing was learnt of it.
    """

    catalogue: Catalogue
    sources: tuple[CandidateSource, ...]
    settings: RecommenderSettings
    ranker: Ranker | None = None
    beliefs: ItemBeliefs | None = None
    new_ranker: Ranker | None = None

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items in the order of the catalogue."""
        return self.catalogue.item_ids

    @property
    def index(self) -> ItemIndex:
        """Positions of the item ids."""
        return self.catalogue.index

    @cached_property
    def by_name(self) -> Mapping[str, CandidateSource]:
        """The sources by their names."""
        return {source.name: source for source in self.sources}

    @property
    def _buy_again(self) -> BuyAgainSource | None:
        return next((source for source in self.sources if isinstance(source, BuyAgainSource)), None)

    def with_blend(self, weights: Mapping[str, float]) -> Recommender:
        """The same sources with other blend weights and no ranker: how one source, or the blend, is judged alone."""
        settings = dataclasses.replace(self.settings, blend=dict(weights), new={})
        return dataclasses.replace(self, settings=settings, ranker=None, new_ranker=None)

    @cached_property
    def _facts(self) -> ItemFacts:
        return ItemFacts.of(self.catalogue, self.sources)

    def mask(self, item_ids: Collection[str]) -> Bools:
        """Which items of the catalogue (bool (n_items,)) are among some ids."""
        chosen = np.zeros(len(self.item_ids), np.bool_)
        places = self.index.positions_of(list(item_ids))
        chosen[places[places >= 0]] = True
        return chosen

    def rank(self, view: CustomerView, as_of_us: int, k: int, *, exclude_owned: bool = False) -> Ints:
        """int64 (n_customers, k): the best k of each as catalogue positions, -1 behind the last. For judging many.

        Args:
            view: of any customers; events at or after `as_of` do nothing.
            as_of_us: exclusive cut-off, microseconds.
            k: at least 1.
            exclude_owned: leave out what each has bought.
        """
        histories, everything = self.histories(view, as_of_us), np.ones(len(self.item_ids), np.bool_)
        places = [np.empty((0, k), np.int64)]
        for start in range(0, view.n_customers, _CUSTOMERS_AT_ONCE):
            part = histories.part(start, min(start + _CUSTOMERS_AT_ONCE, view.n_customers))
            owned = Excluded(part.bought_offsets, part.bought.items) if exclude_owned else None
            ranked, _ = self.ranked(part, everything, k, excluded=owned, news=exclude_owned, fill=True)
            places.append(ranked.places)
        return np.concatenate(places)

    def to_files(self) -> dict[str, bytes]:
        """Its files, without code in them; the same recommender gives the same bytes."""
        own = pack(dataclasses.asdict(self.settings), self.sources, self.ranker, self.beliefs, self.new_ranker)
        return {**self.catalogue.to_files(), **own}

    @classmethod
    def from_files(cls, files: Mapping[str, Any]) -> Recommender:
        """The recommender of `to_files`; a file is bytes or a memory map.

        Raises:
            ArtefactError: a file is missing, unreadable or does not fit; see `recommender_files.unpack`.
        """
        catalogue = Catalogue.from_files(files)
        read = unpack(files, len(catalogue))
        try:
            settings = read_settings(RecommenderSettings, read.settings)
        except ConfigurationError as error:
            raise ArtefactError(f"{SETTINGS_FILE}: {error}") from None
        return cls(catalogue, read.sources, settings, read.ranker, read.beliefs, read.new_ranker)

    def histories(self, view: CustomerView | None, as_of_us: int) -> Histories:
        """What the sources read of the customers of a view; of one nobody knows where there is none."""
        if view is None or not view.n_customers:
            return Histories.nobody(as_of_us)
        return Histories.read(view, as_of_us, self.index, self.settings.interactions)

    def _asked(self, cold: Bools, named: Mapping[str, float]) -> Asked:
        """The sources with weight; for cold customers popularity too, with the weight 1 where it has none."""
        sources, weights = [], []
        for source in self.sources if self.item_ids else ():
            weight = named.get(source.name, 0.0)
            if weight > 0:
                sources.append(source)
                weights.append(np.full(len(cold), weight))
            elif source.name == _POPULARITY and cold.any():
                sources.append(source)
                weights.append(np.where(cold, 1.0, 0.0))
        return Asked(tuple(sources), tuple(weights))

    def _filled(self, asked: Asked, short: Bools) -> Asked:
        """The same, and behind all else what is popular, for customers (bool (n,)) of whom the sources know too little.

        A visitor who looked at one thing would be shown little more than that where no source with weight goes on.
        """
        weights = {source.name: weight for source, weight in zip(asked.sources, asked.weights, strict=True)}
        known = weights.get(_POPULARITY, np.zeros(len(short)))
        behind = short & (known == 0)  # where it has a weight it has proposed what it can
        if _POPULARITY not in self.by_name or not behind.any():
            return asked
        weights[_POPULARITY] = np.where(behind, _FILLING, known)
        return Asked(tuple(self.by_name[name] for name in weights), tuple(weights.values()))

    def ranked(
        self,
        histories: Histories,
        eligible: Bools,
        k: int | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        excluded: Excluded | None = None,
        pool: Bools | None = None,
        liked: bool = False,
        news: bool = False,
        session: bool = False,
        candidates: int = 0,
        limits: Mapping[str, int] | None = None,
        fill: bool = False,
    ) -> tuple[Ranked, Asked]:
        """The best k candidates of each customer (None: all that the sources propose), and the sources asked.

        Args:
            histories: of n customers.
            eligible: bool (n_items,), what may be shown.
            k: at least 1.
            weights: of the sources by name, in place of those fitted.
            excluded: what each customer is not to be shown.
            pool: bool (n_items,), rank those of these that are eligible, whether or not a source proposes them.
            liked: only items with a score above 0, by the blend.
            news: what they own is excluded: by the weights for new items, and in the order of that blend.
            session: the customers are here now: by the weights for what comes next, and in the order of that blend.
            candidates: each source proposes at least so many.
            limits: how many a source proposes, by name, in place of what is fitted.
            fill: what is popular stands behind all else where the sources propose less than is wanted.
        """
        asked = self._asked(histories.cold, weights or self.settings.weights(news=news, session=session))
        if pool is None:
            allowed, least = None if eligible.all() else eligible, max(candidates, k or 0)

            def gathered(by: Asked) -> Candidates:
                wanted = [max(least, (limits or {}).get(one.name, self.settings.candidates)) for one in by.sources]
                return gather(by.sources, histories, wanted, allowed, excluded, by.weights)

            found = gathered(asked)
            short = np.count_nonzero(found.places >= 0, axis=1) < min(least, np.count_nonzero(eligible))
            filled = self._filled(asked, short) if fill else asked
            if filled is not asked:
                asked, found = filled, gathered(filled)
        else:
            places = given_places(np.flatnonzero(eligible), histories.n_customers, excluded)
            found = judge(asked.sources, histories, places)
        width = max(found.places.shape[1], 1) if k is None else k
        ranker = self.new_ranker if news and self.settings.new else self.ranker
        ranker = None if liked or (session and self.settings.session) else ranker
        blended = blend(found, asked.weights) if asked.sources else None
        learned = None
        if ranker is not None:
            learned = ranker.order(found, asked, histories, self._facts, blended=blended, fitted=self.sources)
        liking = liked and pool is None
        found_best = rank(found, asked, width, keep=pool is not None, liked=liking, scores=learned, blended=blended)
        return found_best, asked

    def due(self, histories: Histories, places: Ints) -> Floats:
        """(n, k): how due each place is, 0 for what the customer never bought."""
        source = self._buy_again
        if source is None or not len(histories.bought.items):
            return np.zeros(places.shape)
        return np.nan_to_num(source.of_bought(histories, source.due(histories), places))
