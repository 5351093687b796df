"""Fitting the recommender: implicit ALS, popularity, repeat rates, and blend weights chosen before the cut-off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from features.customer_view import CustomerView
from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import DAY_US
from features.interactions import Interactions, InteractionSettings, ItemIndex, interactions
from serving.ranking import BlendWeights, normalise, top_k, total
from serving.recommender import Recommender, RecommenderSettings
from serving.sources.histories import Histories, Purchases
from training.recommender_metrics import Relevant, hits, ndcg

__all__ = ["RecommenderFitSettings", "fit_recommender", "popularity"]

Floats = npt.NDArray[np.float64]

_MAX_REPEATS = 20  # of one customer and one item, so that one key cannot set an item's repeat rate
_SHORTLIST = 100


@dataclass(frozen=True)
class RecommenderFitSettings:
    """How a recommender is fitted.

    Attributes:
        interactions: weights and half-life; must be those of the interactions given.
        factors, iterations, regularization, alpha: of the factorisation; `regularization` is the plain lambda.
        popularity_half_life_days: age at which a customer's purchase counts half in popularity.
        popularity_cap: most that one customer adds to popularity over all items.
        prior_days, horizon_days: of the buy-again source.
        blend: weights of the sources; None chooses them on the last `validation_days` before the cut-off.
        validation_days: length of that slice.
        validation_customers: at most so many customers judge the weights.
        seed: of the factorisation's start and of the customers drawn; same seed, same bits.
        n_threads: threads of the factorisation; changes no bit.

    Raises:
        ConfigurationError: a number is not above 0 (the seed may be 0).
    """

    interactions: InteractionSettings = field(default_factory=InteractionSettings)
    factors: int = 64
    iterations: int = 10
    regularization: float = 100.0
    alpha: float = 20.0
    popularity_half_life_days: float = 30.0
    popularity_cap: float = 20.0
    prior_days: float = 60.0
    horizon_days: float = 30.0
    blend: BlendWeights | None = None
    validation_days: int = 30
    validation_customers: int = 2_000
    seed: int = 0
    n_threads: int = 2

    def __post_init__(self) -> None:
        for item in fields(self):
            number = getattr(self, item.name)
            if item.name == "seed" or not isinstance(number, int | float):
                continue
            if not 0 < number < math.inf:
                raise ConfigurationError(f"recommender.{item.name} is {number}; write a number above 0")


def fit_recommender(found: Interactions, view: CustomerView, settings: RecommenderFitSettings) -> Recommender:
    """The recommender of what was known at `found.as_of_us`, in `[-inf, as_of)`.

    Args:
        found: interactions of the view at the cut-off; their items are the catalogue.
        view: histories, for popularity, repeat rates and the validation slice; later events change nothing.
        settings: how to fit.

    Raises:
        NotEnoughDataError: there is no interaction before the cut-off.
    """
    weights = settings.blend or _choose_blend(view, found.as_of_us, settings)
    return _fit(found, view, settings, weights)


def popularity(bought: Purchases, as_of_us: int, n_items: int, half_life_days: float, cap: float) -> Floats:
    """float64 (n_items,): decayed number of distinct customers who bought each item.

    A customer counts `2 ** -(age of the last purchase / half-life)` for an item, however often it was bought, and at
    most `cap` over all items, so that one key with 10,000 events moves nothing.
    """
    share = np.exp2(-(as_of_us - bought.last_us) / DAY_US / half_life_days)
    totals = np.bincount(bought.customers, share)
    allowance = np.minimum(1.0, cap / np.maximum(totals, cap)) if len(totals) else totals
    return np.bincount(bought.items, share * allowance[bought.customers], minlength=n_items).astype(np.float64)


def _fit(
    found: Interactions, view: CustomerView, settings: RecommenderFitSettings, weights: BlendWeights
) -> Recommender:
    if not found.weights.nnz:
        raise NotEnoughDataError("0 interactions before the cut-off, at least 1 is needed; choose a later cut-off")
    item_ids = tuple(found.item_ids.tolist())
    bought = Purchases.read(view, found.as_of_us, ItemIndex(item_ids))
    rates, gaps = _repeats(bought, found.as_of_us, len(item_ids))
    return Recommender(
        item_ids=item_ids,
        item_factors=_item_factors(found.weights, settings),
        popularity=popularity(
            bought, found.as_of_us, len(item_ids), settings.popularity_half_life_days, settings.popularity_cap
        ),
        rate_per_day=rates,
        gap_days=gaps,
        settings=RecommenderSettings(
            interactions=found.settings,
            blend=weights,
            alpha=settings.alpha,
            regularization=settings.regularization,
            prior_days=settings.prior_days,
            horizon_days=settings.horizon_days,
        ),
    )


def _item_factors(weights: csr_matrix, settings: RecommenderFitSettings) -> npt.NDArray[np.float32]:
    """float32 (n_items, factors). implicit reads the confidence 1 + alpha |w| itself, negative for a refusal."""
    confidence = weights.copy()
    confidence.data = np.sign(weights.data) * (1 + np.float32(settings.alpha) * np.abs(weights.data))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularization,
            alpha=1.0,
            iterations=settings.iterations,
            num_threads=settings.n_threads,
            random_state=settings.seed,
        )
        model.fit(confidence, show_progress=False)
    factors: npt.NDArray[np.float32] = np.ascontiguousarray(model.item_factors, np.float32)
    return factors


def _repeats(bought: Purchases, as_of_us: int, n_items: int) -> tuple[Floats, Floats]:
    """Repeat rate a day and typical gap in days of each item, both drawn towards the shop's where little is known."""
    repeats = np.minimum(bought.counts - 1, _MAX_REPEATS).astype(np.float64)
    watched = (as_of_us - bought.first_us) / DAY_US
    spans = (bought.last_us - bought.first_us) / DAY_US * repeats / np.maximum(bought.counts - 1, 1)
    n_repeats = np.bincount(bought.items, repeats, minlength=n_items)
    shop_rate = (repeats.sum() + 0.5) / (watched.sum() + 365.0)
    shop_gap = (spans.sum() + 90.0) / (repeats.sum() + 1.0)
    known_days, known_gaps = 365.0, 5.0  # how much of the shop's rate and gap each item starts with
    rates = (n_repeats + known_days * shop_rate) / (np.bincount(bought.items, watched, minlength=n_items) + known_days)
    gaps = (np.bincount(bought.items, spans, minlength=n_items) + known_gaps * shop_gap) / (n_repeats + known_gaps)
    return rates, np.maximum(gaps, 1.0 / 24)


def _choose_blend(view: CustomerView, as_of_us: int, settings: RecommenderFitSettings) -> BlendWeights:
    """The weights with the best NDCG@10 on purchases in `[as_of - validation_days, as_of)`, fitted on what was before.

    Where that slice has no customer to judge by, the usual weights.
    """
    start_us = as_of_us - settings.validation_days * DAY_US
    before = interactions(view, start_us, settings.interactions)
    if not before.weights.nnz:
        return BlendWeights()
    trial = _fit(before, view, settings, BlendWeights())
    relevant = Relevant.read(view, start_us, as_of_us, trial.index, recorded_before_us=as_of_us)
    rows = np.flatnonzero((np.diff(before.weights.indptr) > 0) & (relevant.counts > 0))
    if not len(rows):
        return BlendWeights()
    if len(rows) > settings.validation_customers:
        rng = np.random.default_rng(settings.seed)
        rows = np.sort(rng.choice(rows, settings.validation_customers, replace=False))
    chosen = view.select(rows)
    histories = Histories.read(chosen, start_us, trial.index, settings.interactions)
    return _best(trial, histories, relevant.select(rows))


@dataclass(frozen=True)
class _Shortlists:
    """Catalogue places (n, m), -1 for none, with each source's normalised scores and what it proposes, (n, m) each."""

    places: npt.NDArray[np.int64]
    normalised: tuple[Floats, ...]
    proposed: tuple[npt.NDArray[np.bool_], ...]

    def quality(self, weights: Sequence[float], relevant: Relevant) -> float:
        """Mean NDCG@10 of a mixture."""
        open_places = np.zeros(self.places.shape, np.bool_)
        for proposed, weight in zip(self.proposed, weights, strict=True):
            open_places |= proposed & (weight > 0)
        mixed = total([weight * part for weight, part in zip(weights, self.normalised, strict=True)])
        first = top_k(np.where(open_places, mixed, np.nan), 10)
        slates = np.where(first >= 0, np.take_along_axis(self.places, first, axis=1), -1)
        return float(np.mean(ndcg(hits(slates, relevant), relevant.counts)))


def _shortlists(trial: Recommender, histories: Histories) -> _Shortlists:
    """The items that some source has among its first 100 for the customer."""
    step = max(1, 500_000 // max(1, len(trial.item_ids)))
    chunks: list[_Shortlists] = []
    for start in range(0, histories.n_customers, step):
        part = histories.part(start, min(start + step, histories.n_customers))
        scores = [source.scores(part) for source in trial.sources]
        places = _distinct(np.concatenate([top_k(score, _SHORTLIST) for score in scores], axis=1))
        rows, held = np.arange(part.n_customers)[:, None], places >= 0
        chunks.append(
            _Shortlists(
                places,
                tuple(normalise(score)[rows, places] for score in scores),
                tuple(held & ~np.isnan(score[rows, places]) for score in scores),
            )
        )
    n_sources = len(trial.sources)
    return _Shortlists(
        np.concatenate([chunk.places for chunk in chunks]),
        tuple(np.concatenate([chunk.normalised[s] for chunk in chunks]) for s in range(n_sources)),
        tuple(np.concatenate([chunk.proposed[s] for chunk in chunks]) for s in range(n_sources)),
    )


def _best(trial: Recommender, histories: Histories, relevant: Relevant) -> BlendWeights:
    """The best mixture (als, popularity, buy_again) in steps of 0.2, then among its neighbours in steps of 0.1."""
    shortlists = _shortlists(trial, histories)
    coarse = [(a, p, 10 - a - p) for a in range(0, 11, 2) for p in range(0, 11 - a, 2)]
    found = {tenths: shortlists.quality([t / 10 for t in tenths], relevant) for tenths in coarse}
    als, popular, own = max(found, key=lambda tenths: found[tenths])
    for a, p in ((1, -1), (-1, 1), (1, 0), (-1, 0), (0, 1), (0, -1)):
        tenths = (als + a, popular + p, own - a - p)
        if min(tenths) >= 0:
            found[tenths] = shortlists.quality([t / 10 for t in tenths], relevant)
    best = max(found, key=lambda tenths: found[tenths])
    return BlendWeights(*(t / 10 for t in best))


def _distinct(places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each row sorted, with -1 in place of every repetition."""
    ordered = np.sort(places, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    return np.sort(ordered, axis=1)
