"""Recommendations as answered: who, from what history, by which release; the decision kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from features.customer_view import CustomerView
from features.instants import SECOND_US, format_instant
from serving.churn_answers import model_of
from serving.decisions import Decision
from serving.histories import Histories
from serving.problems import Problem
from serving.recommender import Recommender
from serving.release import Release
from serving.releases import Routed
from serving.runtime import Runtime
from serving.slate import Slate

__all__ = ["RecommendationRequest", "recommend", "similar"]


@dataclass(frozen=True)
class RecommendationRequest:
    """For whom and out of what; see the recommender for the meaning of each field."""

    customer_id: str | None
    session_id: str | None
    limit: int
    exclude_owned: bool = False
    seed_items: Sequence[str] = ()
    candidates: Sequence[str] | None = None


def recommend(runtime: Runtime, request: RecommendationRequest) -> tuple[dict[str, Any], Release]:
    """A slate for a customer, a visitor with a session, or nobody in particular.

    Raises:
        Problem: 404, the release recommends nothing.
        UnavailableError: no release is loaded, or the store cannot be read.
    """
    customer, visitor = _keys(runtime, request)
    key = visitor if customer is None else customer
    routed = runtime.served.route(key)
    recommender = _recommender(routed)
    runtime.histories.catch_up()
    history = _history(runtime.histories, customer, visitor)
    latest = runtime.histories.latest_recorded_us
    as_of_us = max(runtime.clock(), *(latest.get(one, -1) + 1 for one in (customer, visitor) if one is not None), 0)
    slate = recommender.slate(
        history,
        as_of_us,
        request.limit,
        exclude_owned=request.exclude_owned,
        candidates=request.candidates,
        excluded=runtime.out_of_stock,
        seed_items=request.seed_items,
    )
    return _answer(runtime, slate, key, routed, as_of_us), routed.release


def similar(
    runtime: Runtime, item_id: str, limit: int, candidates: Sequence[str] | None
) -> tuple[dict[str, Any], Release]:
    """Items like one; an unknown item gives an empty list with `fallback` true.

    Raises:
        Problem: 404, the release recommends nothing.
        UnavailableError: no release is loaded.
    """
    routed = runtime.served.route(None)
    slate = _recommender(routed).similar(item_id, limit, allowed=candidates, excluded=runtime.out_of_stock)
    return _answer(runtime, slate, None, routed, runtime.clock()), routed.release


def _recommender(routed: Routed) -> Recommender:
    found = routed.release.recommender
    if found is None:
        raise Problem(
            404, "this release was made of a table without purchases and recommends nothing", code="no_recommender"
        )
    return found


def _keys(runtime: Runtime, request: RecommendationRequest) -> tuple[str | None, str | None]:
    """The keys of the customer and of the visitor whom the request names."""
    of, of_anonymous = runtime.pseudonyms.of, runtime.pseudonyms.of_anonymous
    customer = None if request.customer_id is None else of(request.customer_id)
    visitor = None if request.session_id is None else of_anonymous(request.session_id)
    return customer, visitor


def _history(histories: Histories, customer: str | None, visitor: str | None) -> CustomerView | None:
    """Of the customer, of the visitor, or of both at once: a login need not be known yet."""
    if customer is not None and visitor is not None:
        return histories.together(customer, visitor)
    key = visitor if customer is None else customer
    return None if key is None else histories.history(key)


def _answer(runtime: Runtime, slate: Slate, key: str | None, routed: Routed, as_of_us: int) -> dict[str, Any]:
    release, arm, experiment = routed
    recommendation_id = f"r-{runtime.new_id()}"
    items = tuple(item.item_id for item in slate.items)
    runtime.decisions.record(
        Decision(
            recommendation_id,
            "recommendation",
            key,
            as_of_us,
            release.name,
            experiment,
            arm,
            item_ids=items,
            propensities=slate.propensities or (1.0,) * len(items),
        )
    )
    runtime.metrics.predicted("recommendation", release.name, arm)
    return {
        "recommendation_id": recommendation_id,
        "items": [vars(item) for item in slate.items],
        "strategy": slate.strategy,
        "fallback": slate.fallback,
        "filtered_count": slate.filtered_count,
        "experiment": {"key": experiment, "arm": arm},
        "model": model_of(release, "recommender"),
        "expires_at": format_instant(as_of_us + runtime.settings.recommendation_ttl_s * SECOND_US),
    }
