"""`Idempotency-Key`: the same key and body have one effect and get equal answers, however often and wherever sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from serving.api.exchange import caller_of
from serving.kept_answers import Asked, Kept, KeptAnswers
from serving.problems import Problem

__all__ = ["once"]

WAIT_S = 10.0
"""How long a repeated call waits for the first one."""

_LOOK_AGAIN_S = 0.02
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


async def once(request: Request, kept: KeptAnswers, body: bytes, answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of `answer`, or that of the first call with this key; without a key simply the former.

    Raises:
        Problem: 422 the key is none or came with another body before, 409 the first call takes too long.
    """
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return await answer()
    if len(keys) > 1 or not _KEY.match(keys[0]):
        raise Problem(422, "an Idempotency-Key is 1 to 255 visible ASCII characters", code="idempotency_key")
    caller = caller_of(request)
    owner = f"pages of {caller.owner}" if caller.visitors_alone else caller.owner  # what everybody may read is apart
    asked = Asked.of(owner, f"{request.method} {request.url.path}", keys[0], body)
    turn = kept.turn(asked)
    try:
        async with asyncio.timeout(WAIT_S):
            await turn.acquire()
    except TimeoutError:
        raise _in_flight() from None
    try:
        return await _answered(kept, asked, answer)
    finally:
        turn.release()


async def _answered(kept: KeptAnswers, asked: Asked, answer: Callable[[], Awaitable[Response]]) -> Response:
    """In the turn of this process; other processes are waited for by looking again."""
    for _ in range(round(WAIT_S / _LOOK_AGAIN_S)):
        found = await to_thread.run_sync(kept.find, asked)
        if found is not None and found.body_sha256 != asked.body_sha256:
            raise Problem(
                422, "this Idempotency-Key came with another body before; take a new one", code="idempotency_key_reused"
            )
        if found is not None and found.status is not None:
            return _again(found)
        if found is None and (claim := await to_thread.run_sync(kept.claim, asked)) is not None:
            return await _first(kept, asked, claim, answer)
        await asyncio.sleep(_LOOK_AGAIN_S)
    raise _in_flight()


async def _first(kept: KeptAnswers, asked: Asked, claim: str, answer: Callable[[], Awaitable[Response]]) -> Response:
    try:
        response = await answer()
    except BaseException:
        await to_thread.run_sync(kept.let_go, claim, asked)
        raise
    await to_thread.run_sync(kept.keep, claim, asked, response.status_code, bytes(response.body))
    return response


def _again(found: Kept) -> Response:
    headers = {"Idempotency-Replayed": "true"}
    return Response(found.answer, found.status or 200, headers, "application/json")


def _in_flight() -> Problem:
    return Problem(
        409, "the first call with this Idempotency-Key is not done yet", code="in_flight", headers={"Retry-After": "1"}
    )
