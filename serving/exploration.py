"""Thompson sampling on chosen slots of a slate, and the exact chance with which each shown item stood there.

On an exploring slot the item is drawn by its probability of being the best of the items that may stand there, as far as
anybody knows: the rate of each item's response is believed to be a Beta, its log-odds taken as normal with the same
mean and variance. That probability is worked out, not sampled, and the slot is drawn from the very numbers that are
logged; so a propensity is exact, and the same random numbers give the same slate.

Source: Thompson 1933; Chapelle and Li 2011, An empirical evaluation of Thompson sampling; the floor is the even share
mixed in by Exp3 (Auer and others 2002), so that no logged propensity is smaller than an evaluation can use.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, psi, zeta

from features.errors import ConfigurationError, DataError
from serving.arranging import RANKED, Arranged
from serving.sources.parts import Shape, arrays_of

__all__ = [
    "ExplorationSettings",
    "Explored",
    "ItemBeliefs",
    "best_probabilities",
    "explore",
    "explore_arranged",
    "rng_of",
    "slot_propensities",
]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_REACH, _LEAST_STEPS, _GRID = 4.5, 11, 400


@dataclass(frozen=True)
class ExplorationSettings:
    """Where and how widely a slate explores.

    Attributes:
        slots: positions that explore, 1 is the first; none by default, so nothing explores unless told to.
        floor: least propensity of an item that may stand on an exploring slot.
        candidates: how many of the best ranked items not shown elsewhere may stand on an exploring slot; fewer where
            the floor allows fewer, since floors of all cannot exceed 1.

    Raises:
        ConfigurationError: a number is out of range, or a slot is named twice.
    """

    slots: tuple[int, ...] = ()
    floor: float = 0.01
    candidates: int = 30

    def __post_init__(self) -> None:
        if any(slot < 1 for slot in self.slots) or len(set(self.slots)) < len(self.slots):
            raise ConfigurationError(f"exploration.slots is {self.slots}; write positions from 1 on, each once")
        if not 0.0 < self.floor <= 0.5:
            raise ConfigurationError(f"exploration.floor is {self.floor}; write a probability above 0, at most 0.5")
        if self.candidates < 2:
            raise ConfigurationError(f"exploration.candidates is {self.candidates}; write at least 2")

    @property
    def pool(self) -> int:
        """How many items an exploring slot is drawn from, at most."""
        return min(self.candidates, math.floor(1.0 / self.floor + 1e-9))


@dataclass(frozen=True, eq=False)
class ItemBeliefs:
    """What is believed of every item's rate of response.

    Attributes:
        means: float32 (n_items,), of the log-odds.
        deviations: float32 (n_items,), above 0: standard deviation of the log-odds.
    """

    means: npt.NDArray[np.float32]
    deviations: npt.NDArray[np.float32]

    @classmethod
    def of_counts(cls, responded: Floats, shown: Floats, prior_responded: float, prior_shown: float) -> ItemBeliefs:
        """Beliefs from counts of distinct customers.

        The rate is Beta(a, b) with a = prior_responded + responded and b = prior_shown - prior_responded + shown -
        responded; its log-odds have mean psi(a) - psi(b) and variance psi'(a) + psi'(b).

        Args:
            responded: float64 (n_items,), customers who responded.
            shown: float64 (n_items,), customers to whom the item was shown, not fewer.
            prior_responded: what counts as seen of every item beforehand, above 0.
            prior_shown: likewise, above prior_responded.

        Raises:
            DataError: counts or priors cannot be.

        >>> ItemBeliefs.of_counts(np.array([0.0, 9.0]), np.array([0.0, 18.0]), 1.0, 2.0).means.tolist()
        [0.0, 0.0]
        """
        if not (np.all(responded >= 0.0) and np.all(shown >= responded) and 0.0 < prior_responded < prior_shown):
            raise DataError(
                "beliefs of items: counts must be 0 or more, and nobody responds who was not shown the item"
            )
        a = prior_responded + responded
        b = prior_shown - prior_responded + shown - responded
        deviations = np.sqrt(zeta(2.0, a) + zeta(2.0, b))  # the trigamma function is zeta(2, .)
        return cls((psi(a) - psi(b)).astype(np.float32), deviations.astype(np.float32))

    def to_parts(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays, by name."""
        return {"means": self.means, "deviations": self.deviations}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read `to_parts`.

        Raises:
            ArtefactError: arrays are missing, too many, or not as documented.
        """
        wanted = {"means": Shape(np.float32, 1), "deviations": Shape(np.float32, 1, above=0)}
        means, deviations = arrays_of(arrays, wanted, same_length=True)
        return cls(means, deviations)


@dataclass(frozen=True, eq=False)
class Explored:
    """A slate with its chances.

    Attributes:
        order: int64 (k,), indices into the ranked items, in the order of the slate.
        propensities: float64 (k,) in (0, 1]: of each item at its slot, given what stands on the slots that do not
            explore and on the exploring slots above; 1 where nothing was drawn.
        explored: bool (k,), whether the slot was drawn.
    """

    order: Places
    propensities: Floats
    explored: npt.NDArray[np.bool_]


def best_probabilities(means: Floats, deviations: Floats) -> Floats:
    """float64 (m,): for independent normals, the probability of each to be the largest; they sum to 1.

    The chance that the largest lies in a cell of a grid, made of all items' own quantiles, is shared among the items as
    their log-distribution functions rise there: d prod(F) = prod(F) sum(d log F).

    Two with difference 1 and variance 1 between them: the normal distribution function at 1.

    >>> best_probabilities(np.array([1.0, 0.0]), np.array([0.6, 0.8])).round(3).tolist()
    [0.841, 0.159]
    """
    own = np.linspace(-_REACH, _REACH, max(_LEAST_STEPS, _GRID // means.size))
    grid = np.sort((means[:, None] + deviations[:, None] * own).ravel())
    log_below = log_ndtr((grid[:, None] - means) / deviations)
    rise = np.diff(log_below, axis=0)
    mass = np.diff(np.exp(log_below.sum(axis=1)))
    total = rise.sum(axis=1)
    share = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0.0)
    found = share @ rise
    return np.asarray(found / found.sum(), dtype=np.float64)


def slot_propensities(means: Floats, deviations: Floats, floor: float) -> Floats:
    """float64 (m,): the chance of each item on an exploring slot, none below the floor; they sum to 1.

    The floor of everybody is set aside first: p = floor + (1 - m floor) P(best). More items than the floor allows are
    shown evenly.

    >>> slot_propensities(np.array([5.0, 0.0]), np.array([0.1, 0.1]), 0.2).round(3).tolist()
    [0.8, 0.2]
    """
    m = means.size
    if m * floor >= 1.0:
        return np.full(m, 1.0 / m)
    return floor + (1.0 - m * floor) * best_probabilities(means, deviations)


def explore(
    means: Floats,
    deviations: Floats,
    limit: int,
    settings: ExplorationSettings,
    rng: np.random.Generator,
    fixed: npt.NDArray[np.bool_] | None = None,
) -> Explored:
    """Make a slate of ranked items: the best on the slots that do not explore, drawn ones on those that do.

    Slots that do not explore take the best ranked items in their order. An exploring slot is drawn from the best of
    the rest, without what stands on exploring slots above it. The slate is shorter where there are fewer items.

    Args:
        means: float64 (n,), believed log-odds of the ranked items, best ranked first.
        deviations: float64 (n,), their standard deviations.
        limit: how many slots there are.
        settings: where to explore.
        rng: one number is drawn a slot that explores.
        fixed: bool (n,), items that keep their position whatever is drawn, such as pinned and sponsored ones; None
            where there are none. Their slots do not explore, and behind the limit they are not drawn.
    """
    length = min(limit, means.size)
    still = np.zeros(means.size, np.bool_) if fixed is None else fixed
    slots = sorted(slot - 1 for slot in settings.slots if slot <= length and not still[slot - 1])
    drawn = np.zeros(length, np.bool_)
    drawn[slots] = True
    order, propensities = np.arange(length, dtype=np.int64), np.ones(length)
    movable, greedy = np.flatnonzero(~still), np.flatnonzero(~still[:length] & ~drawn)
    order[greedy] = movable[: greedy.size]
    rest = movable[greedy.size :]
    for slot in slots:
        pool = rest[: settings.pool]
        chances = slot_propensities(means[pool].astype(np.float64), deviations[pool].astype(np.float64), settings.floor)
        taken = min(int(np.searchsorted(chances.cumsum(), rng.random(), side="right")), pool.size - 1)
        order[slot], propensities[slot] = pool[taken], chances[taken]
        rest = np.delete(rest, taken)
    return Explored(order, propensities, drawn)


def explore_arranged(
    arranged: Arranged, beliefs: ItemBeliefs, k: int, settings: ExplorationSettings, rng: np.random.Generator
) -> tuple[Arranged, Explored]:
    """The first k places of an arranged list, with drawn items on its exploring slots.

    Slots are counted over all pages. Pinned and sponsored items stay; what is drawn stays "ranked", and need not be as
    unlike its neighbours as diversity would have it.

    Args:
        arranged: longer than k by `settings.pool`, where there are so many items; without the rest of the list there
            is nothing to draw from.
        beliefs: of the catalogue's items.
        k: items wanted.
        settings: where to explore.
        rng: one number is drawn a slot that explores.
    """
    before = arranged.first_position - 1
    here = replace(settings, slots=tuple(slot - before for slot in settings.slots if slot > before))
    fixed = np.array([kind != RANKED for kind in arranged.shown_as], dtype=np.bool_)
    means = beliefs.means[arranged.places].astype(np.float64)
    deviations = beliefs.deviations[arranged.places].astype(np.float64)
    found = explore(means, deviations, k, here, rng, fixed)
    shown = replace(
        arranged,
        places=arranged.places[found.order],
        scores=arranged.scores[found.order],
        shown_as=tuple(arranged.shown_as[place] for place in found.order.tolist()),
        boosts=arranged.boosts[found.order],
        more=arranged.more or arranged.places.size > found.order.size,
    )
    return shown, found


def rng_of(recommendation_id: str) -> np.random.Generator:
    """The chance of one answer, told by its id: whoever has the id can draw the slate again.

    >>> rng_of("r-1").random() == rng_of("r-1").random()
    True
    """
    return np.random.default_rng(int.from_bytes(hashlib.sha256(recommendation_id.encode()).digest()[:16], "big"))
