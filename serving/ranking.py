"""From the proposals of several candidate sources to one order: gather, normalise, blend, cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError
from serving.sources.histories import Histories
from serving.sources.source import Bools, CandidateSource, Excluded, Ints

__all__ = [
    "Asked",
    "Blended",
    "Candidates",
    "Ranked",
    "blend",
    "check_weights",
    "gather",
    "given_places",
    "judge",
    "normalise",
    "rank",
    "read_by",
    "top_k",
    "total",
]

Floats = npt.NDArray[np.float64]
_DECIMALS = 9


@dataclass(frozen=True)
class Candidates:
    """What n customers may be shown, with what every source asked thinks of it.

    Attributes:
        places: int64 (n, m), catalogue positions, ascending and distinct in a row; -1 where a row has fewer.
        scores: float32 (n, m) for each source; NaN where it has nothing to say.
        best: float32 (n,) for each source, its best score for the customer in the whole catalogue; NaN for none.
    """

    places: Ints
    scores: tuple[npt.NDArray[np.float32], ...]
    best: tuple[npt.NDArray[np.float32], ...]

    @cached_property
    def normalised(self) -> tuple[Floats, ...]:
        """The scores of each source made alike by `normalise`."""
        return tuple(normalise(one, best) for one, best in zip(self.scores, self.best, strict=True))


@dataclass(frozen=True)
class Asked:
    """Which sources are asked, and how much each counts: float64 (n,) for each."""

    sources: tuple[CandidateSource, ...]
    weights: tuple[Floats, ...]


@dataclass(frozen=True)
class Ranked:
    """The best k of n customers.

    Attributes:
        places: int64 (n, k), -1 behind the last.
        scores: float64 (n, k), of no meaning behind the last.
        source: int64 (n, k), which of the sources asked contributed most.
    """

    places: Ints
    scores: Floats
    source: Ints


def gather(
    sources: Sequence[CandidateSource],
    histories: Histories,
    limit: int | Sequence[int],
    allowed: Bools | None = None,
    excluded: Excluded | None = None,
    weights: Sequence[Floats] | None = None,
) -> Candidates:
    """The first `limit` of each source together, each judged by every source; a limit for all or one for each.

    A source proposes nothing to customers for whom it has the weight 0; `weights` are as in `Asked`.
    """
    if not sources:
        return Candidates(np.empty((histories.n_customers, 0), np.int64), (), ())
    limits = [limit] * len(sources) if isinstance(limit, int) else limit
    found = [source.propose(histories, own, allowed, excluded) for source, own in zip(sources, limits, strict=True)]
    proposed = [one.places for one in found]
    if weights is not None:
        proposed = [np.where(w[:, None] > 0, one, -1) for one, w in zip(proposed, weights, strict=True)]
    return _judged(sources, histories, _distinct(np.concatenate(proposed, axis=1)), [one.best for one in found])


def judge(sources: Sequence[CandidateSource], histories: Histories, places: Ints) -> Candidates:
    """What every source thinks of given places (n, m), distinct in a row, -1 for none."""
    return _judged(sources, histories, places, [source.propose(histories, 1).best for source in sources])


def read_by(
    found: Candidates, asked: Sequence[CandidateSource], readers: Sequence[CandidateSource], histories: Histories
) -> Candidates:
    """The same candidates with what the readers think of them; whom they were gathered by is not asked again."""
    if tuple(readers) == tuple(asked):
        return found
    further = [source for source in readers if source not in asked]
    added = judge(further, histories, found.places)
    scores = dict(zip((*asked, *further), (*found.scores, *added.scores), strict=True))
    best = dict(zip((*asked, *further), (*found.best, *added.best), strict=True))
    return Candidates(found.places, tuple(scores[one] for one in readers), tuple(best[one] for one in readers))


def _judged(sources: Sequence[CandidateSource], histories: Histories, places: Ints, best: Sequence[Ints]) -> Candidates:
    scores, tops = [], []
    for source, top in zip(sources, best, strict=True):
        found = source.scores(histories, np.concatenate([top[:, None], places], axis=1))
        tops.append(found[:, 0])
        scores.append(found[:, 1:])
    return Candidates(places, tuple(scores), tuple(tops))


def _distinct(places: Ints) -> Ints:
    """Each row ascending without repetitions, filled up with -1 in front, as narrow as the fullest row."""
    ordered = np.sort(places, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    ordered = np.sort(ordered, axis=1)
    fullest = int((ordered >= 0).sum(axis=1).max(initial=0))
    return ordered[:, ordered.shape[1] - fullest :]


def given_places(places: Ints, n_customers: int, owned: Excluded | None) -> Ints:
    """int64 (n, m): the same places for everyone, -1 where the customer owns the item."""
    found = np.broadcast_to(places, (n_customers, len(places))).copy()
    if owned is not None:
        for row in range(n_customers):
            found[row, np.isin(places, owned.of(row))] = -1
    return found


def check_weights(weights: Mapping[str, float], where: str) -> None:
    """Weights of sources by name: a source that is not named, or has weight 0, is not asked.

    Raises:
        ConfigurationError: a weight is negative or not finite, or none is above 0.
    """
    if not all(math.isfinite(w) and w >= 0 for w in weights.values()) or not sum(weights.values()) > 0:
        raise ConfigurationError(f"blend weights must be finite, at least 0 and not all 0; see [{where}]")


def normalise(scores: npt.NDArray[np.floating], best: npt.NDArray[np.floating]) -> Floats:
    """One source's scores (n, m) as shares of its best for the customer, (n,); nothing to say (NaN) becomes 0.

    Where the best is not above 0, the scores stay as they are.

    >>> normalise(np.array([[4.0, -1.0, np.nan], [3.0, 1.0, 2.0]]), np.array([4.0, 6.0])).tolist()
    [[1.0, -0.25, 0.0], [0.5, 0.16666666666666666, 0.3333333333333333]]
    """
    top = best.astype(np.float64)[:, None]
    exact = scores.astype(np.float64)
    return np.where(np.isnan(exact), 0.0, exact / np.where(top > 0, top, 1.0))


@dataclass(frozen=True)
class Blended:
    """The sources put together.

    Attributes:
        total: float64 (n, m).
        shares: what each source contributed, float64 (n, m) each.
        proposed: bool (n, m), true where a source with weight has something to say.
    """

    total: Floats
    shares: tuple[Floats, ...]
    proposed: Bools


def blend(found: Candidates, weights: Sequence[Floats]) -> Blended:
    """The weighted sum of normalised scores.

    Rounded to 9 decimals, so that a customer alone and the same customer among others get the same slate.

    Args:
        found: candidates judged by at least one source.
        weights: float64 (n,) for each source, at least 0.
    """
    shares = tuple(weight[:, None] * part for part, weight in zip(found.normalised, weights, strict=True))
    proposed = np.zeros(found.places.shape, np.bool_)
    for part, weight in zip(found.scores, weights, strict=True):
        proposed |= ~np.isnan(part) & (weight[:, None] > 0)
    return Blended(total(shares), shares, proposed)


def rank(
    found: Candidates,
    asked: Asked,
    k: int,
    *,
    keep: bool = False,
    liked: bool = False,
    scores: Floats | None = None,
    blended: Blended | None = None,
) -> Ranked:
    """The best k candidates of each customer, ties by place.

    Args:
        found: candidates judged by the sources asked.
        asked: the sources and their weights.
        k: at least 1.
        keep: candidates of which no source with weight has anything to say are ranked too, last.
        liked: only those with a score above 0.
        scores: float64 (n, m), what decides in place of the blend's total.
        blended: what `blend` makes of them, where it is known.
    """
    n = len(found.places)
    if not found.places.shape[1]:
        return Ranked(np.full((n, k), -1, np.int64), np.zeros((n, k)), np.zeros((n, k), np.int64))
    blended = blended or blend(found, asked.weights)
    shown = found.places >= 0
    if not keep:
        shown &= blended.proposed
    deciding = blended.total if scores is None else scores
    if liked:
        shown &= deciding > 0
    columns = top_k(np.where(shown, deciding, np.nan), k)
    at = np.maximum(columns, 0)
    shares = [
        np.where(weight[:, None] > 0, np.take_along_axis(share, at, axis=1), -np.inf)
        for weight, share in zip(asked.weights, blended.shares, strict=True)
    ]
    return Ranked(
        np.where(columns >= 0, np.take_along_axis(found.places, at, axis=1), -1),
        np.take_along_axis(deciding, at, axis=1),
        np.argmax(np.stack(shares), axis=0),
    )


def total(shares: Sequence[Floats]) -> Floats:
    """The sum of at least one share, rounded as `blend` says."""
    return np.round(sum(shares[1:], shares[0]), _DECIMALS)


def top_k(scores: Floats, k: int) -> Ints:
    """int64 (n, k): columns of the k largest scores of each row, best first, ties by column; -1 behind the last.

    >>> top_k(np.array([[1.0, 3.0, np.nan, 3.0], [np.nan, np.nan, 2.0, np.nan]]), 3).tolist()
    [[1, 3, 0], [2, -1, -1]]
    """
    n_rows, n_columns = scores.shape
    best = np.full((n_rows, k), -1, np.int64)
    negated = np.where(np.isnan(scores), np.inf, -scores)
    order = np.argsort(negated, axis=1, kind="stable")[:, :k]
    taken = np.take_along_axis(negated, order, axis=1) < np.inf
    best[:, : min(k, n_columns)] = np.where(taken, order, -1)
    return best
