"""Which releases are served and to what share: one row, changed by atomic writes, each kept in the promotion log.

A change by any process takes effect in every service that reads the same store within its polling interval.
The controller that moves shares by itself, and its gates, come on top of these same changes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from features.errors import ConfigurationError
from serving.store import Store, promotions, rollouts

__all__ = [
    "NO_EXPERIMENT",
    "OLDER_ALLOWED",
    "Change",
    "RolloutState",
    "finish_rollout",
    "older_allowed",
    "read_history",
    "read_rollout",
    "rollback",
    "set_champion",
    "set_share",
    "start_rollout",
]


NO_EXPERIMENT = "none"
"""The experiment of answers that no rollout placed."""

OLDER_ALLOWED = "older_allowed"
"""The figure, 1, of a change that brings in a release though it is older than what is served."""


@dataclass(frozen=True)
class RolloutState:
    """What is served: `share` in [0, 1] of customers get the challenger, placed by `salt`; `revision` counts them."""

    champion: str
    challenger: str | None = None
    share: float = 0.0
    salt: str = ""
    previous: str | None = None
    revision: int = 0

    @property
    def key(self) -> str:
        """The name of the experiment that a rollout is; `none` while everybody gets the champion."""
        return NO_EXPERIMENT if self.challenger is None else f"rollout-{self.salt}"

    def to_dict(self) -> dict[str, Any]:
        """As shown over HTTP and kept in the log; absent members are left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Change:
    """Who changes the rollout, when (UTC microseconds), why, and on what figures."""

    who: str
    at_us: int
    why: str
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


def read_rollout(store: Store) -> RolloutState | None:
    """The state as it is now; None before the first release was set."""
    with store.read() as connection:
        return _state(connection)


def read_history(store: Store, limit: int = 100) -> list[dict[str, Any]]:
    """The newest changes first: seq, at_us, who, action, before, after, why, figures."""
    query = sa.select(promotions).order_by(promotions.c.seq.desc()).limit(limit)
    with store.read() as connection:
        rows = [{str(name): row[name] for name in row} for row in connection.execute(query).mappings()]
    return [row | {name: json.loads(row[name]) for name in ("before", "after", "figures")} for row in rows]


def older_allowed(store: Store, release: str) -> bool:
    """Whether the change that last brought a release in says that it may be older than what was served."""
    query = (
        sa.select(promotions.c.after, promotions.c.figures)
        .where(promotions.c.action.in_(("start", "set_champion")))
        .order_by(promotions.c.seq.desc())
    )
    with store.read() as connection:
        for after, figures in connection.execute(query):
            state = json.loads(after)
            if release == state.get("challenger", state["champion"]):
                return bool(json.loads(figures).get(OLDER_ALLOWED, 0))
    return False


def set_champion(store: Store, name: str, change: Change) -> RolloutState:
    """Serve one release to everybody; the one before stays known, for a rollback. Ends a rollout that is under way."""

    def after(state: RolloutState | None) -> RolloutState:
        if state is None or state.champion == name:
            return RolloutState(name, previous=state.previous if state else None)
        return RolloutState(name, previous=state.champion)

    return _change(store, "set_champion", after, change)


def start_rollout(store: Store, challenger: str, share: float, salt: str, change: Change) -> RolloutState:
    """Give a share of customers the challenger.

    Raises:
        ConfigurationError: nothing is served yet, a rollout is under way, or the share is outside [0, 1].
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _present(state)
        if state.challenger is not None:
            raise ConfigurationError(
                f"a rollout of {state.challenger} is under way at share {state.share}; finish it or roll it back first"
            )
        if challenger == state.champion:
            raise ConfigurationError(f"{challenger} is the champion already; name another release")
        return dataclasses.replace(state, challenger=challenger, share=_checked(share), salt=salt)

    return _change(store, "start", after, change)


def set_share(store: Store, share: float, change: Change) -> RolloutState:
    """Widen the challenger's share. It never narrows, or customers would flip; a rollback takes it to nothing.

    Raises:
        ConfigurationError: no rollout is under way, or the share is smaller than now or outside [0, 1].
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _under_way(state)
        if share < state.share:
            raise ConfigurationError(f"the share is {state.share} and only widens, not to {share}; use rollback")
        return dataclasses.replace(state, share=_checked(share))

    return _change(store, "set_share", after, change)


def finish_rollout(store: Store, change: Change) -> RolloutState:
    """Make the challenger the champion.

    Raises:
        ConfigurationError: no rollout is under way.
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _under_way(state)
        return RolloutState(str(state.challenger), previous=state.champion)

    return _change(store, "finish", after, change)


def rollback(store: Store, change: Change) -> RolloutState:
    """Take the challenger away or, where no rollout is under way, go back to the champion before.

    Raises:
        ConfigurationError: there is nothing to go back to.
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _present(state)
        if state.challenger is not None:
            return RolloutState(state.champion, previous=state.previous)
        if state.previous is None:
            raise ConfigurationError("no rollout is under way and no earlier release is known; nothing to go back to")
        return RolloutState(state.previous)

    return _change(store, "rollback", after, change)


def _change(
    store: Store, action: str, after: Callable[[RolloutState | None], RolloutState], change: Change
) -> RolloutState:
    """Read, decide, write and log in one transaction that holds the lock from its start."""
    with store.write() as connection:
        before = _state(connection)
        wanted = after(before)
        state = dataclasses.replace(wanted, revision=(before.revision if before else 0) + 1)
        connection.execute(sa.delete(rollouts))
        connection.execute(sa.insert(rollouts), dataclasses.asdict(state) | {"id": 1})
        connection.execute(
            sa.insert(promotions),
            {
                "at_us": change.at_us,
                "who": change.who,
                "action": action,
                "before": json.dumps(before.to_dict() if before else {}),
                "after": json.dumps(state.to_dict()),
                "why": change.why,
                "figures": json.dumps(dict(change.figures)),
            },
        )
    return state


def _state(connection: sa.Connection) -> RolloutState | None:
    row = connection.execute(sa.select(rollouts)).mappings().first()
    return None if row is None else RolloutState(**{name: value for name, value in row.items() if name != "id"})


def _present(state: RolloutState | None) -> RolloutState:
    if state is None:
        raise ConfigurationError("nothing is served yet; set a champion first")
    return state


def _under_way(state: RolloutState | None) -> RolloutState:
    state = _present(state)
    if state.challenger is None:
        raise ConfigurationError("no rollout is under way; start one first")
    return state


def _checked(share: float) -> float:
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(f"a share lies in [0, 1], not {share}")
    return share
