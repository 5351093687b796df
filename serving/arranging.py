"""From ranked candidates of one customer to the slate that is shown, by the rules of a placement.

Every candidate, pin and sponsored item is struck off by the first exclusion that names it, in the order of `REASONS`.
Scores of what is left are stretched so that the best is 1 and the worse of 0 and the least is 0; then come minimum
relevance, boosts and rotation. Positions are filled one after another: a pin at its own, a sponsored item where the
share allows one more, else the ranked item that adds most (`serving.diversity`). Where nothing else is left, pins of
later positions move up: a list has no holes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError
from features.instants import DAY_US
from serving.diversity import Likeness, Marginal
from serving.encounters import Encounters
from serving.rulebook import Rulebook
from serving.slate_pool import REASONS, Pool, Shortlist, Struck
from serving.slate_rules import Exclusions

__all__ = ["PINNED", "RANKED", "REASONS", "SPONSORED", "Arranged", "Shortlist", "arrange", "continued"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RANKED, PINNED, SPONSORED = "ranked", "pinned", "sponsored"

_ROUNDING = 1e-9  # share * n is a product of floats: 0.29 * 100 is 28.999...


@dataclass(frozen=True, eq=False)
class Arranged:
    """The slate, best first: at most k items, none twice, none struck off, no padding.

    Attributes:
        places: int64 (n,), positions in the catalogue.
        scores: float64 (n,), the stretched score times boosts and rotation; 0 for a pin or a sponsored item that was no
            candidate. With pins, sponsored items or diversity they do not descend.
        shown_as: "ranked", "pinned" or "sponsored", one an item.
        boosts: float64 (n,), the factor that was applied, 1 where none.
        first_position: position of the first item, counted from 1 over all pages.
        filtered: reason -> items struck off, every one of `REASONS`.
        more: whether a next page would hold an item.
    """

    places: Ints
    scores: Floats
    shown_as: tuple[str, ...]
    boosts: Floats
    first_position: int
    filtered: Mapping[str, int]
    more: bool


def arrange(
    shortlist: Shortlist,
    book: Rulebook,
    encounters: Encounters,
    k: int,
    *,
    as_of_us: int,
    allowed: Bools | None = None,
    exclude: Exclusions | None = None,
    seeds: Sequence[int] | Ints = (),
    earlier: Sequence[int] | Ints = (),
) -> Arranged:
    """The next k items of a list.

    Args:
        shortlist: in any order; an item that comes twice counts with its best score.
        book: rules bound to the catalogue of the shortlist.
        encounters: what the customer met before.
        k: items wanted, at least 1.
        as_of_us: exclusive end of "recently", microseconds.
        allowed: bool (n_items,): what a filter of this request lets through, beside that of the rules.
        exclude: in place of the exclusions of the rules.
        seeds: places that the list is made for, such as the item looked at; they are not shown.
        earlier: places on the pages before, in order, as `continued` keeps them; -1 for an item that the catalogue no
            longer holds, which still fills its position.

    Returns:
        The slate. Of the same shortlist, pages one after another hold what one long list holds.

    Raises:
        DataError: k is below 1, `allowed` is of another length, or a place is not in the catalogue.
    """
    before = np.asarray(earlier, np.int64)
    _check(shortlist, book, k, allowed, before)
    pins = {position: place for position, place in book.pinned.items() if position > len(before)}
    pool = Pool.of(shortlist, [*book.pinned.values(), *book.sponsored.tolist()])
    struck = Struck(pool)
    struck.by_mask("filter", book.passes)
    struck.by_mask("filter", allowed)
    struck.by_mask("out_of_stock", book.in_stock)
    struck.by_place("seed", np.asarray(seeds, np.int64))
    _strike_known(struck, encounters, book.rules.exclude if exclude is None else exclude, as_of_us)
    relevance = _relevance(pool.scores, struck.open)
    _strike_low(struck, pool, relevance, book.rules.min_relevance, [*pins.values(), *before.tolist()])
    boosts = np.ones(len(relevance)) if book.factors is None else book.factors[pool.places]
    scores = relevance * boosts * _rotation(pool, encounters, book.rules.rotation.decay)
    best = np.max(scores, initial=0.0, where=struck.open)  # of all pages, so that each goes on where the last ended
    struck.by_place("earlier_page", before)
    filling = _Filling(book, pool, struck.open, scores / best if best > 0 else scores, before, pins)
    rows = filling.fill(k)
    return Arranged(
        pool.places[rows],
        scores[rows],
        tuple(filling.shown_as),
        boosts[rows],
        len(before) + 1,
        struck.counts,
        filling.more(),
    )


def continued(earlier: Sequence[int] | Ints, arranged: Arranged) -> Ints:
    """What `earlier` is for the page after this one: int64, the places of all pages so far.

    >>> page = Arranged(np.array([7, 2]), np.ones(2), ("ranked", "ranked"), np.ones(2), 2, {}, True)
    >>> continued([4], page).tolist()
    [4, 7, 2]
    """
    return np.concatenate([np.asarray(earlier, np.int64), arranged.places])


def _check(shortlist: Shortlist, book: Rulebook, k: int, allowed: Bools | None, before: Ints) -> None:
    if k < 1:
        raise DataError(f"k is {k}; ask for at least 1 item")
    if allowed is not None and len(allowed) != book.n_items:
        raise DataError(f"the mask is of {len(allowed):,} items, the catalogue has {book.n_items:,}; make it anew")
    for places in (shortlist.places, before):
        if len(places) and places.max() >= book.n_items:
            raise DataError(f"place {int(places.max()):,} is not in a catalogue of {book.n_items:,} items")


def _strike_known(struck: Struck, encounters: Encounters, exclude: Exclusions, as_of_us: int) -> None:
    if exclude.owned:
        struck.by_place("owned", encounters.bought)
    if exclude.bought_within_days:
        recent = encounters.last_bought_us >= as_of_us - exclude.bought_within_days * DAY_US
        struck.by_place("bought_recently", encounters.bought[recent])
    if exclude.seen:
        struck.by_place("seen", encounters.seen)


def _strike_low(struck: Struck, pool: Pool, relevance: Floats, least: float, spared: list[int]) -> None:
    """Strike off what is below the least relevance, but for some places: pins to come, and what was shown before."""
    if least > 0:
        low = relevance < least
        low[pool.find(np.array(spared, np.int64))[0]] = False
        struck.by_row("low_relevance", low)


def _relevance(scores: Floats, open_: Bools) -> Floats:
    """(m,): 1 for the best open row, 0 for the worse of 0 and the least; 0 for what is no candidate or not open."""
    counted = open_ & ~np.isnan(scores)
    if not counted.any():
        return np.zeros(len(scores))
    low = min(0.0, float(np.min(scores, initial=np.inf, where=counted)))
    high = float(np.max(scores, initial=-np.inf, where=counted))
    stretched = (scores - low) / (high - low) if high > low else np.ones(len(scores))
    return np.where(counted, stretched, 0.0)


def _rotation(pool: Pool, encounters: Encounters, decay: float) -> Floats | float:
    if decay == 1.0 or not len(encounters.shown.places):
        return 1.0
    factors = np.ones(len(pool.places))
    rows, found = pool.find(encounters.shown.places)
    factors[rows] = decay ** encounters.shown.times[found].astype(np.float64)
    return factors


class _Filling:
    """The list while it is filled. A rank is a row of the pool in the order of relevance; ties go to the first.

    `_bars` say by -inf what cannot be shown as a kind.
    """

    def __init__(
        self, book: Rulebook, pool: Pool, open_: Bools, relevance: Floats, before: Ints, pins: Mapping[int, int]
    ) -> None:
        self.shown_as: list[str] = []
        self._order = np.argsort(-relevance, kind="stable")
        rank_of = np.empty(len(relevance), np.int64)
        rank_of[self._order] = np.arange(len(relevance))
        sponsored = np.zeros(len(relevance), np.bool_)
        sponsored[rank_of[pool.find(book.sponsored)[0]]] = True
        is_open = open_[self._order]
        self._pins = _open_pins(pins, pool, rank_of, is_open)
        ranked = is_open & ~sponsored & ~np.isnan(pool.scores[self._order])
        ranked[list(self._pins.values())] = False
        paid = is_open & sponsored
        self._left = {RANKED: int(np.count_nonzero(ranked)), SPONSORED: int(np.count_nonzero(paid))}
        self._bars = {RANKED: _bar(ranked), SPONSORED: _bar(paid)}
        self._share = book.rules.sponsored.share
        self._n_sponsored = int(np.count_nonzero(np.isin(before, book.sponsored))) if len(before) else 0
        self._position = len(before)
        diversity = book.rules.diversity
        likeness = Likeness(book.vectors, book.categories, diversity.same_category)
        self._marginal = Marginal(pool.places[self._order], relevance[self._order], likeness, diversity.dial)
        self._marginal.begin_after(before[before >= 0])

    def fill(self, k: int) -> Ints:
        """Rows of the pool, at most k."""
        chosen: list[int] = []
        while len(chosen) < k and (kind := self._next_kind()) is not None:
            self._position += 1
            chosen.append(self._show(kind))
            self.shown_as.append(kind)
            self._marginal.choose(chosen[-1])
        return self._order[np.array(chosen, np.int64)]

    def more(self) -> bool:
        """Whether the list could go on."""
        return self._next_kind() is not None

    def _next_kind(self) -> str | None:
        """What comes at the next position; None where the list ends."""
        position = self._position + 1
        if position in self._pins:
            return PINNED
        if self._left[SPONSORED] and math.floor(self._share * position + _ROUNDING) > self._n_sponsored:
            return SPONSORED
        if self._left[RANKED]:
            return RANKED
        return PINNED if self._pins else None

    def _show(self, kind: str) -> int:
        """The rank of the item shown at the current position."""
        if kind == PINNED:
            return self._pins.pop(self._position if self._position in self._pins else next(iter(self._pins)))
        bar = self._bars[kind]
        rank = int((self._marginal.values + bar).argmax())
        bar[rank] = -np.inf
        self._left[kind] -= 1
        self._n_sponsored += kind == SPONSORED
        return rank


def _open_pins(pins: Mapping[int, int], pool: Pool, rank_of: Ints, is_open: Bools) -> dict[int, int]:
    """Position -> rank of those that can be shown, by position."""
    positions = sorted(pins)
    ranks = rank_of[pool.find(np.array([pins[position] for position in positions], np.int64))[0]]
    return {position: rank for position, rank in zip(positions, ranks.tolist(), strict=True) if is_open[rank]}


def _bar(shown: Bools) -> Floats:
    return np.where(shown, 0.0, -np.inf)
