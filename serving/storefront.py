"""What a storefront is shown: a recommender, the catalogue as of now and the rules of a placement, put together.

The one road of a slate: history -> candidates of the sources -> blend or ranker -> objective -> rules of the shop ->
reasons.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import DataError
from features.instants import DAY_US, MINUTE_US
from serving.arranging import RANKED, Arranged, arrange
from serving.catalogue import Catalogue
from serving.churn_aware import aimed, margins
from serving.encounters import Encounters, Shown, shown_without_click
from serving.exploration import explore_arranged, rng_of
from serving.filter_masks import FilterMasks
from serving.languages import LANGUAGES, Language
from serving.openings import Openings
from serving.ranking import Asked, Ranked
from serving.recipe import Recipe
from serving.recommender import Recommender
from serving.recommender_settings import SESSION_MINUTES
from serving.rulebook import Rulebook
from serving.slate import Slate, SlateItem
from serving.slate_pool import Shortlist
from serving.slate_reasons import Because, because, said
from serving.slate_rules import Boost, Diversity, Exclusions, SlateRules
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.sources.source import Bools, Excluded, Ints

__all__ = ["SlateRequest", "Storefront"]

_BOOKS_KEPT = 64


@dataclass(frozen=True)
class SlateRequest:
    """What one call wants.

    Attributes:
        limit: items wanted, at least 1; None for as many as the recipe says.
        where: a filter beside that of the rules; empty lets everything through.
        boosts: beside those of the rules.
        exclude: in place of the exclusions of the rules.
        diversity: dial in place of that of the rules.
        seed_items: rank as for someone who was drawn to these alone; they are not shown themselves. Where none of them
            is known the slate is the customer's own, with `fallback` true.
        candidates: rank these alone; those the catalogue does not hold are counted and ignored.
        earlier: what was shown on the pages before, in order.
        language: of the reasons.
    """

    limit: int | None = None
    where: str = ""
    boosts: tuple[Boost, ...] = ()
    exclude: Exclusions | None = None
    diversity: float | None = None
    seed_items: tuple[str, ...] = ()
    candidates: tuple[str, ...] | None = None
    earlier: tuple[str, ...] = ()
    language: Language = LANGUAGES[0]


@dataclass(eq=False)
class Storefront:
    """Answers the slates of one recommender; safe to share between threads.

    Attributes:
        recommender: as released.
        catalogue: the recommender's items with today's stock.
        masks: filters of this catalogue, kept.
    """

    recommender: Recommender
    catalogue: Catalogue
    masks: FilterMasks = field(init=False, repr=False)
    _books: OrderedDict[SlateRules, Rulebook] = field(default_factory=OrderedDict, init=False, repr=False)
    _openings: Openings = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self.masks = FilterMasks(self.catalogue)
        self._openings = Openings(self.masks)

    def slate(
        self,
        history: CustomerView | None,
        as_of_us: int,
        request: SlateRequest,
        recipe: Recipe,
        churn_probability: float | None = None,
        *,
        recommendation_id: str | None = None,
    ) -> Slate:
        """The slate of one customer at an instant.

        Args:
            history: view of one customer, or None for a visitor nobody knows; events at or after `as_of` do nothing.
            as_of_us: exclusive cut-off, microseconds.
            request: what this call wants.
            recipe: of the placement.
            churn_probability: of the customer, for the objective of the recipe; None where it is not known.
            recommendation_id: decides what is drawn on the slots that explore; None draws nothing.

        Raises:
            FilterError: the filter cannot be read or does not fit the catalogue.
            ConfigurationError: a boost is one too many, or its filter does not fit.
            DataError: the limit is below 1, or the history is of several customers.
        """
        if history is not None and history.n_customers > 1:
            raise DataError(f"a slate is of one customer, not {history.n_customers}; ask for each apart")
        asking = self._asking(history, as_of_us, request, recipe)
        aims = recipe.objective.weights(churn_probability)
        ranked, asked = self._ranked(asking, recipe, np.array([astuple(aims)]))
        arranged, propensities = self._arranged(asking, recipe, ranked, recommendation_id)
        cold = bool(asking.histories.cold[0])
        strategy = "similar" if asking.similar else "popularity" if cold else "personal"
        filtered = asking.filtered | {"low_relevance": arranged.filtered["low_relevance"]}
        wanted = list(dict.fromkeys([*(request.candidates or ()), *request.seed_items]))
        return Slate(
            self._items(asking, ranked, asked, arranged),
            strategy if len(self.catalogue) else "none",
            fallback=not len(self.catalogue) or (not asking.similar and (bool(request.seed_items) or cold)),
            filtered_count=sum(filtered.values()),
            unknown_count=int(np.sum(self.catalogue.index.positions_of(wanted) < 0)),
            filtered=filtered,
            more=arranged.more,
            objective=aims.named(),
            propensities=propensities,
        )

    def _asking(self, history: CustomerView | None, as_of_us: int, request: SlateRequest, recipe: Recipe) -> _Asking:
        book = self.book(_merged(recipe.rules, request))
        histories = self.recommender.histories(history, as_of_us)
        seeds = self._places(request.seed_items)
        exclude = book.rules.exclude if request.exclude is None else request.exclude
        encounters = self._encounters(history, histories, book)
        eligible, pool, filtered = self._open(book, request)
        struck, met = _struck(encounters, exclude, as_of_us, seeds, eligible)
        return _Asking(
            request,
            recipe.k if request.limit is None else request.limit,
            book,
            histories,
            Histories.of_lists([seeds.tolist()], len(self.catalogue)) if len(seeds) else histories,
            seeds,
            exclude,
            encounters,
            eligible,
            pool,
            struck,
            filtered | met,
        )

    def _ranked(self, asking: _Asking, recipe: Recipe, aims: npt.NDArray[np.float64]) -> tuple[Ranked, Asked]:
        """Every candidate in the order of relevance times worth, and the sources asked."""
        ranked, asked = self.recommender.ranked(
            asking.drawn,
            asking.eligible,
            weights=self._weights(recipe, asking),
            limits={name: one.limit for name, one in recipe.sources.items() if one.limit is not None},
            excluded=Excluded(np.array([0, len(asking.struck)]), asking.struck),
            pool=asking.pool,
            liked=asking.similar,
            news=asking.exclude.owned and not asking.similar,
            session=asking.here and not asking.similar,
            candidates=len(asking.request.earlier) + asking.limit,
            fill=not asking.similar,
        )
        return aimed(self.recommender, asking.drawn, ranked, aims, margin=self._margins), asked

    def _arranged(
        self, asking: _Asking, recipe: Recipe, ranked: Ranked, recommendation_id: str | None
    ) -> tuple[Arranged, tuple[float, ...] | None]:
        """The list by the rules of the shop, and the chance of each item where some slot explores."""
        beliefs, settings = self.recommender.beliefs, recipe.exploration
        exploring = bool(settings.slots) and beliefs is not None and recommendation_id is not None
        arranged = arrange(
            Shortlist(ranked.places[0], ranked.scores[0]),
            asking.book,
            asking.encounters,
            asking.limit + (settings.pool if exploring else 0),
            as_of_us=asking.histories.as_of_us,
            allowed=asking.eligible,
            exclude=asking.exclude,
            seeds=asking.seeds,
            earlier=self.catalogue.index.positions_of(asking.request.earlier),
        )
        if beliefs is None or recommendation_id is None or not exploring:
            return arranged, None
        shown, found = explore_arranged(arranged, beliefs, asking.limit, settings, rng_of(recommendation_id))
        return shown, tuple(found.propensities.tolist())

    def book(self, rules: SlateRules) -> Rulebook:
        """The rules bound to the catalogue; those used last are kept.

        Raises:
            ConfigurationError: a filter of the rules asks for what the catalogue does not have.
        """
        with self._lock:
            found = self._books.get(rules)
            if found is not None:
                self._books.move_to_end(rules)
                return found
        made = Rulebook.of(rules, self.catalogue, self._vectors)
        with self._lock:
            self._books[rules] = made
            while len(self._books) > _BOOKS_KEPT:
                self._books.popitem(last=False)
        return made

    def _weights(self, recipe: Recipe, asking: _Asking) -> Mapping[str, float]:
        """The weights fitted, as the recipe changes them; as fitted where it leaves no source."""
        fitted = self.recommender.settings.weights(
            similar=asking.similar, news=asking.exclude.owned, session=asking.here
        )
        changed = {name: weight * recipe.asking(name).weight for name, weight in fitted.items()}
        return changed if any(changed.values()) else fitted

    @cached_property
    def _margins(self) -> npt.NDArray[np.float64]:
        return margins(self.catalogue)

    @property
    def _vectors(self) -> npt.NDArray[np.float32] | None:
        """What says how alike items are."""
        sources = self.recommender.sources
        return next((source.item_factors for source in sources if isinstance(source, FactorSource)), None)

    def _encounters(self, history: CustomerView | None, histories: Histories, book: Rulebook) -> Encounters:
        rotation = book.rules.rotation
        shown = Shown.nothing()
        if history is not None and history.n_customers and rotation.decay < 1:
            shown = shown_without_click(history, 0, histories, self.catalogue.index, rotation.within_days)
        return Encounters.of(histories, 0, shown)

    def _places(self, item_ids: Sequence[str]) -> Ints:
        places = np.unique(self.catalogue.index.positions_of(item_ids))
        return places[places >= 0]

    def _open(self, book: Rulebook, request: SlateRequest) -> tuple[Bools, Bools | None, dict[str, int]]:
        """What stock, rules and request let through, the pool of given candidates, and what each reason took out."""
        pool = None if request.candidates is None else self.recommender.mask(request.candidates)
        found = self._openings.of(book, request.where, pool)
        return found.eligible, pool, dict(found.filtered)

    def _items(self, asking: _Asking, ranked: Ranked, asked: Asked, arranged: Arranged) -> tuple[SlateItem, ...]:
        told = self._told(asking, ranked, asked, arranged)
        return tuple(
            SlateItem(self.catalogue.item_ids[place], float(score), arranged.first_position + number, *words, shown_as)
            for number, (place, score, words, shown_as) in enumerate(
                zip(arranged.places.tolist(), arranged.scores, told, arranged.shown_as, strict=True)
            )
        )

    def _told(self, asking: _Asking, ranked: Ranked, asked: Asked, arranged: Arranged) -> list[tuple[str, str]]:
        """The main source and the reason of each item."""
        main = dict(zip(ranked.places[0].tolist(), ranked.source[0].tolist(), strict=True))
        shown, language = arranged.places, asking.request.language
        found: list[tuple[str, str]] = []
        by_source: dict[int, list[int]] = {}
        for number, (place, shown_as) in enumerate(zip(shown.tolist(), arranged.shown_as, strict=True)):
            if shown_as == RANKED:
                by_source.setdefault(main[place], []).append(number)
            words = "" if shown_as == RANKED else said(Because(shown_as), place, self.catalogue, language)
            found.append((shown_as, words))
        due = self.recommender.due(asking.drawn, shown[None])[0]
        for which, numbers in by_source.items():
            source, places = asked.sources[which], shown[numbers]
            whys = because(source, asking.drawn, 0, places, dict(zip(places.tolist(), due[numbers], strict=True)))
            for number, why in zip(numbers, whys, strict=True):
                code = Because("similar") if asking.similar else why
                found[number] = (source.name, said(code, int(shown[number]), self.catalogue, language))
        return found


@dataclass(frozen=True, eq=False)
class _Asking:
    """One call made out: what is open to the customer, and whose taste ranks it.

    `drawn` is the history that ranks: the customer's own, or that of somebody drawn to the seeds alone. `struck` are
    the places that this customer is not to be shown, `filtered` how many items each reason took out.
    """

    request: SlateRequest
    limit: int
    book: Rulebook
    histories: Histories
    drawn: Histories
    seeds: Ints
    exclude: Exclusions
    encounters: Encounters
    eligible: Bools
    pool: Bools | None
    struck: Ints
    filtered: dict[str, int]

    @property
    def similar(self) -> bool:
        """Whether seeds lead."""
        return bool(len(self.seeds))

    @property
    def here(self) -> bool:
        """Whether the customer did something a moment ago."""
        last = self.histories.steps.times_us[-1:]
        return bool(len(last)) and int(last[0]) >= self.histories.as_of_us - SESSION_MINUTES * MINUTE_US


def _merged(rules: SlateRules, request: SlateRequest) -> SlateRules:
    """The rules of the placement with the boosts and the diversity of the request."""
    if request.boosts:
        rules = dataclasses.replace(rules, boosts=(*rules.boosts, *request.boosts))
    if request.diversity is not None:
        dial = Diversity(request.diversity, rules.diversity.same_category)
        rules = dataclasses.replace(rules, diversity=dial)
    return rules


def _struck(
    encounters: Encounters, exclude: Exclusions, as_of_us: int, seeds: Ints, eligible: Bools
) -> tuple[Ints, dict[str, int]]:
    """The places that this customer is not to be shown, int64 (m,), and how many eligible ones each reason took out."""
    recent = encounters.last_bought_us >= as_of_us - exclude.bought_within_days * DAY_US
    nothing = np.empty(0, np.int64)
    struck: set[int] = set()
    counts = {}
    for reason, places in (
        ("seed", seeds),
        ("owned", encounters.bought if exclude.owned else nothing),
        ("bought_recently", encounters.bought[recent] if exclude.bought_within_days else nothing),
        ("seen", encounters.seen if exclude.seen else nothing),
    ):
        new = set(places[eligible[places]].tolist()) - struck
        counts[reason] = len(new)
        struck |= new
    return np.array(sorted(struck), np.int64), counts
