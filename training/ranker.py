"""Training a ranker on out-of-time candidates; it is used only where it beats the blend by more than noise.

The sources that propose are fitted on what was before the slice, the labels are what customers bought in it: so the
ranker sees scores as good as they will be, and not those of items that a source has already learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError
from serving.ranker import Ranker
from serving.ranking import Candidates, blend, gather, read_by, top_k
from serving.ranking_features import BLEND_SCORE, ItemFacts, feature_names, pair_features
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource, Excluded
from serving.trees import Trees, column_names
from training.recommender_metrics import Relevant, bootstrap_means, hits, ndcg
from training.recommender_report import Estimate, RankerChoice
from training.sources.settings import check_positive

__all__ = ["RankerSettings", "fit_ranker"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CUSTOMERS_AT_ONCE = 256
_K = 10


@dataclass(frozen=True)
class RankerSettings:
    """How a ranker is trained, and when it is used.

    Attributes:
        enabled: whether one is trained at all.
        all_items: whether one is for lists of anything.
        new_items: whether one is for lists that show nothing owned and have weights of their own.
        also_read: names of sources without weight that it reads too: they judge what the others propose. (On Online
            Retail their gain could not be told from nothing, and a request took half as long again.)
        trees: how many; there is no early stopping, as few customers make a poor judge of when to stop.
        leaves, min_rows_in_leaf, l2, learning_rate, feature_share, row_share, max_bins: LightGBM's parameters.
        blend_scale: the trees begin at the blend's score times this.
        min_customers: with fewer who turned to a candidate in the slice, the blend is used.
        max_customers: at most so many customers, drawn with the recommender's seed.
        max_pairs: so many customers are drawn that their candidates can be no more than these.
        folds: each customer is judged by trees of the other folds.
        n_replicates: of the bootstrap over customers.

    Raises:
        ConfigurationError: a number is out of range.
    """

    enabled: bool = True
    all_items: bool = True
    new_items: bool = False
    also_read: tuple[str, ...] = ()
    trees: int = 100
    leaves: int = 15
    min_rows_in_leaf: int = 100
    l2: float = 10.0
    learning_rate: float = 0.06
    feature_share: float = 0.6
    row_share: float = 0.8
    max_bins: int = 63
    blend_scale: float = 3.0
    min_customers: int = 500
    max_customers: int = 5_000
    max_pairs: int = 1_500_000
    folds: int = 2
    n_replicates: int = 300

    def __post_init__(self) -> None:
        check_positive(self, "recommender.ranker", zero=("l2",))
        if self.folds < 2:
            raise ConfigurationError(f"recommender.ranker.folds is {self.folds}; write a number above 1")


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Who is read, their weights in the blend, how many each with weight proposes, and whether nothing owned."""

    sources: Sequence[CandidateSource]
    weights: Sequence[float]
    candidates: int
    news: bool

    @property
    def asked(self) -> list[CandidateSource]:
        """The sources with weight."""
        return [source for source, weight in zip(self.sources, self.weights, strict=True) if weight > 0]

    def found(self, histories: Histories) -> Candidates:
        """What those with weight propose, as all see it."""
        owned = Excluded(histories.bought_offsets, histories.bought.items) if self.news else None
        found = gather(self.asked, histories, self.candidates, None, owned)
        return read_by(found, self.asked, self.sources, histories)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Candidates of n customers, one after the other.

    values: float64 (p, f). labels: float64 (p,), 1 for what was turned to. offsets: int64 (n + 1,). places: int64 (p,),
    of the catalogue, ascending within a customer. relevant: of the same customers.
    """

    values: Floats
    labels: Floats
    offsets: Ints
    places: Ints
    relevant: Relevant

    @property
    def n_customers(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> Ints:
        return np.repeat(np.arange(self.n_customers), np.diff(self.offsets))

    def rows_of(self, customers: Ints) -> Ints:
        """The rows of ascending customers."""
        return np.concatenate(
            [np.empty(0, np.int64), *(np.arange(self.offsets[c], self.offsets[c + 1]) for c in customers)]
        )

    def found(self, customers: Ints, scores: Floats) -> Floats:
        """NDCG@10 of each of some ascending customers, for the scores of their rows, one after the other."""
        sizes = np.diff(self.offsets)[customers]
        width = int(sizes.max(initial=0))
        inside = np.arange(width) < sizes[:, None]
        table, places = np.full(inside.shape, np.nan), np.full(inside.shape, -1, np.int64)
        table[inside], places[inside] = scores, self.places[self.rows_of(customers)]
        first = top_k(table, _K)
        slates = np.where(first >= 0, np.take_along_axis(places, np.maximum(first, 0), axis=1), -1)
        relevant = self.relevant.select(customers)
        return ndcg(hits(slates, relevant), relevant.counts)


def fit_ranker(
    sources: Sequence[CandidateSource],
    weights: Sequence[float],
    facts: ItemFacts,
    histories: Histories,
    relevant: Relevant,
    settings: RankerSettings,
    *,
    candidates: int,
    seed: int,
    news: bool = False,
) -> tuple[Ranker | None, RankerChoice]:
    """The ranker, or None where the blend is to be used, and why.

    Every customer is judged by trees that were fitted on others; the ranker that is returned is then fitted on all.

    Args:
        sources: fitted on what was before the customers' relevant items.
        weights: of the sources in the blend; one of weight 0 proposes nothing, but is read.
        facts: of the items, by the same sources.
        histories: of the customers, as of before.
        relevant: what the same customers turned to after it; each has at least one.
        settings: how to train.
        candidates: each source with weight proposes so many.
        seed: of the folds and the trees; same seed, same bits.
        news: customers are not shown what they own.
    """
    rng = np.random.default_rng(seed)
    mixture = _Mixture(sources, weights, candidates, news)
    drawn = _drawn(histories.n_customers, min(candidates * len(mixture.asked), facts.n_items), settings, rng)
    pairs = _pairs(mixture, facts, histories.select(drawn), relevant.select(drawn))
    useful = np.flatnonzero(np.bincount(pairs.owners, pairs.labels, minlength=pairs.n_customers))
    if len(useful) < settings.min_customers:
        reason = f"{len(useful)} customers turned to a candidate, fewer than {settings.min_customers}"
        return None, RankerChoice(used=False, reason=reason, n_customers=len(useful))
    weights_by_name = {source.name: weight for source, weight in zip(sources, weights, strict=True)}
    rows = _Rows(pairs, weights_by_name, settings, seed)
    blended, learned = _judged(rows, rng.permutation(pairs.n_customers), useful)
    intervals = bootstrap_means(np.column_stack((blended, learned, learned - blended)), rng, settings.n_replicates)
    of_blend, of_ranker, gain = (Estimate(*one) for one in intervals.tolist())
    used = gain.ci_low > 0
    reason = "it beats the blend by more than noise" if used else "it does not beat the blend by more than noise"
    choice = RankerChoice(used, reason, pairs.n_customers, of_blend, of_ranker, gain)
    return (rows.ranker(useful) if used else None), choice


def _judged(rows: _Rows, order: Ints, useful: Ints) -> tuple[Floats, Floats]:
    """NDCG@10 of the blend, and of a ranker that has not seen the customer, float64 (n,) each."""
    pairs, folds = rows.pairs, rows.settings.folds
    learned = np.empty(pairs.n_customers)
    for fold in range(folds):
        held_out = np.sort(order[fold::folds])
        ranker = rows.ranker(np.setdiff1d(useful, held_out))
        learned[held_out] = pairs.found(held_out, rows.scores(ranker, held_out))
    return pairs.found(np.arange(pairs.n_customers), rows.blended), learned


class _Rows:
    """The pairs in LightGBM's bins, from which every ranker takes its customers."""

    def __init__(self, pairs: _Pairs, weights: Mapping[str, float], settings: RankerSettings, seed: int) -> None:
        self.pairs, self.settings, self.weights = pairs, settings, weights
        self.names = feature_names(tuple(weights))
        self._parameters: dict[str, object] = {
            "objective": "lambdarank",
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.min_rows_in_leaf,
            "lambda_l2": settings.l2,
            "learning_rate": settings.learning_rate,
            "feature_fraction": settings.feature_share,
            "bagging_fraction": settings.row_share,
            "bagging_freq": 1,
            "max_bin": settings.max_bins,
            "feature_pre_filter": False,
            "force_row_wise": True,
            "deterministic": True,
            "num_threads": 1,
            "seed": seed % (1 << 31),
            "verbosity": -1,
        }
        names = list(column_names(self.names))
        self._dataset = lgb.Dataset(pairs.values, pairs.labels, feature_name=names, params=self._parameters).construct()

    @property
    def blended(self) -> Floats:
        """float64 (p,): the blend's score of every pair."""
        found: Floats = self.pairs.values[:, self.names.index(BLEND_SCORE)]
        return found

    def scores(self, ranker: Ranker, customers: Ints) -> Floats:
        """What a ranker gives to the candidates of ascending customers, one after the other."""
        rows = self.pairs.rows_of(customers)
        found: Floats = ranker.scores(self.pairs.values[rows][None], self.blended[rows][None])[0]
        return found

    def _part(self, customers: Ints) -> lgb.Dataset:
        rows = self.pairs.rows_of(customers)
        part = self._dataset.subset(rows.tolist(), params=dict(self._parameters)).construct()
        part.set_label(self.pairs.labels[rows]).set_group(np.diff(self.pairs.offsets)[customers])
        return part.set_init_score(self.settings.blend_scale * self.blended[rows])

    def ranker(self, customers: Ints) -> Ranker:
        """Trees fitted on ascending customers; each turned to one of its candidates."""
        booster = lgb.train(dict(self._parameters), self._part(customers), self.settings.trees)
        trees = Trees(self.names, booster.model_to_string(), "lambdarank")
        return Ranker(tuple(self.weights), tuple(self.weights.values()), trees, self.settings.blend_scale)


def _drawn(n_customers: int, most_candidates: int, settings: RankerSettings, rng: np.random.Generator) -> Ints:
    """Ascending rows of customers drawn at random, as many as there may be."""
    most = min(settings.max_customers, max(1, settings.max_pairs // max(1, most_candidates)))
    return np.sort(rng.permutation(n_customers)[:most])


def _pairs(mixture: _Mixture, facts: ItemFacts, histories: Histories, relevant: Relevant) -> _Pairs:
    names = [source.name for source in mixture.sources]
    values, labels = [np.empty((0, len(feature_names(names))))], [np.empty(0)]
    places, sizes = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
    for start in range(0, histories.n_customers, _CUSTOMERS_AT_ONCE):
        stop = min(start + _CUSTOMERS_AT_ONCE, histories.n_customers)
        part = histories.part(start, stop)
        found = mixture.found(part)
        total = blend(found, [np.full(part.n_customers, weight) for weight in mixture.weights]).total
        there = found.places >= 0
        values.append(pair_features(names, found, total, part, facts)[there])
        labels.append(hits(found.places, relevant.select(np.arange(start, stop)))[there].astype(np.float64))
        places.append(found.places[there])
        sizes.append(there.sum(axis=1))
    offsets = np.cumsum(np.concatenate(sizes))
    return _Pairs(np.concatenate(values), np.concatenate(labels), offsets, np.concatenate(places), relevant)
