"""Sessions like this one: what was done beside the same items by others, soon after and lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.parts import Shape, arrays_of, positive_numbers
from serving.sources.recent_steps import RecentSteps
from serving.sources.source import Arrays, Ints
from serving.sources.sparse_rows import Reached, ReachingSource, summed_cells

__all__ = ["SessionKnnSource"]

Floats = npt.NDArray[np.float64]

_SHAPES = {
    "offsets": Shape(np.int64, 1, least=0),
    "items": Shape(np.int32, 1, least=0),
    "ended_days": Shape(np.int32, 1),
    "popularity": Shape(np.int64, 1, least=0),
}


@dataclass(frozen=True, eq=False)
class SessionKnnSource(ReachingSource):
    """Item j scores the sum over the nearest sessions n that hold it of `similarity of n * 2 ** -(distance / reach)`.

    The similarity of a session is the sum of the weights of the customer's last steps that it holds, divided by the
    square root of its length, times `2 ** -(days before the newest session / half-life)`. The distance is counted in
    places between j and the latest item of the session that the customer's steps hold. Sessions hold no id and no
    instant, but the day on which they ended.

    Attributes:
        offsets: int64 (n_sessions + 1,); session s is `items[offsets[s]:offsets[s + 1]]`.
        items: int32 (m,), catalogue positions in the order of time, distinct within a session.
        ended_days: int32 (n_sessions,), days since 1970, ascending.
        popularity: int64 (n_items,), sessions that hold each item.
        neighbours: so many sessions are summed, those most alike, later ones first among equals.
        most_sessions: so many sessions of each item are compared, the last ones.
        half_life_days: above 0.
        reach: above 0, places.
        rarity_power: a score is divided by `popularity ** rarity_power`.
        steps: how the customer's own steps are weighed.

    Source: Ludewig and Jannach (2018), Evaluation of session-based recommendation algorithms, UMUAI 28, section 3.2.3
    (V-SKNN); the three decays after Garg et al. (2019), Sequence and time aware neighborhood for session-based
    recommendations, SIGIR, eq. 2-5 (STAN), as halvings instead of exponentials.
    """

    kind: ClassVar[str] = "session_knn"

    offsets: Ints
    items: npt.NDArray[np.int32]
    ended_days: npt.NDArray[np.int32]
    popularity: Ints
    neighbours: int
    most_sessions: int
    half_life_days: float
    reach: float
    rarity_power: float = 0.0
    steps: RecentSteps = field(default_factory=RecentSteps)
    name: str = "session_knn"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return len(self.popularity)

    @cached_property
    def _by_item(self) -> tuple[Ints, Ints]:
        """Offsets of each item, and the sessions that hold it, ascending."""
        whose = np.repeat(np.arange(len(self.ended_days)), np.diff(self.offsets))
        order = np.argsort(self.items, kind="stable")
        return np.searchsorted(self.items[order], np.arange(self.n_items + 1)), whose[order]

    @cached_property
    def _worth(self) -> Floats:
        """float64 (n_sessions,): by length and age."""
        length = np.maximum(np.diff(self.offsets), 1)
        newest = self.ended_days[-1] if len(self.ended_days) else 0
        worth = np.exp2((self.ended_days - float(newest)) / self.half_life_days) / np.sqrt(length)
        return np.asarray(worth, np.float64)

    @cached_property
    def _rarity(self) -> Floats:
        return np.asarray(np.maximum(self.popularity, 1) ** -self.rarity_power, np.float64)

    def _nearest(self, own: Ints, weights: Floats) -> tuple[Ints, Floats]:
        """Sessions int64 (s,) and their similarities, the most alike first."""
        offsets, sessions = self._by_item
        lists = [sessions[max(offsets[i], offsets[i + 1] - self.most_sessions) : offsets[i + 1]] for i in own.tolist()]
        sizes = [len(one) for one in lists]
        held = np.concatenate([np.empty(0, np.int64), *lists])
        distinct, which = np.unique(held, return_inverse=True)
        shared = np.bincount(which, np.repeat(weights, sizes), minlength=len(distinct))
        alike = shared * self._worth[distinct]
        best = np.lexsort((-distinct, -alike))[: self.neighbours]
        return distinct[best], alike[best]

    def _entries(self, sessions: Ints) -> tuple[Ints, Ints, Ints]:
        """Of some sessions one after the other: each item, the number of its session among these, its place there."""
        starts, sizes = self.offsets[sessions], self.offsets[sessions + 1] - self.offsets[sessions]
        own = np.concatenate(([0], np.cumsum(sizes)))
        number = np.repeat(np.arange(len(sessions)), sizes)
        within = np.arange(int(own[-1])) - own[number]
        return self.items[starts[number] + within].astype(np.int64), number, within

    def reached(self, histories: Histories) -> Reached:
        """The items of the nearest sessions."""
        return Reached.of_rows(self.n_items, [self._in_near(histories, row) for row in range(histories.n_customers)])

    def _in_near(self, histories: Histories, row: int) -> tuple[Ints, Floats]:
        own, weights = self.steps.of(histories, row)
        near, alike = self._nearest(own, weights)
        reached, number, within = self._entries(near)
        met = np.isin(reached, own)
        latest = np.zeros(len(near), np.int64)
        np.maximum.at(latest, number[met], within[met])
        distance = np.abs(within - latest[number])
        added = alike[number] * np.exp2(-distance / self.reach) * self._rarity[reached]
        return summed_cells(reached[distance > 0], added[distance > 0], self.n_items)

    def leading(self, histories: Histories, row: int, places: Ints) -> Ints:
        """See `Explaining`: of the last steps the item that weighs most in the near sessions that hold the place."""
        own, weights = self.steps.of(histories, row)
        near, alike = self._nearest(own, weights)
        reached, number, _ = self._entries(near)
        found = np.full(len(places), -1, np.int64)
        if not len(near):
            return found
        at = np.minimum(np.searchsorted(own, reached), len(own) - 1)
        met = own[at] == reached
        held = np.zeros((len(near), len(own)))
        held[number[met], at[met]] = 1.0
        for place, item in enumerate(places.tolist()):
            sessions = number[reached == item]
            added = np.where(own == item, 0.0, weights * (alike[sessions] @ held[sessions]))
            if added.max() > 0:
                found[place] = own[np.argmax(added)]
        return found

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        numbers = {name: getattr(self, name) for name in (*_POSITIVE, "rarity_power")}
        return numbers | {"steps": self.steps.to_settings()}, {name: getattr(self, name) for name in _SHAPES}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        offsets, items, ended_days, popularity = arrays_of(arrays, _SHAPES)
        _check_sessions(offsets, items, ended_days, len(popularity))
        steps, rarity = settings.get("steps"), settings.get("rarity_power")
        if not isinstance(steps, Mapping) or not isinstance(rarity, int | float) or not 0 <= rarity <= 1:
            raise ArtefactError("the settings must hold steps, and rarity_power in [0, 1]; fit and release anew")
        numbers = {name: value for name, value in settings.items() if name not in ("steps", "rarity_power")}
        neighbours, most, half_life, reach = positive_numbers(numbers, *_POSITIVE)
        weighed = RecentSteps.from_settings(steps)
        kept = (int(neighbours), int(most), half_life, reach, float(rarity), weighed)
        return cls(offsets, items, ended_days, popularity, *kept)


_POSITIVE = ("neighbours", "most_sessions", "half_life_days", "reach")


def _check_sessions(offsets: Ints, items: Ints, ended_days: Ints, n_items: int) -> None:
    held = len(offsets) == len(ended_days) + 1 and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
    if not held or offsets[-1] != len(items) or (np.diff(ended_days) < 0).any():
        raise ArtefactError("the offsets do not go with the sessions; fit and release anew")
    if len(items) and items.max() >= n_items:
        raise ArtefactError("items must be catalogue positions; fit and release anew")
