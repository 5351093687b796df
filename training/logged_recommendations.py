"""Recommendations as logged, joined with what was really shown and what came of it: the rounds to learn and judge from.

A decision says what was put where, and with what chance; an impression with its `recommendation_id` says that the item
was really shown; an event of a rewarded kind with the same id and item, within the window after the first impression,
is the reward. What was decided and never shown is no round, and an item shown too lately to have had its window is
left out rather than counted as a failure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from features.errors import ArtefactError, ConfigurationError, DataError, NotEnoughDataError
from features.event_log import EventLog
from features.instants import DAY_US
from features.schema import KINDS
from features.workspace import Workspace
from serving.store import Store, decisions
from training.logged_rounds import LoggedRounds, NewPolicy

__all__ = [
    "COLUMNS",
    "LoggedRecommendationSettings",
    "LoggedRecommendations",
    "ShownSlates",
    "join_outcomes",
    "read_logged_recommendations",
    "read_slates",
]

Places = npt.NDArray[np.int64]
COLUMNS = ("recommendation_id", "item_id", "kind", "occurred_at", "recorded_at")
"""The columns of events that the join reads."""
_KEPT = (
    "decision_id",
    "customer_key",
    "as_of_us",
    "item_ids",
    "propensities",
    "placement",
    "request",
    "churn_probability",
)
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class LoggedRecommendationSettings:
    """What counts as a reward.

    Attributes:
        kinds: events that are a reward, each recommendation and item at most once.
        window_days: reward window [shown, shown + window).
        explored_only: leave out places where nothing was drawn (propensity 1); of those a log says nothing new.
    """

    kinds: tuple[str, ...] = ("view", "cart", "purchase")
    window_days: float = 1.0
    explored_only: bool = False

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS or kind == "impression"]
        if unknown or not self.kinds:
            known = ", ".join(kind for kind in KINDS if kind != "impression")
            raise ConfigurationError(f"rewards.kinds is {self.kinds}; write kinds out of {known}")
        if not 0.0 < self.window_days < 3_650.0:
            raise ConfigurationError(f"rewards.window_days is {self.window_days}; write days above 0")

    @property
    def window_us(self) -> int:
        """The window in microseconds."""
        return round(self.window_days * DAY_US)


@dataclass(frozen=True, eq=False)
class ShownSlates:
    """Decided places, s in all, of the decisions that kept their chances.

    Attributes:
        decision_ids, customer_keys: of each decision, d in all; no customer is None.
        as_of_us: int64 (d,).
        placements, requests: of each decision as it was kept, see `serving.decisions.Decision`; None where it was not.
        churn_probability: float64 (d,), that its objective read; NaN where it read none.
        item_ids: the items that were ever put anywhere, ascending.
        decision, item, position: int64 (s,): which decision, which item, which place from 0.
        propensities: float64 (s,).
    """

    decision_ids: tuple[str, ...]
    customer_keys: tuple[str | None, ...]
    as_of_us: Places
    placements: tuple[str | None, ...]
    requests: tuple[str | None, ...]
    churn_probability: npt.NDArray[np.float64]
    item_ids: tuple[str, ...]
    decision: Places
    item: Places
    position: Places
    propensities: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LoggedRecommendations:
    """The rounds, and what each came from.

    Attributes:
        rounds: n of them; a unit is a customer, or a decision where there was none. The last place of an item stands
            for every item that was never put anywhere.
        slates: the decisions that the rounds are of, and further ones.
        decision: int64 (n,), which decision.
        n_not_shown: decided places without an impression.
        n_open: places shown too lately to have had their window.
    """

    rounds: LoggedRounds
    slates: ShownSlates
    decision: Places
    n_not_shown: int
    n_open: int

    def since(self, since_us: int) -> LoggedRecommendations:
        """The rounds decided at that instant or later."""
        return self._of(self.slates.as_of_us >= since_us)

    def placed(self, placements: Collection[str]) -> LoggedRecommendations:
        """The rounds of decisions that name one of these placements."""
        return self._of(np.array([one in placements for one in self.slates.placements], np.bool_))

    def _of(self, decisions: npt.NDArray[np.bool_]) -> LoggedRecommendations:
        taken = decisions[self.decision]
        return replace(self, rounds=self.rounds.select(taken), decision=self.decision[taken])

    def policy_of(self, rankings: Mapping[str, Sequence[str]]) -> NewPolicy:
        """A ranking without chance, by what it would have put on each round's place.

        That is its best item which did not stand in the slate already when the place was drawn: on a place where
        nothing was drawn, or on an exploring one above. Where a ranking has none left, it shows what nobody has seen.

        Args:
            rankings: item ids, best first, by recommendation id; longer than the slates were.

        Raises:
            DataError: a recommendation of the rounds has no ranking.
        """
        places = {item: place for place, item in enumerate(self.slates.item_ids)}
        unseen = len(self.slates.item_ids)
        standing: dict[int, list[tuple[int, int, bool]]] = {}
        of = self.slates
        chance = of.propensities < 1.0
        for one, item, position, drawn in zip(of.decision, of.item, of.position, chance, strict=True):
            standing.setdefault(int(one), []).append((int(item), int(position), bool(drawn)))
        items = np.empty(self.rounds.n, np.int64)
        for row, (one, at) in enumerate(zip(self.decision.tolist(), self.rounds.positions.tolist(), strict=True)):
            name = of.decision_ids[one]
            if name not in rankings:
                raise DataError("a recommendation of the log has no ranking; give one for each")
            taken = {item for item, position, drawn in standing[one] if position != at and (not drawn or position < at)}
            ranked = (places.get(item, unseen) for item in rankings[name])
            items[row] = next((item for item in ranked if item not in taken), unseen)
        return NewPolicy.always(items)


def read_logged_recommendations(
    workspace: Workspace, until_us: int, settings: LoggedRecommendationSettings | None = None
) -> LoggedRecommendations:
    """The rounds of a workspace: its store's decisions and its sealed log's events with both times before `until_us`.

    Raises:
        NotEnoughDataError: no decision kept its chances, or nothing decided was shown.
        ArtefactError: there is no log, or a decision is damaged.
    """
    settings = settings or LoggedRecommendationSettings()
    log = EventLog.open(workspace.event_log)
    events = log.read(columns=COLUMNS, recorded_before_us=until_us)
    store = Store.open(workspace.store)
    try:
        slates = read_slates(store, until_us, explored_only=settings.explored_only)
    finally:
        store.close()
    return join_outcomes(slates, events, until_us, settings)


def read_slates(store: Store, until_us: int, *, explored_only: bool = False) -> ShownSlates:
    """The recommendations decided before `until_us` that kept the chance of every item.

    `explored_only` leaves out those in which nothing was drawn.

    Raises:
        NotEnoughDataError: there is none.
        ArtefactError: a decision has not one chance in (0, 1] for each of its items.
    """
    c = decisions.c
    wanted = sa.select(*c[_KEPT]).where(
        c.kind == "recommendation", c.propensities.is_not(None), c.item_ids.is_not(None), c.as_of_us < until_us
    )
    rows, items, chances = [], [], []
    with store.read() as connection:
        for row in connection.execute(wanted.order_by(c.seq)):
            chance = json.loads(row.propensities)
            if explored_only and all(one == 1.0 for one in chance):
                continue
            rows.append(row)
            items.append(json.loads(row.item_ids))
            chances.append(chance)
    if not rows:
        which = "recommendations with a place that explored" if explored_only else "recommendations with propensities"
        raise NotEnoughDataError(f"the store holds 0 {which}, need 1 at least; let some slots explore and wait")
    if any(len(shown) != len(chance) for shown, chance in zip(items, chances, strict=True)):
        raise ArtefactError("a decision in the store has not one propensity an item; restore the store from a copy")
    lengths = np.array([len(shown) for shown in items], dtype=np.int64)
    names, item = np.unique(np.array([one for shown in items for one in shown], dtype=np.str_), return_inverse=True)
    starts = np.cumsum(lengths) - lengths
    return ShownSlates(
        tuple(row.decision_id for row in rows),
        tuple(row.customer_key for row in rows),
        np.array([row.as_of_us for row in rows], dtype=np.int64),
        tuple(row.placement for row in rows),
        tuple(row.request for row in rows),
        np.array([row.churn_probability for row in rows], dtype=np.float64),
        tuple(names.tolist()),
        np.repeat(np.arange(len(rows), dtype=np.int64), lengths),
        item.astype(np.int64),
        np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts, lengths),
        np.array([one for chance in chances for one in chance], dtype=np.float64),
    )


def join_outcomes(
    slates: ShownSlates, events: pa.Table, until_us: int, settings: LoggedRecommendationSettings
) -> LoggedRecommendations:
    """Tie decided places to impressions and rewards with both times before `until_us`.

    Raises:
        NotEnoughDataError: nothing decided was shown and had its window.
    """
    n_items = len(slates.item_ids)
    keys = slates.decision * n_items + slates.item
    order = np.argsort(keys, kind="stable")
    known = pc.and_(
        pc.less(events["occurred_at"].cast(pa.int64()), until_us),
        pc.less(events["recorded_at"].cast(pa.int64()), until_us),
    )
    events = events.filter(pc.and_(known, pc.is_valid(events["recommendation_id"])))
    place, when = _places(slates, keys, order, events, ("impression",))
    shown_us = np.full(keys.size, _NEVER)
    np.minimum.at(shown_us, place, when)
    place, when = _places(slates, keys, order, events, settings.kinds)
    window = settings.window_us
    in_time = (when >= shown_us[place]) & (when - shown_us[place] < window)
    rewards = np.zeros(keys.size)
    rewards[place[in_time]] = 1.0
    shown = shown_us < _NEVER
    is_open = shown & (shown_us > until_us - window)
    taken = np.flatnonzero(shown & ~is_open & ((slates.propensities < 1.0) | (not settings.explored_only)))
    if not taken.size:
        raise NotEnoughDataError(
            f"{len(slates.decision_ids):,} recommendations with propensities, of whose {keys.size:,} places 0 can be "
            f"judged ({int((~shown).sum()):,} without an impression, {int(is_open.sum()):,} with an open window); "
            "send impressions with their recommendation_id"
        )
    decided = slates.decision[taken]
    rounds = LoggedRounds(
        n_items + 1,
        slates.item[taken],
        slates.position[taken],
        slates.propensities[taken],
        rewards[taken],
        np.zeros((taken.size, 0)),
        _units(slates)[decided],
    )
    return LoggedRecommendations(rounds, slates, decided, int((~shown).sum()), int(is_open.sum()))


def _places(
    slates: ShownSlates, keys: Places, order: Places, events: pa.Table, kinds: tuple[str, ...]
) -> tuple[Places, Places]:
    """The decided place of each event of some kinds, and its time; events about nothing that was decided are left."""
    found = events.filter(pc.is_in(events["kind"], pa.array(kinds)))
    decision = _codes(found["recommendation_id"], slates.decision_ids)
    item = _codes(found["item_id"], slates.item_ids)
    named = (decision >= 0) & (item >= 0)
    wanted = decision[named] * len(slates.item_ids) + item[named]
    at = np.minimum(np.searchsorted(keys[order], wanted), max(keys.size - 1, 0))
    same = keys[order][at] == wanted if keys.size else np.zeros(wanted.size, np.bool_)
    when = found["occurred_at"].cast(pa.int64()).to_numpy()[named]
    return order[at[same]], when[same]


def _codes(values: pa.ChunkedArray, names: tuple[str, ...]) -> Places:
    """int64: the place of each value among the names, -1 where it is not there."""
    found = pc.index_in(values, pa.array(names, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def _units(slates: ShownSlates) -> Places:
    """int64 (d,): a number a customer; a decision for nobody is its own."""
    names = [
        f"c{key}" if key is not None else f"d{one}"
        for key, one in zip(slates.customer_keys, slates.decision_ids, strict=True)
    ]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
