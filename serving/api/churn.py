"""Churn for one customer and in batch. The score ranks customers; the probability is calibrated."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from anyio import to_thread
from pydantic import TypeAdapter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from serving.api.bodies import ChurnQuery, ScoreBatchBody, from_query
from serving.api.exchange import about, body_of, in_language, json_answer, language_of, prediction, ready
from serving.churn_answers import answer_many, answer_one
from serving.churn_gathering import ChurnRequest, gather
from serving.languages import Language
from serving.problems import Problem

__all__ = ["customer_churn", "score_batch"]

_QUERY = TypeAdapter(ChurnQuery)


async def customer_churn(request: Request) -> Response:
    """GET /v1/customers/{customer_id}/churn: fresh by default, the event accepted a moment ago included."""
    runtime = ready(request)
    language = language_of(request)
    wanted = _asked(request.scope["query_string"], language)
    customer_id: str = request.path_params["customer_id"]
    await about(request, runtime, customer_id)
    gathered = gather(runtime, (customer_id,), wanted)
    return prediction(*answer_one(runtime, gathered), headers=in_language(language))


async def score_batch(request: Request) -> Response:
    """POST /v1/churn/score:batch: at most 1,000 ids; a result or a problem for each, in the order sent."""
    runtime = ready(request)
    body = await body_of(request, ScoreBatchBody)
    language = language_of(request)
    gathered = gather(runtime, body.customer_ids, _wanted(body, language))
    answers, releases = await to_thread.run_sync(answer_many, runtime, gathered)
    results = [_row(index, answer) for index, answer in enumerate(answers)]
    failed = sum("problem" in row for row in results)
    content = {"scored": len(results) - failed, "failed": failed, "results": results}
    return json_answer(content, headers={"X-Release": ", ".join(releases), **in_language(language)})


@lru_cache(maxsize=1_024)
def _asked(query: bytes, language: Language) -> ChurnRequest:
    """Callers ask in few ways: each is read once."""
    return _wanted(from_query(_QUERY, QueryParams(query.decode("latin-1"))), language)


def _wanted(query: ChurnQuery, language: Language) -> ChurnRequest:
    return ChurnRequest(
        as_of=query.as_of,
        stored=query.freshness == "stored",
        fresh=query.freshness == "fresh" and "freshness" in query.model_fields_set,
        reasons="reasons" in query.include,
        actions="actions" in query.include,
        forecast="forecast" in query.include,
        trend="trend" in query.include,
        trend_computed="include" in query.model_fields_set,
        segment="segment" in query.include,
        what_if="what_if" in query.include,
        language=language,
    )


def _row(index: int, answer: dict[str, Any] | Problem) -> dict[str, Any]:
    if isinstance(answer, Problem):
        return {"index": index, "problem": answer.to_dict()}
    return {"index": index, "churn": answer}
