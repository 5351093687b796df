"""Which releases are loaded, how traffic is split, every change of it, and the changes themselves for who may."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from anyio import to_thread
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from features.errors import ConfigurationError
from features.instants import format_instant, parse_instant
from serving.api.bodies import ReasonedBody, RolloutBody, RolloutChangeBody, ServedQuery, from_query
from serving.api.exchange import bytes_of, caller_of, json_answer, parsed, ready
from serving.api.once import once
from serving.problems import Problem
from serving.release import Release
from serving.rollouts.controller import Decision, next_step, with_figures
from serving.rollouts.plan import load_plan, shipped_plans
from serving.rollouts.promotion_log import OLDER_ALLOWED, read_history, served_at
from serving.rollouts.state import (
    Change,
    RolloutState,
    SupersededError,
    approve,
    finish_rollout,
    pause,
    read_rollout,
    rollback,
    start_rollout,
)
from serving.runtime import Runtime
from serving.store import Store

__all__ = [
    "CHANGES",
    "approve_step",
    "pause_rollout",
    "promote",
    "releases",
    "resume_rollout",
    "roll_back",
    "rollouts",
    "served",
    "start",
    "step",
]

_SERVED = TypeAdapter(ServedQuery)


async def releases(request: Request) -> Response:
    """GET /v1/releases: the releases in memory, and those that were refused with the reason."""
    runtime = ready(request)
    served = runtime.served
    loaded = [_described(served.champion, "champion", 1.0 if served.challenger is None else 1.0 - served.state.share)]
    if served.challenger is not None:
        loaded.append(_described(served.challenger, "challenger", served.state.share))
    refused = [{"release": name, **why._asdict()} for name, why in runtime.releases.refusals.items()]
    return json_answer({"releases": loaded, "refused": refused})


async def rollouts(request: Request) -> Response:
    """GET /v1/rollouts: the state, what its gates say, and the newest changes, newest first."""
    runtime = ready(request)
    changes = await to_thread.run_sync(read_history, runtime.store)
    history = [
        {
            "at": format_instant(one.pop("at_us")),
            **one,
            "before": _written(one["before"]),
            "after": _written(one["after"]),
        }
        for one in changes
    ]
    state = runtime.served.state
    decision = await to_thread.run_sync(runtime.controller.status, state, runtime.machine_clock())
    return json_answer({"current": _told(state), "next": _next(decision), "history": history})


async def start(request: Request) -> Response:
    """POST /v1/rollouts: begin a rollout by a plan, or by hand where a share is given."""
    runtime, data = ready(request), await bytes_of(request)

    async def answer() -> Response:
        body = parsed(data, RolloutBody)
        if not runtime.releases.exists(body.release):
            raise Problem(422, "there is no release of this name; make one first", code="unknown_release")
        if body.plan not in shipped_plans():
            raise Problem(
                422, f"there is no plan of this name; known: {', '.join(shipped_plans())}", code="unknown_plan"
            )
        plan = None if body.share is not None else load_plan(body.plan)
        share = plan.steps[0].share if plan is not None else body.share
        change = _change(runtime, request, body.why, {OLDER_ALLOWED: 1.0} if body.older else {})
        text = None if plan is None else plan.to_json()
        begun = partial(start_rollout, runtime.store, body.release, share or 0.0, secrets.token_hex(8), change, text)
        return json_answer({"current": _told(await _made(begun))}, 201)

    return await once(request, runtime.kept_answers, data, answer)


def _changing(
    name: str, change: Callable[[Store, Change], RolloutState], body_kind: type[RolloutChangeBody]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        runtime, data = ready(request), await bytes_of(request)

        async def answer() -> Response:
            body = parsed(data, body_kind)
            return json_answer({"current": _told(await _made(partial(_changed, runtime, request, body, change)))})

        return await once(request, runtime.kept_answers, data, answer)

    endpoint.__name__ = name  # metrics and the table of scopes know an endpoint by it
    return endpoint


def _changed(
    runtime: Runtime, request: Request, body: RolloutChangeBody, change: Callable[[Store, Change], RolloutState]
) -> RolloutState:
    state = read_rollout(runtime.store)
    if state is not None and body.revision is not None and body.revision != state.revision:
        raise SupersededError(f"the rollout is at revision {state.revision}; look at it again, then decide")
    made = _change(runtime, request, body.why, {})
    decision = None if state is None else runtime.controller.status(state, made.at_us)
    return change(runtime.store, with_figures(made, decision))


step = _changing("step", next_step, ReasonedBody)
promote = _changing("promote", finish_rollout, ReasonedBody)
roll_back = _changing("roll_back", rollback, RolloutChangeBody)
approve_step = _changing("approve_step", approve, RolloutChangeBody)
pause_rollout = _changing("pause_rollout", lambda store, change: pause(store, True, change), RolloutChangeBody)
resume_rollout = _changing("resume_rollout", lambda store, change: pause(store, False, change), RolloutChangeBody)

CHANGES = {
    "step": step,
    "promote": promote,
    "rollback": roll_back,
    "approve": approve_step,
    "pause": pause_rollout,
    "resume": resume_rollout,
}
"""POST /v1/rollouts/current:NAME."""


async def served(request: Request) -> Response:
    """GET /v1/rollouts/served: which release a customer had at a time, by the promotion log and the hash."""
    runtime, query = ready(request), from_query(_SERVED, request.query_params)
    at_us = runtime.machine_clock() if query.at is None else parse_instant(query.at)
    key = runtime.pseudonyms.of(query.customer_id)
    found = await to_thread.run_sync(served_at, runtime.store, key, at_us)
    if found is None:
        raise Problem(404, "nothing was served at that time; the promotion log begins later", code="nothing_served")
    return json_answer(
        {
            "at": format_instant(at_us),
            "release": found.release,
            "experiment": {"key": found.experiment, "arm": found.arm},
            "change": {"seq": found.seq, "at": format_instant(found.since_us), "who": found.who, "why": found.why},
        }
    )


async def _made(change: Callable[[], RolloutState]) -> RolloutState:
    """The change beside the event loop.

    Raises:
        Problem: 409, the state of things does not allow it.
    """
    try:
        return await to_thread.run_sync(change)
    except (ConfigurationError, SupersededError) as error:
        raise Problem(409, str(error), code=error.code if isinstance(error, SupersededError) else None) from None


def _change(runtime: Runtime, request: Request, why: str, figures: dict[str, Any]) -> Change:
    return Change(caller_of(request).name, runtime.machine_clock(), why, figures)


def _told(state: RolloutState) -> dict[str, Any]:
    return _written(state.to_dict())


def _written(told: dict[str, Any]) -> dict[str, Any]:
    """With instants as people and other systems write them."""
    kept = {name: value for name, value in told.items() if name != "step_started_us"}
    began_us = told.get("step_started_us")
    return kept if began_us is None else {**kept, "step_started_at": format_instant(began_us)}


def _next(decision: Decision | None) -> dict[str, Any] | None:
    """What the controller would do now, and every gate; null where no plan is under way."""
    if decision is None:
        return None
    gates = [vars(replace(one, figures=dict(one.figures))) for one in decision.verdicts]
    return {"action": decision.action, "why": decision.why, "gates": gates}


def _described(release: Release, arm: str, share: float) -> dict[str, object]:
    return {
        "release": release.name,
        "arm": arm,
        "share": share,
        "created_at": release.manifest["created_at"],
        "fingerprint": release.fingerprint,
        "horizon_days": release.churn.horizon_days,
        "items": 0 if release.recommender is None else len(release.recommender.item_ids),
        "provenance": release.manifest["provenance"],
    }
