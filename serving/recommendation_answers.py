"""Recommendations as answered: who, from what history, by which release; the decision kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from features.instants import SECOND_US, format_instant
from serving.churn_answers import model_of
from serving.decisions import Decision
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
    key = _key(runtime, request)
    routed = runtime.served.route(key)
    recommender = _recommender(routed)
    runtime.histories.catch_up()
    history = None if key is None else runtime.histories.history(key)
    latest_us = 0 if key is None else runtime.histories.latest_recorded_us.get(key, 0) + 1
    as_of_us = max(runtime.clock(), latest_us)
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


def _key(runtime: Runtime, request: RecommendationRequest) -> str | None:
    if request.customer_id is not None:
        return runtime.pseudonyms.of(request.customer_id)
    if request.session_id is not None:
        return runtime.pseudonyms.of_anonymous(request.session_id)
    return None


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
