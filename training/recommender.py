"""Fitting the recommender: every source on one history; blend weights and a ranker chosen before the cut-off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US
from features.interactions import InteractionSettings, interactions
from serving.catalogue import Catalogue
from serving.ranker import Ranker
from serving.ranking import check_weights
from serving.ranking_features import ItemFacts
from serving.recommender import Recommender, RecommenderSettings
from serving.recommender_settings import USUAL_BLEND
from serving.sources.histories import Histories
from serving.sources.source import Excluded
from training.blending import choose_weights
from training.exploration import BeliefSettings, fit_item_beliefs
from training.fitted_sources import SourceSettings, fit_sources
from training.next_item import Moments, choose_next_weights
from training.ranker import RankerSettings, fit_ranker
from training.recommender_metrics import Relevant, repeats
from training.recommender_report import RankerChoice
from training.sources.settings import check_positive

__all__ = ["FittedRecommender", "RecommenderFitSettings", "fit_recommender", "fit_with_choice"]

_ROUNDS, _BAGS = 10, 5
_FEWEST_MOMENTS = 200


@dataclass(frozen=True)
class RecommenderFitSettings:
    """How a recommender is fitted.

    Attributes:
        interactions: weights of the kinds of event and half-life.
        sources: which sources, and how each is fitted.
        ranker: whether and how candidates are ordered by a ranker trained on the same slice as the weights.
        beliefs: what counts as a response to an item that was shown, for slots that explore.
        blend: weights of the sources by name; None chooses them on the last `validation_days` before the cut-off.
        new: the weights where customers are not shown what they own; None chooses them where `blend` is chosen, and
            takes `blend` where that is given.
        session: the weights while a customer is here, chosen likewise for what they turn to next.
        candidates: each source proposes so many.
        validation_days: length of that slice.
        validation_moments: at most so many moments after a view judge the weights of a session.
        validation_customers: at most so many customers judge the weights.
        seed: of the customers drawn; same seed, same bits.

    Raises:
        ConfigurationError: a number is not above 0 (the seed may be 0), or weights do not make a blend.
    """

    interactions: InteractionSettings = field(default_factory=InteractionSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)
    ranker: RankerSettings = field(default_factory=RankerSettings)
    beliefs: BeliefSettings = field(default_factory=BeliefSettings)
    blend: Mapping[str, float] | None = None
    new: Mapping[str, float] | None = None
    session: Mapping[str, float] | None = None
    candidates: int = 60
    validation_days: int = 30
    validation_customers: int = 2_000
    validation_moments: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "recommender", zero=("seed",))
        if self.blend is not None:
            check_weights(self.blend, "recommender.blend")
        for name, weights in (("new", self.new), ("session", self.session)):
            if weights:
                check_weights(weights, f"recommender.{name}")


def fit_recommender(
    view: CustomerView,
    as_of_us: int,
    settings: RecommenderFitSettings,
    *,
    items: pa.Table | None = None,
    item_ids: Sequence[str] | None = None,
) -> Recommender:
    """The recommender of what was known at an instant, in `[-inf, as_of)`.

    Args:
        view: histories; later events change nothing.
        as_of_us: exclusive cut-off, microseconds.
        settings: how to fit.
        items: attributes of the items, in the columns of `schema.ITEMS` and whatever else the shop knows; None: nothing
            is known of them.
        item_ids: the catalogue; None: every item with an interaction, in id order.

    Raises:
        NotEnoughDataError: there is no interaction before the cut-off.
    """
    return fit_with_choice(view, as_of_us, settings, items=items, item_ids=item_ids).recommender


@dataclass(frozen=True, eq=False)
class FittedRecommender:
    """A recommender, and how it was chosen what orders its candidates; None where no ranker was asked for.

    new_choice: of lists that show nothing owned, where these have weights of their own.
    """

    recommender: Recommender
    choice: RankerChoice | None
    new_choice: RankerChoice | None = None


def fit_with_choice(
    view: CustomerView,
    as_of_us: int,
    settings: RecommenderFitSettings,
    *,
    items: pa.Table | None = None,
    item_ids: Sequence[str] | None = None,
) -> FittedRecommender:
    """As `fit_recommender`, with what it found on the slice before the cut-off."""
    given = _Given(view, settings, items, item_ids)
    ranked = settings.ranker.enabled and view.n_customers >= settings.ranker.min_customers
    slice_ = _slice(given, as_of_us) if ranked or settings.blend is None else None
    weights, new, session = settings.blend or USUAL_BLEND, settings.new or {}, settings.session or {}
    if slice_ is not None and settings.blend is None:
        weights, chosen = _choose_weights(slice_, settings)
        new = settings.new or chosen
        session = settings.session or _choose_next_weights(slice_, given, as_of_us)
    recommender = _fit(given, as_of_us, weights, new)
    recommender = replace(recommender, settings=replace(recommender.settings, session=dict(session)))
    beliefs = fit_item_beliefs(view, recommender.index, as_of_us, settings.beliefs)
    recommender = replace(recommender, beliefs=beliefs)
    if not settings.ranker.enabled:
        return FittedRecommender(recommender, None)
    if slice_ is None or not ranked:
        reason = f"fewer than {settings.ranker.min_customers} customers can be learnt from"
        return FittedRecommender(recommender, RankerChoice(used=False, reason=reason, n_customers=0))
    ranker, choice = _fit_ranker(slice_, weights, settings) if settings.ranker.all_items else (None, None)
    new_ranker, new_choice = None, None
    if new and settings.ranker.new_items:
        new_ranker, new_choice = _fit_ranker(slice_, new, settings, news=True)
    return FittedRecommender(replace(recommender, ranker=ranker, new_ranker=new_ranker), choice, new_choice)


@dataclass(frozen=True, eq=False)
class _Given:
    view: CustomerView
    settings: RecommenderFitSettings
    items: pa.Table | None
    item_ids: Sequence[str] | None

    def catalogue(self, as_of_us: int) -> Catalogue:
        """Of the items wanted, or of those with an interaction."""
        item_ids = self.item_ids
        if item_ids is None:
            item_ids = interactions(self.view, as_of_us, self.settings.interactions).item_ids.tolist()
        return Catalogue.nothing_said(item_ids) if self.items is None else Catalogue.read(self.items, item_ids)


def _fit(
    given: _Given, as_of_us: int, weights: Mapping[str, float], new: Mapping[str, float] | None = None
) -> Recommender:
    settings, catalogue = given.settings, given.catalogue(as_of_us)
    histories = Histories.read(given.view, as_of_us, catalogue.index, settings.interactions)
    if not len(histories.items):
        raise NotEnoughDataError("0 interactions before the cut-off, at least 1 is needed; choose a later cut-off")
    return Recommender(
        catalogue,
        fit_sources(histories, catalogue, settings.sources),
        RecommenderSettings(
            interactions=settings.interactions,
            blend=dict(weights),
            new=dict(new or {}),
            candidates=settings.candidates,
            learnt_until_us=as_of_us,
        ),
    )


@dataclass(frozen=True, eq=False)
class _Slice:
    """A recommender of what was before the last `validation_days`, and what customers bought in them.

    histories: of the customers with both an interaction before and a purchase in the slice. relevant: of the same.
    """

    trial: Recommender
    histories: Histories
    relevant: Relevant


def _slice(given: _Given, as_of_us: int) -> _Slice | None:
    """The slice `[as_of - validation_days, as_of)`; None where it has no customer to learn from."""
    view, settings = given.view, given.settings
    start_us = as_of_us - settings.validation_days * DAY_US
    try:
        trial = _fit(given, start_us, USUAL_BLEND)
    except NotEnoughDataError:
        return None
    relevant = Relevant.read(view, start_us, as_of_us, trial.index, recorded_before_us=as_of_us)
    histories = Histories.read(view, start_us, trial.index, settings.interactions)
    rows = np.flatnonzero((np.diff(histories.offsets) > 0) & (relevant.counts > 0))
    return _Slice(trial, histories.select(rows), relevant.select(rows)) if len(rows) else None


def _choose_weights(
    slice_: _Slice, settings: RecommenderFitSettings
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The weights with the best NDCG@10 on the slice: of any items, and of new ones where nothing owned is shown.

    The latter are empty where nobody turned to a new item.
    """
    histories, relevant = slice_.histories, slice_.relevant
    if histories.n_customers > settings.validation_customers:
        rng = np.random.default_rng(settings.seed)
        rows = np.sort(rng.choice(histories.n_customers, settings.validation_customers, replace=False))
        histories, relevant = histories.select(rows), relevant.select(rows)
    choose = partial(choose_weights, slice_.trial.sources, rounds=_ROUNDS, bags=_BAGS, seed=settings.seed)
    weights = choose(histories, relevant)
    news = relevant.only(~repeats(histories, relevant))
    rows = np.flatnonzero(news.counts > 0)
    if not len(rows):
        return weights, {}
    histories, news = histories.select(rows), news.select(rows)
    owned = Excluded(histories.bought_offsets, histories.bought.items)
    return weights, choose(histories, news, excluded=owned)


def _choose_next_weights(slice_: _Slice, given: _Given, as_of_us: int) -> Mapping[str, float]:
    """The weights with the best NDCG@10 of the next item, a moment after a view of the slice; empty where few are."""
    settings, trial = given.settings, slice_.trial
    rng = np.random.default_rng(settings.seed)
    start_us = as_of_us - settings.validation_days * DAY_US
    moments = Moments.read(given.view, start_us, as_of_us, trial.index, most=settings.validation_moments, rng=rng)
    return choose_next_weights(trial, given.view, moments) if len(moments) >= _FEWEST_MOMENTS else {}


def _fit_ranker(
    slice_: _Slice, weights: Mapping[str, float], settings: RecommenderFitSettings, *, news: bool = False
) -> tuple[Ranker | None, RankerChoice]:
    """A ranker of lists of anything, or (`news`) of lists that show nothing owned; learnt from what these may hold."""
    trial, histories, relevant = slice_.trial, slice_.histories, slice_.relevant
    if news:
        relevant = relevant.only(~repeats(histories, relevant))
        rows = np.flatnonzero(relevant.counts > 0)
        histories, relevant = histories.select(rows), relevant.select(rows)
    also = {*settings.ranker.also_read} - {"popularity"}  # of which it is told nothing, see `ranking_features`
    read = [one for one in trial.sources if weights.get(one.name, 0.0) > 0 or one.name in also]
    return fit_ranker(
        read,
        [weights.get(source.name, 0.0) for source in read],
        ItemFacts.of(trial.catalogue, trial.sources),
        histories,
        relevant,
        settings.ranker,
        candidates=settings.candidates,
        seed=settings.seed,
        news=news,
    )
