"""Events in: acknowledged means on disk, and the next score and recommendation of that customer include them."""

from __future__ import annotations

import asyncio
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from features.instants import parse_instant
from serving.access.scopes import Caller
from serving.api.bodies import EventBody, EventsBody, rejections
from serving.api.exchange import bytes_of, caller_of, json_answer, parsed, ready
from serving.api.once import once
from serving.following import CLOCK_SKEW_US
from serving.problems import Problem
from serving.runtime import Runtime
from serving.store import EVENT_FIELDS

__all__ = ["post_events"]

_COPIED = tuple(name for name in EVENT_FIELDS if name not in ("customer_key", "occurred_at", "recorded_at"))


async def post_events(request: Request) -> Response:
    """POST /v1/events: at most 500; 202 with what was accepted, what was known already, and why the rest was not."""
    runtime, data = ready(request), await bytes_of(request)
    return await once(request, runtime.kept_answers, data, lambda: _taken(runtime, data, caller_of(request)))


async def _taken(runtime: Runtime, data: bytes, caller: Caller) -> Response:
    body = parsed(data, EventsBody)
    fitting, rejected = rejections(body.events)
    rows: list[tuple[dict[str, Any], str | None]] = []
    named: dict[str, str | None] = {}
    now_us, currency = runtime.clock(), runtime.histories.currency
    for index, event in fitting:
        row = _row(runtime, event)
        if not caller.may_name(event.customer_id):
            rejected.append({"index": index, "code": "forbidden", "message": "you may not speak for this customer"})
        elif row["occurred_at"] < 0:  # as an import does; before the year 1 in UTC it could not even be written out
            rejected.append({"index": index, "code": "out_of_range", "message": "occurred_at lies before 1970"})
        elif row["occurred_at"] > now_us + CLOCK_SKEW_US:
            if runtime.following.lack_of_time(now_us) is not None:
                raise _clock_behind()
            rejected.append({"index": index, "code": "in_the_future", "message": "occurred_at lies in the future"})
        elif currency is not None and event.currency is not None and event.currency != currency:
            message = f"amounts are kept in {currency}; convert this one first"
            rejected.append({"index": index, "code": "currency", "message": message})
        else:
            currency = currency or event.currency
            rows.append((row, _visitor(runtime, event)))
            named[row["customer_key"]] = event.customer_id
    await _met(runtime, named)
    accepted, deduplicated = await _kept(runtime, rows)
    for outcome, count in (("accepted", accepted), ("deduplicated", deduplicated), ("rejected", len(rejected))):
        if count:
            runtime.metrics.events.labels(outcome).inc(count)
    rejected.sort(key=lambda one: int(one["index"]))
    return json_answer({"accepted": accepted, "deduplicated": deduplicated, "rejected": rejected}, 202)


def _clock_behind() -> Problem:
    """Rather than rejecting as of the future what is only ahead of a clock that was set back."""
    return Problem(
        503,
        "the service's clock lies behind what was recorded by it; nothing was taken, send it again once it is right",
        code="clock_behind",
        headers={"Retry-After": "60"},
    )


async def _met(runtime: Runtime, named: dict[str, str | None]) -> None:
    """The ids of customers who are new here are on disk before their events are."""
    new = {
        key: customer_id
        for key, customer_id in named.items()
        if customer_id is not None and not runtime.met.has_seen(key) and not runtime.histories.knows(key)
    }
    if new:
        await to_thread.run_sync(runtime.met.meet, new)


async def _kept(runtime: Runtime, rows: list[tuple[dict[str, Any], str | None]]) -> tuple[int, int]:
    """(accepted, duplicates) after the commit; events of the sealed log are known already.

    A row comes with the key of the visitor whom it names beside the customer; both are linked in the same commit.
    """
    sealed = runtime.histories.sealed
    new = [one for one in rows if not sealed.has(one[0]["event_id"])]
    if not new:
        return 0, len(rows)
    taken = runtime.intake.submit([row for row, _ in new], [visitor for _, visitor in new])
    accepted, repeated = await asyncio.wrap_future(taken)
    return accepted, repeated + len(rows) - len(new)


def _row(runtime: Runtime, event: EventBody) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in _COPIED}
    if event.customer_id is not None:
        row["customer_key"] = runtime.pseudonyms.of(event.customer_id)
    else:
        row["customer_key"] = runtime.pseudonyms.of_anonymous(str(event.anonymous_id))
    row["occurred_at"] = parse_instant(event.occurred_at)
    return row


def _visitor(runtime: Runtime, event: EventBody) -> str | None:
    """The visitor whom an event of a customer names as well, as that of a login does."""
    if event.customer_id is None or event.anonymous_id is None:
        return None
    return runtime.pseudonyms.of_anonymous(event.anonymous_id)
