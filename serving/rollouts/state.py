"""Which releases are served and to what share: one row, changed by atomic writes, each kept in the promotion log.

A change by any process takes effect in every service that reads the same store within its polling interval. Whoever
decides on what was read before (the controller) names the revision it read: the change is made on that alone, so that
of several who decide the same one makes it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from features.errors import ConfigurationError, UnavailableError
from serving.assignment import HOLDOUT_SHARE
from serving.store import Store, accepted_events, decisions, promotions, rollouts

__all__ = [
    "NO_EXPERIMENT",
    "Change",
    "RolloutState",
    "SupersededError",
    "approve",
    "finish_rollout",
    "note_hold",
    "pause",
    "read_rollout",
    "rollback",
    "set_champion",
    "set_holdout",
    "set_share",
    "set_step",
    "start_rollout",
]


NO_EXPERIMENT = "none"
"""The experiment of answers that no rollout placed."""

_OF_A_PLAN = ("step", "paused", "approved")


class SupersededError(UnavailableError):
    """The rollout was changed since it was read, so that what was decided on it may no longer hold."""

    code = "superseded"


@dataclass(frozen=True)
class RolloutState:
    """What is served: `share` in [0, 1] of customers get the challenger, placed by `salt`; `revision` counts them.

    holdout_share: of all customers, who get the champion whatever is under way.
    step_started_us: since when the share is what it is; decisions and accepted events of the step have higher numbers
    than decisions_seq and events_seq.
    plan: the plan as it was started, JSON, or None where a person moves the share. step: which of its steps, from 0.
    approved: a person let this step end. why_held: the gates that keep it from ending, as last seen.
    """

    champion: str
    challenger: str | None = None
    share: float = 0.0
    salt: str = ""
    previous: str | None = None
    revision: int = 0
    holdout_share: float = HOLDOUT_SHARE
    plan: str | None = None
    step: int = 0
    step_started_us: int | None = None
    decisions_seq: int = 0
    events_seq: int = 0
    paused: bool = False
    approved: bool = False
    why_held: str | None = None

    @property
    def key(self) -> str:
        """The name of the experiment that a rollout is; `none` while everybody gets the champion."""
        return NO_EXPERIMENT if self.challenger is None else f"rollout-{self.salt}"

    @property
    def shadow(self) -> bool:
        """Whether the challenger answers beside the champion, and nobody sees it: a rollout at a share of nothing."""
        return self.challenger is not None and self.share == 0.0

    def to_dict(self) -> dict[str, Any]:
        """As shown over HTTP and kept in the log; absent members are left out, and the plan is told apart."""
        shown = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        hidden = ("plan", "decisions_seq", "events_seq", *(() if self.plan else _OF_A_PLAN))
        return {name: value for name, value in shown.items() if name not in hidden}

    def served_alone(self, champion: str, previous: str | None) -> RolloutState:
        """One release for everybody, and no rollout."""
        return RolloutState(champion, previous=previous, holdout_share=self.holdout_share)


@dataclass(frozen=True)
class Change:
    """Who changes the rollout, when (UTC microseconds), why, and on what figures (JSON values)."""

    who: str
    at_us: int
    why: str
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_rollout(store: Store) -> RolloutState | None:
    """The state as it is now; None before the first release was set."""
    with store.read() as connection:
        return _state(connection)


def set_champion(store: Store, name: str, change: Change, revision: int | None = None) -> RolloutState:
    """Serve one release to everybody; the one before stays known, for a rollback. Ends a rollout that is under way.

    Raises:
        SupersededError: `revision` is given and is no longer the newest; 0 is that of a store in which nothing is set.
    """

    def after(state: RolloutState | None) -> RolloutState:
        if state is None:
            return RolloutState(name)
        return state.served_alone(name, state.previous if state.champion == name else state.champion)

    return _changed(store, "set_champion", after, change, revision)


def set_holdout(store: Store, share: float, change: Change) -> RolloutState:
    """How many customers no rollout touches, a share in [0, 1) of all. It is meant to be set once.

    Raises:
        ConfigurationError: nothing is served yet, a rollout is under way (its arms would change), or no such share.
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _present(state)
        if state.challenger is not None:
            raise ConfigurationError(
                f"a rollout of {state.challenger} is under way; set the hold-out when it has ended"
            )
        if not 0.0 <= share < 1.0:
            raise ConfigurationError(f"the hold-out's share lies in [0, 1), not at {share}")
        return dataclasses.replace(state, holdout_share=share)

    return _changed(store, "set_holdout", after, change)


def start_rollout(
    store: Store, challenger: str, share: float, salt: str, change: Change, plan: str | None = None
) -> RolloutState:
    """Give a share of customers the challenger; by a plan (`RolloutPlan.to_json`), its first step.

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
        return dataclasses.replace(state, challenger=challenger, share=_checked(share), salt=salt, plan=plan)

    told = {} if plan is None else {"plan": json.loads(plan)}
    return _changed(store, "start", after, dataclasses.replace(change, figures={**change.figures, **told}))


def set_share(store: Store, share: float, change: Change) -> RolloutState:
    """Widen the challenger's share. It never narrows, or customers would flip; a rollback takes it to nothing.

    Raises:
        ConfigurationError: no rollout is under way, a plan moves it, or the share narrows or is outside [0, 1].
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _under_way(state)
        if state.plan is not None:
            raise ConfigurationError("a plan moves this rollout; go on by `holdfast rollout step`, or pause it")
        return dataclasses.replace(state, share=_widened(state, share))

    return _changed(store, "set_share", after, change)


def set_step(store: Store, step: int, share: float, change: Change, revision: int | None = None) -> RolloutState:
    """Begin a later step of the plan with its share.

    Raises:
        ConfigurationError: no rollout by a plan is under way, the step is not a later one, or the share narrows.
        SupersededError: `revision` is given and is no longer the newest.
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _by_plan(state)
        if step <= state.step:
            raise ConfigurationError(f"the plan is at step {state.step + 1} and goes on, not to {step + 1}")
        return dataclasses.replace(state, step=step, share=_widened(state, share), approved=False, why_held=None)

    return _changed(store, "step", after, change, revision)


def pause(store: Store, paused: bool, change: Change) -> RolloutState:
    """Keep a rollout by plan at its step, or let it go on; a guardrail that breaks rolls it back all the same.

    Raises:
        ConfigurationError: no rollout by a plan is under way.
    """
    action = "pause" if paused else "resume"
    return _changed(store, action, lambda state: dataclasses.replace(_by_plan(state), paused=paused), change)


def approve(store: Store, change: Change) -> RolloutState:
    """Let the step end that waits for a person; its gates and its time stand all the same.

    Raises:
        ConfigurationError: no rollout by a plan is under way.
    """
    return _changed(store, "approve", lambda state: dataclasses.replace(_by_plan(state), approved=True), change)


def note_hold(store: Store, why: str | None, change: Change, revision: int) -> RolloutState:
    """Keep which gates hold the step, or that none does any more.

    Raises:
        ConfigurationError: no rollout by a plan is under way.
        SupersededError: `revision` is no longer the newest.
    """
    action = "release_hold" if why is None else "hold"
    return _changed(store, action, lambda state: dataclasses.replace(_by_plan(state), why_held=why), change, revision)


def finish_rollout(store: Store, change: Change, revision: int | None = None) -> RolloutState:
    """Make the challenger the champion.

    Raises:
        ConfigurationError: no rollout is under way.
        SupersededError: `revision` is given and is no longer the newest.
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _under_way(state)
        return state.served_alone(str(state.challenger), state.champion)

    return _changed(store, "finish", after, change, revision)


def rollback(store: Store, change: Change, revision: int | None = None) -> RolloutState:
    """Take the challenger away or, where no rollout is under way, go back to the champion before.

    Raises:
        ConfigurationError: there is nothing to go back to.
        SupersededError: `revision` is given and is no longer the newest.
    """

    def after(state: RolloutState | None) -> RolloutState:
        state = _present(state)
        if state.challenger is not None:
            return state.served_alone(state.champion, state.previous)
        if state.previous is None:
            raise ConfigurationError("no rollout is under way and no earlier release is known; nothing to go back to")
        return state.served_alone(state.previous, None)

    return _changed(store, "rollback", after, change, revision)


def _changed(
    store: Store,
    action: str,
    after: Callable[[RolloutState | None], RolloutState],
    change: Change,
    revision: int | None = None,
) -> RolloutState:
    """Read, compare, decide, write and log in one transaction that holds the lock from its start."""
    with store.write() as connection:
        before = _state(connection)
        if revision is not None and revision != (before.revision if before else 0):
            raise SupersededError("the rollout was changed meanwhile; look at it again, then decide")
        state = dataclasses.replace(after(before), revision=(before.revision if before else 0) + 1)
        state = _marked(connection, before, state, change.at_us)
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


def _marked(connection: sa.Connection, before: RolloutState | None, state: RolloutState, at_us: int) -> RolloutState:
    """With when a step began, and after which rows, where this change begins one."""
    moves = [(one.challenger, one.salt, one.share, one.step) for one in (before, state) if one is not None]
    if state.challenger is None or (before is not None and moves[0] == moves[1]):
        return state
    seqs = [int(connection.scalar(sa.select(sa.func.max(table.c.seq))) or 0) for table in (decisions, accepted_events)]
    return dataclasses.replace(state, step_started_us=at_us, decisions_seq=seqs[0], events_seq=seqs[1])


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


def _by_plan(state: RolloutState | None) -> RolloutState:
    state = _under_way(state)
    if state.plan is None:
        raise ConfigurationError("no plan moves this rollout; use `holdfast rollout share`, `promote` or `rollback`")
    return state


def _widened(state: RolloutState, share: float) -> float:
    if share < state.share:
        raise ConfigurationError(f"the share is {state.share} and only widens, not to {share}; use rollback")
    return _checked(share)


def _checked(share: float) -> float:
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(f"a share lies in [0, 1], not {share}")
    return share
