"""What to show: recommendations for a customer or a visitor, and items like one."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from serving.api.bodies import RecommendationBody, SimilarBody, from_query
from serving.api.exchange import body_of, prediction, ready
from serving.recommendation_answers import RecommendationRequest, recommend, similar

__all__ = ["recommendations", "similar_items"]

B = TypeVar("B", RecommendationBody, SimilarBody)

_QUERY = TypeAdapter(RecommendationBody)
_SIMILAR_QUERY = TypeAdapter(SimilarBody)


async def recommendations(request: Request) -> Response:
    """POST /v1/recommendations, or GET for caches: an unknown visitor gets 200 with `fallback` true."""
    body = await body_of(request, RecommendationBody) if request.method == "POST" else _from(_QUERY, request)
    wanted = RecommendationRequest(
        body.customer_id, body.session_id, body.limit, body.exclude_owned, body.seed_items, body.candidates
    )
    return prediction(*recommend(ready(request), wanted), _cached(request, "private"))


async def similar_items(request: Request) -> Response:
    """POST /v1/items/{item_id}/similar, or GET for caches."""
    body = await body_of(request, SimilarBody) if request.method == "POST" else _from(_SIMILAR_QUERY, request)
    answer = similar(ready(request), request.path_params["item_id"], body.limit, body.candidates)
    return prediction(*answer, _cached(request, "public"))


def _from(kind: TypeAdapter[B], request: Request) -> B:
    """The same fields as in a body, from the query; lists are comma-separated."""
    return from_query(kind, request.query_params)


def _cached(request: Request, who: str) -> dict[str, str] | None:
    if request.method == "POST":
        return None
    return {"Cache-Control": f"{who}, max-age={request.app.state.settings.recommendation_ttl_s}"}
