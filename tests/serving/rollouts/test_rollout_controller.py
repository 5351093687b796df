"""The controller: what it decides, that dead figures never promote, and that a killed one resumes and never repeats."""

import dataclasses
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from features.errors import ConfigurationError, UnavailableError
from serving.evidence.confidence_sequences import ArmTotals
from serving.rollouts.arm_figures import ArmFigures, latency_bucket
from serving.rollouts.controller import Controller, advance, decide, next_step
from serving.rollouts.figures import Figures, Outcomes
from serving.rollouts.plan import Limits, RolloutPlan, Step
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import (
    Change,
    RolloutState,
    SupersededError,
    approve,
    pause,
    read_rollout,
    rollback,
    set_champion,
    set_share,
    set_step,
    start_rollout,
)
from serving.store import Store

MINUTE_US = 60_000_000
START_US = 1_700_000_000_000_000
BY = Change("ada", START_US, "a test")
GATES = ("errors", "latency", "fallbacks", "missing_features")
PLAN = RolloutPlan(tuple(Step(share, 10.0, gates=GATES) for share in (0.1, 0.5, 1.0)), Limits())
STATE = RolloutState("a", "b", 0.1, "s", plan=PLAN.to_json(), step_started_us=START_US)
LATER_US = START_US + 11 * MINUTE_US


def figures(now_us: int = LATER_US, n: int = 1_000, n_errors: int = 0) -> Figures:
    arm = ArmFigures(n, n_errors, latency={latency_bucket(0.004): n})
    totals = ArmTotals.of_rate(n, n // 5)
    sound = dataclasses.replace(arm, n_errors=0)
    return Figures(arm, sound, 0.5, now_us - 1_000_000, Outcomes(totals, totals, totals, totals))


def sound(_: RolloutState, now_us: int) -> Figures:
    return figures(now_us)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "service.db")
    set_champion(made, "a", BY)
    return made


def start(store: Store, plan: RolloutPlan = PLAN, salt: str = "s") -> RolloutState:
    return start_rollout(store, "b", plan.steps[0].share, salt, BY, plan.to_json())


def actions(store: Store) -> list[str]:
    return [row["action"] for row in reversed(read_history(store))]


def action(state: RolloutState = STATE, given: Figures | None = None, plan: RolloutPlan = PLAN, **named: int) -> str:
    return decide(state, plan, given or figures(), named.get("now_us", LATER_US)).action


def test_a_step_ends_when_every_gate_passes_and_its_time_is_over() -> None:
    assert action() == "step"
    assert action(now_us=START_US + 9 * MINUTE_US, given=figures(START_US + 9 * MINUTE_US)) == "stay"
    assert action(dataclasses.replace(STATE, step=2)) == "finish"


def test_enough_requests_end_a_step_before_its_time() -> None:
    steps = (dataclasses.replace(PLAN.steps[0], enough_requests=1_000), *PLAN.steps[1:])
    early_us = START_US + MINUTE_US
    assert action(plan=RolloutPlan(steps), now_us=early_us, given=figures(early_us)) == "step"
    assert action(plan=RolloutPlan(steps), now_us=early_us, given=figures(early_us, n=999)) == "stay"


def test_a_person_must_approve_where_the_plan_says_so() -> None:
    plan = RolloutPlan((dataclasses.replace(PLAN.steps[0], approve=True), *PLAN.steps[1:]))
    decision = decide(STATE, plan, figures(), LATER_US)
    assert (decision.action, "holdfast rollout approve" in decision.why) == ("stay", True)
    assert action(dataclasses.replace(STATE, approved=True), plan=plan) == "step"


def test_a_paused_rollout_stays_and_a_guardrail_ends_it_all_the_same() -> None:
    paused = dataclasses.replace(STATE, paused=True)
    assert action(paused) == "stay"
    assert action(paused, figures(n_errors=900)) == "rollback"


def test_a_break_goes_before_a_hold_and_a_hold_before_a_wait() -> None:
    stale = dataclasses.replace(figures(), newest_us=START_US - 3_600_000_000)
    assert action(given=stale) == "hold"
    assert action(given=dataclasses.replace(stale, challenger=figures(n_errors=900).challenger)) == "rollback"
    assert action(given=dataclasses.replace(stale, challenger=ArmFigures(5))) == "hold"


def test_arms_that_fill_otherwise_than_intended_block_the_step_whatever_else_passes() -> None:
    mine, its = ArmTotals.of_rate(2_760, 500), ArmTotals.of_rate(3_240, 500)
    blocked = dataclasses.replace(figures(), outcomes=Outcomes(mine, its, mine, its))
    decision = decide(STATE, PLAN, blocked, LATER_US)
    assert (decision.action, decision.holding) == ("hold", "sample_ratio")


def test_a_rollout_goes_step_by_step_to_champion_with_its_figures_in_the_log(store: Store) -> None:
    start(store)
    for number in range(1, 40):
        advance(store, sound, START_US + number * MINUTE_US)
    assert actions(store) == ["set_champion", "start", "step", "step", "finish"]
    state = read_rollout(store)
    assert state is not None
    assert (state.champion, state.challenger, state.previous, state.plan) == ("b", None, "a", None)
    newest = read_history(store, 1)[0]
    assert (newest["who"], newest["figures"]["errors"]["ruling"]) == ("controller", "pass")
    assert newest["figures"]["errors"]["figures"]["n"] == 1_000
    assert [row["after"].get("share") for row in read_history(store, 4)] == [0.0, 1.0, 0.5, 0.1]


def test_a_broken_guardrail_is_one_write_and_a_hold_is_told_once(store: Store) -> None:
    start(store)
    blocked = dataclasses.replace(figures(), newest_us=0)
    for minute in range(3):
        advance(store, lambda *_: blocked, LATER_US + minute)
    held = read_rollout(store)
    assert held is not None
    assert held.why_held == "metrics"
    advance(store, lambda *_: figures(START_US), START_US)
    advance(store, lambda *_: figures(n_errors=900), LATER_US)
    assert actions(store) == ["set_champion", "start", "hold", "release_hold", "rollback"]
    state = read_rollout(store)
    assert state is not None
    assert (state.champion, state.challenger, state.share) == ("a", None, 0.0)
    assert advance(store, sound, LATER_US) is None


def test_of_two_who_decide_the_same_one_makes_the_change(store: Store) -> None:
    start(store)

    def slow(state: RolloutState, now_us: int) -> Figures:
        assert advance(store, sound, now_us) is not None  # somebody else is first
        return figures(now_us)

    assert advance(store, slow, LATER_US) is None
    assert actions(store).count("step") == 1


def dead(number: int) -> Callable[[RolloutState, int], Figures]:
    """A source of figures that is dead in one of five ways."""

    def fails(_: RolloutState, __: int) -> Figures:
        raise (UnavailableError("gone"), OSError("gone"), ValueError("nonsense"))[number % 3]

    healthy = figures(START_US + MINUTE_US)
    frozen = dataclasses.replace(healthy, newest_us=START_US + MINUTE_US)
    one_sided = dataclasses.replace(figures(START_US + 400 * MINUTE_US), control=ArmFigures())
    silent = dataclasses.replace(healthy, newest_us=None)
    return (fails, lambda *_: Figures(), lambda *_: frozen, lambda *_: one_sided, lambda *_: silent)[number % 5]


def test_dead_metrics_promote_nothing_in_a_hundred_tries(store: Store) -> None:
    start(store)
    for number in range(100):
        controller = Controller(store, 1.0, read=dead(number))
        controller.look(START_US + (number + 20) * MINUTE_US)
    state = read_rollout(store)
    assert state is not None
    assert (state.champion, state.challenger, state.share, state.step) == ("a", "b", 0.1, 0)
    assert {"step", "finish"}.isdisjoint(actions(store))


def test_a_person_steps_approves_and_pauses_and_the_log_says_who(store: Store) -> None:
    start(store)
    pause(store, True, BY)
    approve(store, BY)
    assert next_step(store, BY).share == 0.5
    assert next_step(store, BY).share == 1.0
    assert next_step(store, BY).champion == "b"
    assert actions(store)[2:] == ["pause", "approve", "step", "step", "finish"]
    with pytest.raises(ConfigurationError, match="no rollout by a plan"):
        next_step(store, BY)


def test_a_plan_is_not_moved_by_hand_and_a_hand_not_by_a_plan(store: Store) -> None:
    state = start(store)
    with pytest.raises(ConfigurationError, match="holdfast rollout step"):
        set_share(store, 0.5, BY)
    with pytest.raises(ConfigurationError, match="goes on"):
        set_step(store, 0, 0.1, BY)
    with pytest.raises(SupersededError):
        set_step(store, 1, 0.5, BY, state.revision - 1)
    rollback(store, BY)
    start_rollout(store, "b", 0.1, "t", BY)
    with pytest.raises(ConfigurationError, match="no plan moves"):
        pause(store, True, BY)
    assert advance(store, sound, LATER_US) is None


def test_the_controller_looks_once_an_interval_and_survives_what_goes_wrong(store: Store) -> None:
    start(store)
    looks = itertools.count()

    def failing(_: RolloutState, __: int) -> Figures:
        next(looks)
        raise RuntimeError("a bug")

    controller = Controller(store, 5.0, read=failing)
    for second in range(11):
        controller.poll(START_US + second * 1_000_000)
    assert next(looks) == 3


KILLS = 50
POINTS = 11
"""Statements of one look that changes something, the commit, and the moment after it."""


def killed_at(path: Path, point: int, now_us: int) -> None:
    """A controller in a process of its own that is killed at a statement, at the commit, or right after it."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        return
    try:
        store, left = Store.open(path), itertools.count(point, -1)

        def strike(*_: object) -> None:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(store._engines.base, "before_cursor_execute", strike)
        sa.event.listen(store._engines.base, "commit", strike)
        advance(store, sound, now_us)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("point", range(POINTS))
def test_a_controller_killed_at_any_point_resumes_and_never_takes_a_step_twice(
    store: Store, tmp_path: Path, point: int
) -> None:
    store.close()
    for number in range(KILLS):
        salt = f"{point}-{number}"
        store = Store.open(tmp_path / "service.db")
        start(store, salt=salt)
        store.close()
        killed_at(tmp_path / "service.db", point, LATER_US)
        store = Store.open(tmp_path / "service.db", check=number == 0)
        advance(store, sound, LATER_US)
        state = read_rollout(store)
        assert state is not None
        assert (state.salt, state.step, state.share, state.champion) == (salt, 1, 0.5, "a")
        rollback(store, BY)
        newest = [row["action"] for row in read_history(store, 3)]
        assert newest == ["rollback", "step", "start"]
        store.close()
