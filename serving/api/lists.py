"""What a CRM reads page by page: the work list, who changed band, early warnings."""

from __future__ import annotations

from anyio import to_thread
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from serving.api.bodies import SinceQuery, WorkListQuery, from_query
from serving.api.exchange import in_language, json_answer, language_of, ready
from serving.feeds import changes_since, warnings_since
from serving.listing import work_list
from serving.work_list import Choice

__all__ = ["customers", "score_changes", "warnings"]

_WORK_LIST = TypeAdapter(WorkListQuery)
_SINCE = TypeAdapter(SinceQuery)


async def customers(request: Request) -> Response:
    """GET /v1/customers: the work list, from the newest book of scores."""
    runtime, asked = ready(request), from_query(_WORK_LIST, request.query_params)
    choice = Choice(tuple(asked.band), tuple(asked.stage), tuple(asked.segment), asked.everybody, asked.sort)
    language = language_of(request)
    page = await to_thread.run_sync(work_list, runtime, choice, asked.cursor, asked.limit, language)
    return json_answer(page, headers={"X-Release": str(page["release"]), **in_language(language)})


async def score_changes(request: Request) -> Response:
    """GET /v1/scores/changes: who changed band since a cursor, in order."""
    runtime, asked = ready(request), from_query(_SINCE, request.query_params)
    return json_answer(await to_thread.run_sync(changes_since, runtime, asked.since, asked.limit))


async def warnings(request: Request) -> Response:
    """GET /v1/warnings: early warnings since a cursor, in order."""
    runtime, asked = ready(request), from_query(_SINCE, request.query_params)
    return json_answer(await to_thread.run_sync(warnings_since, runtime, asked.since, asked.limit))
