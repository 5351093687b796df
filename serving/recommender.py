"""The recommender as it is when a decision is made: frozen arrays, three candidate sources, one blend, filters."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import ArtefactError, ConfigurationError, DataError
from features.interactions import ItemIndex
from features.settings import read_settings
from serving.candidates import AlsSource, BuyAgainSource, CandidateSource, PopularitySource
from serving.ranking import BlendWeights, Slate, SlateItem, blend, top_k
from serving.recommender_files import SETTINGS_FILE, pack, unpack
from serving.recommender_settings import RecommenderSettings
from serving.sources.histories import Histories

__all__ = ["Recommender", "RecommenderSettings"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CHUNK_CELLS = 500_000
_SIMILAR = "similar"
_REASONS = {
    "als": "bought by customers like you",
    "popularity": "popular now",
    "buy_again": "bought before",
    _SIMILAR: "similar to what you are looking at",
}
_DUE_AGAIN = "due again"


@dataclass(frozen=True)
class _Ranked:
    """Places (n, k) with -1 behind the last, scores (n, k), name of the main source (n, k), due (n, k)."""

    places: Ints
    scores: Floats
    source: npt.NDArray[np.int64]
    due: Floats
    n_filtered: Ints


@dataclass(frozen=True, eq=False)
class Recommender:
    """A fitted recommender; there is no other state. Safe to share between threads.

    Attributes:
        item_ids: the catalogue, distinct.
        item_factors: float32 (n_items, n_factors).
        popularity: float64 (n_items,), decayed distinct customers.
        rate_per_day: float64 (n_items,), how often a customer who bought the item buys it again, above 0.
        gap_days: float64 (n_items,), typical time between two purchases of one customer, above 0.
        settings: as fitted.
    """

    item_ids: tuple[str, ...]
    item_factors: npt.NDArray[np.float32]
    popularity: Floats
    rate_per_day: Floats
    gap_days: Floats
    settings: RecommenderSettings

    @cached_property
    def index(self) -> ItemIndex:
        """Positions of the item ids."""
        return ItemIndex(self.item_ids)

    @cached_property
    def als(self) -> AlsSource:
        """The factorisation, folding in each customer."""
        return AlsSource(self.item_factors.astype(np.float64), self.settings.alpha, self.settings.regularization)

    @cached_property
    def buy_again(self) -> BuyAgainSource:
        """The customer's own goods."""
        settings = self.settings
        return BuyAgainSource(self.rate_per_day, self.gap_days, settings.prior_days, settings.horizon_days)

    @cached_property
    def sources(self) -> tuple[CandidateSource, ...]:
        """In the order of `BlendWeights`."""
        return (self.als, PopularitySource(self.popularity), self.buy_again)

    @cached_property
    def _directions(self) -> Floats:
        factors = self.als.item_factors
        norms = np.linalg.norm(factors, axis=1, keepdims=True)
        directions: Floats = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)
        return directions

    def with_blend(self, weights: BlendWeights) -> Recommender:
        """The same arrays with other blend weights: how one source is judged alone."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, blend=weights))

    def mask(self, item_ids: Collection[str]) -> Bools:
        """Which items of the catalogue (bool (n_items,)) are among some ids. Make it once for a fixed list."""
        chosen = np.zeros(len(self.item_ids), np.bool_)
        places = self.index.positions_of(list(item_ids))
        chosen[places[places >= 0]] = True
        return chosen

    def slate(
        self,
        history: CustomerView | None,
        as_of_us: int,
        k: int,
        *,
        exclude_owned: bool = False,
        candidates: Sequence[str] | None = None,
        allowed: Collection[str] | Bools | None = None,
        excluded: Collection[str] = (),
        seed_items: Sequence[str] = (),
    ) -> Slate:
        """The best k items for one customer at an instant.

        Args:
            history: view of one customer, or None for a visitor nobody knows; events at or after `as_of` do nothing.
            as_of_us: exclusive cut-off, microseconds.
            k: items wanted, at least 1.
            exclude_owned: leave out what the customer has bought.
            candidates: rank these alone; those the catalogue does not hold are counted and ignored.
            allowed: only these may be shown (ids, or a mask from `mask`).
            excluded: these may not be shown, such as items that are out of stock.
            seed_items: rank by similarity to these instead; they are not shown themselves. Where none of them is
                known the slate is the customer's own, with `fallback` true.

        Raises:
            DataError: k is below 1, the history is of several customers, or a mask has another length.
        """
        if history is not None and history.n_customers > 1:
            raise DataError(f"slate() takes the history of one customer, not {history.n_customers}; use slates()")
        _check_k(k)
        histories = self._histories(history, as_of_us)
        seeds = np.unique(self.index.positions_of(list(seed_items)))
        seeds = seeds[seeds >= 0]
        pool = None if candidates is None else self.mask(candidates)
        eligible = self._eligible(allowed, excluded, pool)
        eligible[seeds] = False
        useful = seeds[np.any(self._directions[seeds] != 0, axis=1)] if len(seeds) else seeds
        parts, weights, names = self._parts(histories, useful)
        ranked = self._rank(histories, parts, weights, k, eligible, exclude_owned=exclude_owned, pool=pool)
        wanted = list(dict.fromkeys([*(candidates or ()), *seed_items]))
        return dataclasses.replace(
            self._slate(ranked, 0, names),
            strategy=_strategy(len(self.item_ids), similar=bool(len(useful)), cold=bool(histories.cold[0])),
            fallback=not self.item_ids or (not len(useful) and (bool(seed_items) or bool(histories.cold[0]))),
            unknown_count=int(np.sum(self.index.positions_of(wanted) < 0)),
        )

    def similar(
        self,
        item_id: str,
        k: int,
        *,
        allowed: Collection[str] | Bools | None = None,
        excluded: Collection[str] = (),
    ) -> Slate:
        """The k items nearest to one by the cosine of their factors; none and `fallback` for an unknown item.

        `allowed` and `excluded` are as for `slate`.
        """
        slate = self.slate(None, 0, k, allowed=allowed, excluded=excluded, seed_items=(item_id,))
        return slate if slate.strategy == _SIMILAR else dataclasses.replace(slate, items=(), strategy="none")

    def slates(
        self,
        view: CustomerView,
        as_of_us: int,
        k: int,
        *,
        exclude_owned: bool = False,
        allowed: Collection[str] | Bools | None = None,
    ) -> Iterator[Slate]:
        """One slate a customer of the view, in its order and as `slate` gives it, in bounded memory."""
        for ranked, histories, names in self._ranked(view, as_of_us, k, allowed, exclude_owned=exclude_owned):
            for row in range(histories.n_customers):
                cold = bool(histories.cold[row])
                strategy = _strategy(len(self.item_ids), similar=False, cold=cold)
                slate = self._slate(ranked, row, names)
                yield dataclasses.replace(slate, strategy=strategy, fallback=cold or not self.item_ids)

    def rank(
        self,
        view: CustomerView,
        as_of_us: int,
        k: int,
        *,
        exclude_owned: bool = False,
        allowed: Collection[str] | Bools | None = None,
    ) -> Ints:
        """int64 (n_customers, k): the slates as catalogue positions, -1 behind the last item. For judging many."""
        chunks = self._ranked(view, as_of_us, k, allowed, exclude_owned=exclude_owned)
        return np.concatenate([np.empty((0, k), np.int64), *(ranked.places for ranked, _, _ in chunks)])

    def to_files(self) -> dict[str, bytes]:
        """Two files, without code in them; the same recommender gives the same bytes."""
        arrays = {name: getattr(self, name) for name in ("item_factors", "popularity", "rate_per_day", "gap_days")}
        return pack(self.item_ids, dataclasses.asdict(self.settings), arrays)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Recommender:
        """The recommender of `to_files`.

        Raises:
            ArtefactError: a file is missing, unreadable or does not fit; see `recommender_files.unpack`.
        """
        item_ids, given, arrays = unpack(files)
        try:
            settings = read_settings(RecommenderSettings, given)
        except ConfigurationError as error:
            raise ArtefactError(f"{SETTINGS_FILE}: {error}") from None
        return cls(item_ids=item_ids, settings=settings, **arrays)

    def _histories(self, view: CustomerView | None, as_of_us: int) -> Histories:
        if view is None or not view.n_customers:
            return Histories.nobody(as_of_us)
        return Histories.read(view, as_of_us, self.index, self.settings.interactions)

    def _eligible(
        self, allowed: Collection[str] | Bools | None, excluded: Collection[str], pool: Bools | None
    ) -> Bools:
        """A fresh mask of what the filters leave."""
        n_items = len(self.item_ids)
        eligible = np.ones(n_items, np.bool_) if pool is None else pool.copy()
        if isinstance(allowed, np.ndarray):
            if allowed.shape != (n_items,) or allowed.dtype != np.bool_:
                raise DataError(f"the mask of allowed items must be bool ({n_items},); make it with mask()")
            eligible &= allowed
        elif allowed is not None:
            eligible &= self.mask(allowed)
        if excluded:
            eligible &= ~self.mask(excluded)
        return eligible

    def _parts(self, histories: Histories, seeds: Ints) -> tuple[list[Floats], list[float], list[str]]:
        """Raw scores (n, n_items), weights and names of the sources that are asked."""
        if len(seeds):
            cosine = self._directions @ self._directions[seeds].mean(axis=0)
            scores = np.where(cosine > 0, cosine, np.nan)
            return [np.broadcast_to(scores, (histories.n_customers, len(scores)))], [1.0], [_SIMILAR]
        weights = dataclasses.astuple(self.settings.blend)
        cold = bool(histories.cold.any())
        asked = [
            (source, weight)
            for source, weight in zip(self.sources, weights, strict=True)
            if weight > 0 or (cold and source.name == "popularity")
        ]
        parts = [source.scores(histories) for source, _ in asked]
        return parts, [weight for _, weight in asked], [source.name for source, _ in asked]

    def _rank(
        self,
        histories: Histories,
        parts: list[Floats],
        weights: list[float],
        k: int,
        eligible: Bools,
        *,
        exclude_owned: bool,
        pool: Bools | None = None,
    ) -> _Ranked:
        blended = blend(parts, [np.where((weight > 0) | histories.cold, weight or 1.0, 0.0) for weight in weights])
        total = blended.total
        open_places = np.broadcast_to(eligible, total.shape).copy()
        if exclude_owned:
            open_places[histories.bought.customers, histories.bought.items] = False
        n_pool = len(eligible) if pool is None else int(pool.sum())
        shown = open_places if pool is not None else open_places & blended.proposed
        places = top_k(np.where(shown, total, np.nan), k)
        rows = np.arange(len(places))[:, None]
        if not len(eligible):
            empty = np.zeros(places.shape)
            return _Ranked(places, empty, empty.astype(np.int64), empty, np.zeros(len(places), np.int64))
        source = np.argmax(np.stack([share[rows, places] for share in blended.shares]), axis=0)
        return _Ranked(
            places, total[rows, places], source, self._due(histories, places), n_pool - open_places.sum(axis=1)
        )

    def _due(self, histories: Histories, places: Ints) -> Floats:
        """(n, k): how due each place is, 0 for what the customer never bought."""
        bought = histories.bought
        due = np.zeros(places.shape)
        if len(bought.items):
            n_items = len(self.item_ids)
            keys = bought.customers * n_items + bought.items
            wanted = np.arange(len(places))[:, None] * n_items + places
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            due = np.where((keys[found] == wanted) & (places >= 0), self.buy_again.due(histories)[found], 0.0)
        return due

    def _ranked(
        self, view: CustomerView, as_of_us: int, k: int, allowed: Collection[str] | Bools | None, *, exclude_owned: bool
    ) -> Iterator[tuple[_Ranked, Histories, list[str]]]:
        _check_k(k)
        if not view.n_customers:
            return
        histories = self._histories(view, as_of_us)
        eligible = self._eligible(allowed, (), None)
        step = max(1, _CHUNK_CELLS // max(1, len(self.item_ids)))
        for start in range(0, view.n_customers, step):
            part = histories.part(start, min(start + step, view.n_customers))
            parts, weights, names = self._parts(part, np.empty(0, np.int64))
            yield self._rank(part, parts, weights, k, eligible, exclude_owned=exclude_owned), part, names

    def _slate(self, ranked: _Ranked, row: int, names: list[str]) -> Slate:
        """The items of one row; strategy and fallback are the caller's."""
        items = []
        for position, place in enumerate(ranked.places[row].tolist()):
            if place < 0:
                break
            name = names[int(ranked.source[row, position])]
            due_again = name == "buy_again" and ranked.due[row, position] >= 1
            reason = _DUE_AGAIN if due_again else _REASONS[name]
            score = float(ranked.scores[row, position])
            items.append(SlateItem(self.item_ids[place], score, position + 1, name, reason))
        return Slate(tuple(items), "none", fallback=False, filtered_count=int(ranked.n_filtered[row]))


def _check_k(k: int) -> None:
    if k < 1:
        raise DataError(f"k is {k}; ask for at least 1 item")


def _strategy(n_items: int, *, similar: bool, cold: bool) -> str:
    if not n_items:
        return "none"
    if similar:
        return _SIMILAR
    return "popularity" if cold else "personal"
