"""Recommendations as answered: who, from what history, by which release; the decision kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from features.customer_view import CustomerView
from features.errors import ArtefactError, FilterError, UnavailableError
from features.instants import SECOND_US, format_instant
from serving.churn_answers import model_of
from serving.decisions import Decision
from serving.following import HISTORY_UNREADABLE
from serving.kept_requests import kept_request
from serving.pages import Page, page_id
from serving.problems import FieldError, Problem
from serving.recipe import Recipe
from serving.recommender import Recommender
from serving.release import Release
from serving.releases import Routed, experiment_of
from serving.request_context import span
from serving.rollouts.counting import Counting, shadowed
from serving.rollouts.shadow_lines import AskedSlate
from serving.runtime import Runtime
from serving.slate import Slate
from serving.storefront import SlateRequest, Storefront

__all__ = ["RANK", "RecommendationRequest", "going_on", "recommend", "similar"]

log = logging.getLogger("holdfast.answers")

RANK = "rank"
"""The placement of a list that the caller brings: nothing but filter and stock takes anything out."""

_AS_THEY_ARE = Recipe(RANK)
_SIMILAR = "similar"
_BOOK_DAYS = 3  # an older score says nothing of whom to win back today


@dataclass(frozen=True)
class RecommendationRequest:
    """For whom, at which placement, and what is wanted there.

    The fields of `exclude` that are None are as the recipe says.
    """

    customer_id: str | None
    session_id: str | None
    wanted: SlateRequest
    placement: str = "home"
    exclude: Mapping[str, Any] = field(default_factory=dict)

    @property
    def excludes(self) -> dict[str, Any]:
        """The exclusions that are said."""
        return {name: value for name, value in self.exclude.items() if value is not None}


def recommend(runtime: Runtime, request: RecommendationRequest) -> tuple[dict[str, Any], Release]:
    """A slate for a customer, a visitor with a session, or nobody in particular.

    Raises:
        Problem: 404, the release recommends nothing; 422, there is no such placement, or a filter cannot be followed.
        UnavailableError: no release is loaded.
    """
    customer, visitor = _keys(runtime, request)
    served, key = runtime.served, visitor if customer is None else customer
    routed = served.route(key)
    champion = served.standing_in(routed)
    if champion is None:
        return _recommended(runtime, request, (customer, visitor), routed), routed.release
    try:
        return _recommended(runtime, request, (customer, visitor), routed), routed.release
    except UnavailableError:
        raise
    except Exception as error:
        answer = _recommended(runtime, request, (customer, visitor), champion)  # raises what is the caller's fault
        log.warning("release %s failed (%s); the champion stands in", routed.release.name, type(error).__name__)
        if isinstance(error, Problem):  # it lacks what the champion has: a placement, a recommender
            runtime.totals.answered(routed.experiment, routed.release.name, routed.arm, errors=1)
        return answer, champion.release


def _recommended(
    runtime: Runtime, request: RecommendationRequest, keys: tuple[str | None, str | None], routed: Routed
) -> dict[str, Any]:
    """The slate of one release.

    Raises:
        ArtefactError: the release answers no number.
    """
    (customer, visitor), key = keys, keys[1] if keys[0] is None else keys[0]
    recipe = _recipe(routed.release, request)
    wanted = request.wanted
    with span("history"):
        history, degraded = _history(runtime, customer, visitor)
    latest = runtime.histories.latest_recorded_us
    as_of_us = max(runtime.clock(), *(latest.get(one, -1) + 1 for one in (customer, visitor) if one is not None), 0)
    risk, risk_as_of_us = _risk(runtime, routed.release, customer, as_of_us)
    storefront = runtime.storefronts.of(_recommender(routed))
    _checked(storefront, wanted)
    recommendation_id = page_id(runtime.clock(), runtime.new_id())
    with Counting(runtime.totals, (routed,) if routed.stood_in_for is None else ()) as counting, span("rank"):
        slate = storefront.slate(history, as_of_us, wanted, recipe, risk, recommendation_id=recommendation_id)
        counting.fallback = slate.fallback and degraded is None  # that is not the release's doing
        if not slate.finite:
            raise ArtefactError(
                f"release {routed.release.name} scores no number; take it away: holdfast rollout rollback"
            )
    kept = None if request.placement == RANK else kept_request(wanted, request.excludes)  # its items say it all
    asked = _Asked(request.placement, kept, risk)
    answer = _answer(runtime, recommendation_id, slate, key, routed, as_of_us, asked)
    if shadowed(routed):
        as_asked = (None if request.placement == RANK else request.placement, wanted, request.excludes)
        runtime.shadow.hand_over(AskedSlate.of(customer, visitor, as_of_us, as_asked, risk, answer))
    if degraded is not None:
        answer |= {"degraded": True, "degraded_reason": degraded}
        runtime.metrics.degraded.labels("recommendation", degraded).inc()
    answer["freshness"]["churn_probability"] = None if risk_as_of_us is None else format_instant(risk_as_of_us)
    shown = Page(key, request.placement, (*wanted.earlier, *(item.item_id for item in slate.items)))
    runtime.pages.keep(answer["recommendation_id"], shown)
    return answer


async def going_on(runtime: Runtime, request: RecommendationRequest, next_of: str) -> RecommendationRequest:
    """The request of the page behind another one, whichever process gave that; `next_of` is its id.

    Raises:
        Problem: 410, the page is older than a day, was never kept, or was another customer's or placement's.
        UnavailableError: the store cannot be read now.
    """
    customer, visitor = _keys(runtime, request)
    page = await runtime.pages.find(next_of)
    if page is None or (page.customer_key, page.placement) != (customer or visitor, request.placement):
        raise Problem(
            410,
            "the page before is no longer known, or was another customer's or placement's; ask for a new list",
            code="page_gone",
        )
    return replace(request, wanted=replace(request.wanted, earlier=page.item_ids))


def similar(runtime: Runtime, item_id: str, wanted: SlateRequest) -> tuple[dict[str, Any], Release]:
    """Items like one; an unknown item gives an empty list with `fallback` true.

    Raises:
        Problem: 404, the release recommends nothing; 422, a filter cannot be followed.
        UnavailableError: no release is loaded.
    """
    routed = runtime.served.route(None)
    storefront, wanted = runtime.storefronts.of(_recommender(routed)), replace(wanted, seed_items=(item_id,))
    _checked(storefront, wanted)
    slate = storefront.slate(None, runtime.clock(), wanted, _AS_THEY_ARE)
    if slate.strategy != _SIMILAR:
        slate = replace(slate, items=(), strategy="none", more=False)
    answer = _answer(
        runtime, page_id(runtime.clock(), runtime.new_id()), slate, None, routed, runtime.clock(), _Asked()
    )
    return answer, routed.release


@dataclass(frozen=True)
class _Asked:
    """What a decision keeps of how it came about, see `Decision`."""

    placement: str | None = None
    request: str | None = None
    churn_probability: float | None = None


def _recipe(release: Release, request: RecommendationRequest) -> Recipe:
    """The recipe of the placement with what the request says of exclusions."""
    found = release.recipes.get(request.placement)
    if request.placement == RANK:
        found = _AS_THEY_ARE
    if found is None:
        known = ", ".join(sorted(release.recipes))
        fault = FieldError("/placement", "unknown_placement", f"known: {known}")
        raise Problem(422, f"there is no such placement; known: {known}", code="unknown_placement", errors=(fault,))
    said = request.excludes
    if not said:
        return found
    return replace(found, rules=replace(found.rules, exclude=replace(found.rules.exclude, **said)))


def _history(runtime: Runtime, customer: str | None, visitor: str | None) -> tuple[CustomerView | None, str | None]:
    """Of whom the request names, as far as it can be read, and why the answer is degraded, where it is."""
    degraded = runtime.following.lack(runtime.clock())
    try:
        return runtime.histories.at_hand(customer, visitor), degraded
    except Exception as error:
        log.warning("a history could not be read (%s); what is popular stands in", type(error).__name__)
        return None, HISTORY_UNREADABLE


def _risk(runtime: Runtime, release: Release, key: str | None, as_of_us: int) -> tuple[float | None, int | None]:
    """The customer's churn probability in the newest book of scores, and of when it is."""
    book = None if key is None else runtime.books.near(as_of_us, release.name, within_days=_BOOK_DAYS)
    row = None if book is None else book.row(str(key))
    return (None, None) if book is None or row is None else (float(book.probability[row]), book.name.as_of_us)


def _checked(storefront: Storefront, wanted: SlateRequest) -> None:
    """Every filter of a request that cannot be followed, at once."""
    named = [("/filter", wanted.where)] if wanted.where else []
    named += [(f"/boost/{number}/where", boost.where) for number, boost in enumerate(wanted.boosts)]
    faults = []
    for pointer, text in named:
        try:
            storefront.masks.mask(text)  # a look-up for a filter that comes again
        except FilterError as error:
            faults.append(FieldError(pointer, "filter", str(error)))
    if faults:
        raise Problem(422, faults[0].detail, code="filter", errors=tuple(faults))


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


def _answer(
    runtime: Runtime,
    recommendation_id: str,
    slate: Slate,
    key: str | None,
    routed: Routed,
    as_of_us: int,
    asked: _Asked,
) -> dict[str, Any]:
    release, arm, experiment, _ = routed
    learnt_us = _recommender(routed).settings.learnt_until_us
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
            asked.churn_probability,
            items,
            propensities=slate.propensities or (1.0,) * len(items),
            placement=asked.placement,
            request=asked.request,
        )
    )
    runtime.metrics.predicted("recommendation", release.name, arm)
    if slate.fallback:
        runtime.metrics.fell_back("recommendation", release.name, arm)
    return {
        "recommendation_id": recommendation_id,
        "items": [vars(item) for item in slate.items],
        "strategy": slate.strategy,
        "fallback": slate.fallback,
        "filtered_count": slate.filtered_count,
        "filtered": dict(slate.filtered),
        "unknown_count": slate.unknown_count,
        "more": slate.more,
        "objective": dict(slate.objective),
        "freshness": {
            "history": format_instant(as_of_us),
            "models": format_instant(learnt_us) if learnt_us else None,
            "churn_probability": None,
        },
        "experiment": experiment_of(routed),
        "model": model_of(release, "recommender"),
        "degraded": False,
        "degraded_reason": None,
        "expires_at": format_instant(as_of_us + runtime.settings.recommendation_ttl_s * SECOND_US),
    }
