"""The next basket: what this customer buys again and again, and what the customers most like them do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.sources.histories import PURCHASE, Histories
from serving.sources.parts import Shape, arrays_of
from serving.sources.source import Arrays, Ints
from serving.sources.sparse_rows import Reached, ReachingSource, summed_cells

__all__ = ["BasketDecay", "NextBasketSource"]

Floats = npt.NDArray[np.float64]

_SPARSE = 8
"""Where fewer entries than one customer in so many are met, these alone are looked at."""
_SHAPES = {
    "offsets": Shape(np.int64, 1, least=0),
    "items": Shape(np.int32, 1, least=0),
    "weights": Shape(np.float32, 1, above=0),
    "popularity": Shape(np.float64, 1, least=0, most=1),
}


@dataclass(frozen=True)
class BasketDecay:
    """How baskets become a vector. A basket is what was bought at one instant.

    The last `group_size` baskets are a group, the ones before them another, and so on. Within a group of k baskets the
    one r places back counts `within ** r / k`; of g groups the one q places back counts `between ** q / g`.

    Attributes:
        group_size: at least 1.
        within, between: in (0, 1].
        last: so many baskets are read, the last ones.

    Source: Hu et al. (2020), Modeling personalized item frequency information for next-basket recommendation, SIGIR,
    eq. 1 and 2 (TIFU-kNN).
    """

    group_size: int = 3
    within: float = 0.9
    between: float = 0.7
    last: int = 100

    def of(self, histories: Histories, row: int) -> tuple[Ints, Floats]:
        """Items bought by one customer, int64 (h,), ascending and distinct, and their weights float64 (h,).

        >>> decay = BasketDecay(group_size=2, within=0.5, between=0.1)
        >>> histories = Histories.of_baskets([[[0], [1], [1, 2]]], 3)
        >>> items, weights = decay.of(histories, 0)
        >>> weights.round(3).tolist()  # the groups are {0} and {1}, {1, 2}
        [0.05, 0.375, 0.25]
        """
        cells = slice(histories.steps.offsets[row], histories.steps.offsets[row + 1])
        bought = histories.steps.kinds[cells] == PURCHASE
        items, times = histories.steps.items[cells][bought], histories.steps.times_us[cells][bought]
        if not len(items):
            return np.empty(0, np.int64), np.empty(0)
        first = np.ones(len(items), np.bool_)  # a second line of an item in one basket is no second purchase
        first[1:] = (np.diff(times) > 0) | (np.diff(items) > 0)
        items, times = items[first], times[first]
        back = np.concatenate((np.cumsum((np.diff(times) > 0)[::-1])[::-1], [0]))
        kept = back < self.last
        items, back = items[kept], back[kept]
        n_baskets = int(back[0]) + 1
        group, within = back // self.group_size, back % self.group_size
        size = np.minimum(self.group_size, n_baskets - group * self.group_size)
        n_groups = -(-n_baskets // self.group_size)
        weights = self.within**within / size * self.between ** group.astype(np.float64) / n_groups
        distinct, which = np.unique(items, return_inverse=True)
        return distinct, np.asarray(np.bincount(which, weights, minlength=len(distinct)), np.float64)


@dataclass(frozen=True, eq=False)
class NextBasketSource(ReachingSource):
    """The score of an item: `own_share * own weight + (1 - own_share) * mean weight of the nearest customers`.

    The nearest are those of least Euclidean distance between vectors (see `BasketDecay`). Nobody's id is kept: who was
    there at the fit is near to themselves, one of many. Ties are broken by popularity, which counts a millionth of its
    share, and an item that neither holds is not proposed. Who has bought nothing gets nothing.

    Attributes:
        offsets: int64 (m + 1,); the vector of a customer is `offsets[i]:offsets[i + 1]` of items and weights.
        items: int32, catalogue positions, ascending within a customer.
        weights: float32, above 0.
        popularity: float64 (n_items,), share of the purchases, in [0, 1].
        neighbours: so many customers are near; 0: the customer's own goods alone.
        own_share: in [0, 1].
        decay: of baskets.
        name: the word for the source.

    Source: Hu et al. (2020), as above, eq. 3.
    """

    kind: ClassVar[str] = "next_basket"

    offsets: Ints
    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    popularity: Floats
    neighbours: int
    own_share: float
    decay: BasketDecay
    name: str = "next_basket"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.popularity)

    @cached_property
    def _by_item(self) -> tuple[Ints, Ints, Floats]:
        """Offsets of each item, the customers whose vectors hold it, and its weights there."""
        whose = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        order = np.argsort(self.items, kind="stable")
        starts = np.searchsorted(self.items[order], np.arange(self.n_items + 1))
        return starts, whose[order], self.weights[order].astype(np.float64)

    @cached_property
    def _lengths(self) -> Floats:
        """float64 (m,): the squared length of each vector."""
        whose = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        squares = np.bincount(whose, self.weights.astype(np.float64) ** 2, minlength=len(self.offsets) - 1)
        return np.asarray(squares, np.float64)

    def _near(self, own: Ints, weights: Floats) -> Ints:
        """The nearest customers, the first among equals."""
        starts, whose, held = self._by_item
        sizes = starts[own + 1] - starts[own]
        ends = np.cumsum(sizes)
        cells = np.repeat(starts[own] - (ends - sizes), sizes) + np.arange(int(ends[-1]))
        n, products = len(self._lengths), held[cells] * np.repeat(weights, sizes)
        if self.neighbours >= n:
            return np.arange(n)
        if len(cells) * _SPARSE < n:  # few share an item; of the others, none but the shortest can be near
            met, which = np.unique(whose[cells], return_inverse=True)
            rows = np.union1d(met, self._shortest[: self.neighbours + len(met)])
            distance = self._lengths[rows]
            distance[np.searchsorted(rows, met)] -= 2.0 * np.bincount(which, products, minlength=len(met))
            return rows[self._least(distance)]
        return self._least(self._lengths - 2.0 * np.bincount(whose[cells], products, minlength=n))

    @cached_property
    def _shortest(self) -> Ints:
        """The rows by the lengths of their vectors, ascending, ties by row."""
        return np.argsort(self._lengths, kind="stable")

    def _least(self, distance: Floats) -> Ints:
        """The places of the least distances, the first among equals."""
        limit = np.partition(distance, self.neighbours - 1)[self.neighbours - 1]
        closer = np.flatnonzero(distance < limit)
        level = np.flatnonzero(distance == limit)[: self.neighbours - len(closer)]
        return np.concatenate((closer, level))

    def reached(self, histories: Histories) -> Reached:
        """What the customer and the nearest have bought."""
        return Reached.of_rows(self.n_items, [self._next(histories, row) for row in range(histories.n_customers)])

    def _next(self, histories: Histories, row: int) -> tuple[Ints, Floats]:
        own, weights = self.decay.of(histories, row)
        if not len(own):
            return own, weights
        reached, added = [own], [weights * self.own_share]
        if self.neighbours and len(self._lengths):
            near = self._near(own, weights)
            starts, sizes = self.offsets[near], self.offsets[near + 1] - self.offsets[near]
            ends = np.cumsum(sizes)
            cells = np.repeat(starts - (ends - sizes), sizes) + np.arange(int(ends[-1]))
            reached.append(self.items[cells].astype(np.int64))
            added.append(self.weights[cells].astype(np.float64) * ((1.0 - self.own_share) / len(near)))
        places, sums = summed_cells(np.concatenate(reached), np.concatenate(added), self.n_items)
        return places, sums + 1e-6 * self.popularity[places]

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        decay = {name: getattr(self.decay, name) for name in _WHOLE[1:] + _SHARES[1:]}
        settings = {"name": self.name, "neighbours": self.neighbours, "own_share": self.own_share}
        return settings | decay, {name: getattr(self, name) for name in _SHAPES}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        offsets, items, weights, popularity = arrays_of(arrays, _SHAPES)
        held = len(offsets) > 0 and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
        if not held or not offsets[-1] == len(items) == len(weights):
            raise ArtefactError("the offsets do not go with items and weights; fit and release anew")
        if len(items) and items.max() >= len(popularity):
            raise ArtefactError("items must be catalogue positions; fit and release anew")
        whole = [settings.get(name) for name in _WHOLE]
        shares = [settings.get(name) for name in _SHARES]
        counted = [one for one in whole if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
        shared = [float(one) for one in shares if isinstance(one, int | float) and 0 <= one <= 1]
        if (
            len(counted) < len(whole)
            or len(shared) < len(shares)
            or not counted[1]
            or not isinstance(settings.get("name"), str)
        ):
            raise ArtefactError(f"the settings must be {', '.join(('name', *_WHOLE, *_SHARES))}; fit and release anew")
        decay = BasketDecay(counted[1], shared[1], shared[2], counted[2])
        return cls(offsets, items, weights, popularity, counted[0], shared[0], decay, settings["name"])


_WHOLE = ("neighbours", "group_size", "last")
_SHARES = ("own_share", "within", "between")
