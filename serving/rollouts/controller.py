"""The controller of a rollout by plan: looks at the figures, decides, and changes the state by one atomic write.

All that it knows is in the store. Whoever runs it reads the state, and changes it only if nobody did meanwhile; so any
number of processes may run it at once, each may be killed at any point, and no step is taken twice.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from features.errors import ConfigurationError
from serving.rollouts.figures import Figures
from serving.rollouts.gates import Verdict, judge
from serving.rollouts.outcomes import FigureReader
from serving.rollouts.plan import RolloutPlan
from serving.rollouts.state import (
    Change,
    RolloutState,
    SupersededError,
    finish_rollout,
    note_hold,
    read_rollout,
    rollback,
    set_step,
)
from serving.store import Store

__all__ = ["WHO", "Controller", "Decision", "advance", "decide", "next_step", "with_figures"]

log = logging.getLogger("holdfast.rollouts")

WHO = "controller"
"""In the promotion log, where nobody else changed a rollout."""

Read = Callable[[RolloutState, int], Figures]


@dataclass(frozen=True)
class Decision:
    """What to do with a rollout now, why in words, and what each gate said."""

    action: Literal["stay", "hold", "step", "finish", "rollback"]
    why: str
    verdicts: tuple[Verdict, ...] = ()

    @property
    def holding(self) -> str | None:
        """The gates that hold the step; None where none does."""
        return ", ".join(one.gate for one in self.verdicts if one.ruling == "hold") or None

    def figures(self) -> dict[str, Any]:
        """Every gate with its ruling, its words and its figures, for the promotion log."""
        return {
            one.gate: {"ruling": one.ruling, "words": one.words, "figures": dict(one.figures)} for one in self.verdicts
        }


def decide(state: RolloutState, plan: RolloutPlan, figures: Figures, now_us: int) -> Decision:
    """What to do, from the state, its plan and the figures of its step alone; nothing is read or written here.

    A guardrail that breaks ends the rollout, paused or not. Otherwise a step ends when every gate passes, its time is
    over (or enough was asked) and, where it wants one, a person has approved.
    """
    step = plan.steps[state.step]
    verdicts = judge(plan, step, figures, now_us)
    said = {
        ruling: [f"{one.gate}: {one.words}" for one in verdicts if one.ruling == ruling]
        for ruling in ("break", "hold", "wait")
    }
    if said["break"]:
        return Decision("rollback", "; ".join(said["break"]), verdicts)
    if said["hold"]:
        return Decision("hold", "; ".join(said["hold"]), verdicts)
    left = _left(state, plan, figures, now_us)
    waiting = said["wait"] + left
    if waiting:
        return Decision("stay", "; ".join(waiting), verdicts)
    return Decision(
        "finish" if _is_last(state, plan) else "step", f"every gate of the step {step.name} passed", verdicts
    )


def _left(state: RolloutState, plan: RolloutPlan, figures: Figures, now_us: int) -> list[str]:
    """What a step lacks beside its gates."""
    step, lacking = plan.steps[state.step], []
    left_s = step.bake_minutes * 60.0 - (now_us - (state.step_started_us or now_us)) / 1e6
    enough = step.enough_requests is not None and figures.challenger.n_requests >= step.enough_requests
    if left_s > 0.0 and not enough:
        lacking.append(f"the step lasts {left_s:,.0f} s more")
    if state.paused:
        lacking.append("it is paused; `holdfast rollout resume` lets it go on")
    if step.approve and not state.approved:
        lacking.append("a person must approve; `holdfast rollout approve`")
    return lacking


def advance(store: Store, read: Read, now_us: int) -> Decision | None:
    """One look and at most one change; None where no rollout by a plan is under way, or somebody else was first.

    Raises:
        UnavailableError: the store cannot be read or written now; nothing was changed.
    """
    state = read_rollout(store)
    if state is None or state.challenger is None or state.plan is None:
        return None
    plan = RolloutPlan.from_json(state.plan)
    decision = decide(state, plan, read(state, now_us), now_us)
    try:
        _carry_out(store, state, plan, decision, now_us)
    except SupersededError:
        return None
    return decision


def _carry_out(store: Store, state: RolloutState, plan: RolloutPlan, decision: Decision, now_us: int) -> None:
    change = Change(WHO, now_us, decision.why, decision.figures())
    if decision.action == "rollback":
        rollback(store, change, state.revision)
        log.error("release %s was rolled back: %s", state.challenger, decision.why)
    elif decision.action in ("step", "finish"):
        _go_on(store, state, plan, change)
        if decision.action == "finish":
            log.info("release %s is the champion: %s", state.challenger, decision.why)
    elif decision.holding != state.why_held:
        note_hold(store, decision.holding, change, state.revision)
        log.warning("the rollout of %s is held by: %s", state.challenger, decision.holding or "nothing any more")


def next_step(store: Store, change: Change) -> RolloutState:
    """By a person's hand: end the step, whatever its gates say; after the last one the challenger is the champion.

    Raises:
        ConfigurationError: no rollout by a plan is under way.
    """
    state = read_rollout(store)
    if state is None or state.plan is None:
        raise ConfigurationError("no rollout by a plan is under way; start one first")
    return _go_on(store, state, RolloutPlan.from_json(state.plan), change)


def _is_last(state: RolloutState, plan: RolloutPlan) -> bool:
    return state.step + 1 == len(plan.steps)


def _go_on(store: Store, state: RolloutState, plan: RolloutPlan, change: Change) -> RolloutState:
    """To the next step; after the last one the challenger is the champion."""
    if _is_last(state, plan):
        return finish_rollout(store, change, state.revision)
    return set_step(store, state.step + 1, plan.steps[state.step + 1].share, change, state.revision)


class Controller:
    """Looks once an interval, as often as it is called; what goes wrong is logged, and changes nothing."""

    def __init__(self, store: Store, interval_s: float, *, read: Read | None = None) -> None:
        self._store = store
        self._interval_us = int(interval_s * 1e6)
        self._read = read or FigureReader(store)
        self._looked_us: int | None = None

    def poll(self, now_us: int) -> Decision | None:
        """One look, if it is time for one."""
        if self._looked_us is not None and 0 <= now_us - self._looked_us < self._interval_us:
            return None
        self._looked_us = now_us
        return self.look(now_us)

    def look(self, now_us: int) -> Decision | None:
        """One look now. A source of figures that fails is a source without figures: nothing is promoted."""
        try:
            return advance(self._store, self._read, now_us)
        except Exception as error:  # a loop that ends here would follow no rollback either
            log.warning("the rollout was not looked at: %s", error if str(error) else type(error).__name__)
            return None

    def status(self, state: RolloutState, now_us: int) -> Decision | None:
        """What it would decide now; nothing is changed."""
        if state.challenger is None or state.plan is None:
            return None
        return decide(state, RolloutPlan.from_json(state.plan), self._read(state, now_us), now_us)


def with_figures(change: Change, decision: Decision | None) -> Change:
    """A person's change with what the gates said at that moment."""
    return change if decision is None else dataclasses.replace(change, figures={**change.figures, **decision.figures()})
