"""What to show: recommendations for a customer or a visitor, and items like one."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from features.schema import MAX_ID_LENGTH
from serving.api.bodies import RankBody, RecommendationBody, SimilarBody, from_query
from serving.api.exchange import about, body_of, in_language, language_of, prediction, ready
from serving.problems import Problem
from serving.recommendation_answers import RANK, RecommendationRequest, going_on, recommend, similar
from serving.slate_rules import Boost
from serving.storefront import SlateRequest

__all__ = ["rank", "recommendations", "similar_items"]

B = TypeVar("B", RecommendationBody, SimilarBody)

_QUERY = TypeAdapter(RecommendationBody)
_SIMILAR_QUERY = TypeAdapter(SimilarBody)


async def recommendations(request: Request) -> Response:
    """POST /v1/recommendations, or GET for caches: an unknown visitor gets 200 with `fallback` true."""
    body = await body_of(request, RecommendationBody) if request.method == "POST" else _from(_QUERY, request)
    wanted = SlateRequest(
        limit=body.limit,
        where=body.filter,
        boosts=tuple(Boost(one.where, one.factor) for one in body.boost),
        diversity=body.diversity,
        seed_items=tuple(body.seed_items),
        candidates=None if body.candidates is None else tuple(body.candidates),
        language=language_of(request),
    )
    exclude = {
        "owned": body.exclude_owned,
        "seen": body.exclude_seen,
        "bought_within_days": body.exclude_bought_within_days,
    }
    asked = RecommendationRequest(body.customer_id, body.session_id, wanted, body.placement, exclude)
    runtime = ready(request)
    await about(request, runtime, body.customer_id, body.session_id)
    if body.next_of is not None:
        asked = await going_on(runtime, asked, body.next_of)
    return prediction(*recommend(runtime, asked), _headers(request, "private"))


async def rank(request: Request) -> Response:
    """POST /v1/rank: a list brought into the order of a customer or a visitor."""
    body = await body_of(request, RankBody)
    limit = len(body.items) if body.limit is None else body.limit
    wanted = SlateRequest(limit, where=body.filter, candidates=tuple(body.items), language=language_of(request))
    asked = RecommendationRequest(body.customer_id, body.session_id, wanted, RANK)
    runtime = ready(request)
    await about(request, runtime, body.customer_id, body.session_id)
    return prediction(*recommend(runtime, asked), _headers(request, "private"))


async def similar_items(request: Request) -> Response:
    """POST /v1/items/{item_id}/similar, or GET for caches."""
    body = await body_of(request, SimilarBody) if request.method == "POST" else _from(_SIMILAR_QUERY, request)
    wanted = SlateRequest(
        body.limit,
        where=body.filter,
        candidates=None if body.candidates is None else tuple(body.candidates),
        language=language_of(request),
    )
    item_id: str = request.path_params["item_id"]
    if not 1 <= len(item_id) <= MAX_ID_LENGTH:  # as in a body
        raise Problem(422, f"an item_id has 1 to {MAX_ID_LENGTH} characters")
    answer = similar(ready(request), item_id, wanted)
    return prediction(*answer, _headers(request, "public"))


def _from(kind: TypeAdapter[B], request: Request) -> B:
    """The same fields as in a body, from the query; lists are comma-separated."""
    return from_query(kind, request.query_params)


def _headers(request: Request, who: str) -> dict[str, str]:
    """The language of the reasons; for an answer to GET also who may keep it, and how long."""
    told = in_language(language_of(request))
    if request.method == "POST":
        return told
    return {"Cache-Control": f"{who}, max-age={request.app.state.settings.recommendation_ttl_s}", **told}
