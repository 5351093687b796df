"""Every call of the interface, with its example and where its answer leads; the API document is written from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from serving.api import examples, rollout_examples
from serving.api.bodies import (
    ChurnQuery,
    EventsBody,
    RankBody,
    ReasonedBody,
    RecommendationBody,
    RolloutBody,
    RolloutChangeBody,
    ScoreBatchBody,
    ServedQuery,
    SimilarBody,
    SinceQuery,
    WorkListQuery,
)

__all__ = ["CALLS", "TAGS", "Call", "Link"]


@dataclass(frozen=True)
class Link:
    """A call that an answer leads to: `given` are its parameters by name, or members of its body, out of the answer."""

    name: str
    method: str
    path: str
    given: Mapping[str, str]
    in_body: bool = False


@dataclass(frozen=True)
class Call:
    """One call of the interface, with its example."""

    method: str
    path: str
    summary: str
    status: int
    answer: Any
    body: type[BaseModel] | None = None
    sent: dict[str, Any] | None = None
    asked: type[BaseModel] | None = None
    query: tuple[tuple[str, str], ...] = ()
    example_path: str = ""
    problems: tuple[int, ...] = ()
    tag: str = "Operations"
    has_texts: bool = False
    repeatable: bool = False
    links: tuple[Link, ...] = ()

    def curl(self) -> str:
        """A line to try it with."""
        address = f"http://127.0.0.1:3000{self.example_path or self.path}"
        line = f"curl -s '{address}'" if "&" in address else f"curl -s {address}"
        if self.sent is None:
            return line
        return f"{line} -H 'Content-Type: application/json' -d '{json.dumps(self.sent)}'"


_INCLUDE = (
    "comma-separated: reasons, actions, forecast, trend, segment (the default), what_if; empty for none. A trend that "
    "no book of scores tells is computed again if it is named here, and null otherwise"
)
_FRESHNESS = (
    "fresh (default) or stored: features of the newest snapshot. A release of a table answers from the stored table; "
    "fresh and as_of are not_supported there (422), and data_quality.unseen_features names what training never saw"
)
_CHURN_QUERY = (
    ("as_of", "an ISO-8601 instant with an offset: the score as it would have been then"),
    ("freshness", _FRESHNESS),
    ("include", _INCLUDE),
)
_WHAT_IF = "With what_if, reasons say if_resolved: the probability as if they were; an association, not an effect."
_WORK_LIST_QUERY = (
    ("band", "comma-separated out of low, medium, high; all of them by default"),
    ("stage", "comma-separated keys of lifecycle stages"),
    ("segment", "comma-separated keys of segments"),
    ("everybody", "true: also those who have left already, or nearly so; false by default"),
    ("sort", "expected_loss, churn_probability or next_purchase, a minus in front for descending; -expected_loss"),
    ("cursor", "next_cursor of the page before, with everything else as it was"),
    ("limit", "1 to 1000, 100 by default"),
)
_SINCE_QUERY = (
    ("since", "the cursor of the answer before; without one, from the beginning"),
    ("limit", "1 to 1000, 500 by default"),
)
_SLATE_QUERY = (
    ("customer_id", "the outside id"),
    ("session_id", "the anonymous_id of the visitor's events"),
    ("placement", "a recipe: home, product_page, basket, email, or one of the shop's own"),
    ("limit", "1 to 100; without it, as the recipe says"),
    ("seed_items", "comma-separated item ids"),
    ("candidates", "comma-separated item ids: rank these alone"),
    ("filter", "an expression over item attributes, such as price_minor < 2000 and category != 'gifts'"),
    ("exclude_owned", "true or false; without it, as the recipe says"),
    ("exclude_seen", "true or false; without it, as the recipe says"),
    ("exclude_bought_within_days", "0 to 3650; without it, as the recipe says"),
    ("diversity", "0 (by score alone) to 1 (by difference alone); without it, as the recipe says"),
    ("next_of", "the recommendation_id of the page before"),
)
_ALL = (400, 413, 415, 422, 503)
TAGS = {
    "CRM": "Who is about to leave, why, and what to do about it.",
    "Storefront": "What to show to whom.",
    "Events": "What happened, as it happens.",
    "Operations": "What is served, and how it fares.",
}
"""The groups of calls, in the order of the page."""

_CHURN_OF, _SIMILAR_TO = "/v1/customers/{customer_id}/churn", "/v1/items/{item_id}/similar"
_FIRST_LISTED = {"customer_id": "$response.body#/customers/0/customer_id"}
_AFTER_SLATE = (
    Link("NextPage", "post", "/v1/recommendations", {"next_of": "$response.body#/recommendation_id"}, in_body=True),
    Link("LikeTheFirst", "get", _SIMILAR_TO, {"item_id": "$response.body#/items/0/item_id"}),
)
_LIKE_THE_FIRST = _AFTER_SLATE[1:]
_AS_LEFT = {"revision": "$response.body#/current/revision"}
_AFTER_CHANGE = (
    Link("Rollouts", "get", "/v1/rollouts", {}),
    *(
        Link(name, "post", f"/v1/rollouts/current:{word}", _AS_LEFT, in_body=True)
        for name, word in (("Approve", "approve"), ("Pause", "pause"), ("Resume", "resume"), ("RollBack", "rollback"))
    ),
)
CALLS = (
    Call("get", _CHURN_OF, "Churn of one customer, the last accepted event included. "
         f"The score ranks, the probability is calibrated. {_WHAT_IF}", 200, examples.CHURN, asked=ChurnQuery,
         query=_CHURN_QUERY,
         example_path="/v1/customers/17850/churn?include=reasons,actions,forecast,trend,segment,what_if",
         problems=(404, 422, 503), tag="CRM", has_texts=True),
    Call("post", "/v1/churn/score:batch", "Churn of at most 1,000 customers: a result or a problem for each.", 200,
         examples.BATCH, ScoreBatchBody, {"customer_ids": ["17850", "13047"]}, problems=(*_ALL, 404), tag="CRM",
         has_texts=True,
         links=(Link("ChurnOfOne", "get", _CHURN_OF, {"customer_id": "$request.body#/customer_ids/0"}),)),
    Call("get", "/v1/customers", "The work list: customers of the newest book of scores, those with the largest "
         "expected loss first. The pages of one cursor are all of one book.", 200, examples.WORK_LIST,
         asked=WorkListQuery, query=_WORK_LIST_QUERY,
         example_path="/v1/customers?band=high&sort=-expected_loss&limit=50",
         problems=(404, 410, 422, 503), tag="CRM", has_texts=True, links=(
             Link("ChurnOfTheFirst", "get", _CHURN_OF, _FIRST_LISTED),
             Link("ServedTheFirst", "get", "/v1/rollouts/served", _FIRST_LISTED),
             Link("NextPage", "get", "/v1/customers", {"cursor": "$response.body#/next_cursor"}),
             Link("ChangesSince", "get", "/v1/scores/changes", {"since": "$response.body#/changes_cursor"}))),
    Call("get", "/v1/scores/changes", "Who changed band from one book of scores to the next, who entered and who "
         "left. A cursor always gives the same, and nothing is skipped.", 200, examples.CHANGES,
         asked=SinceQuery, query=_SINCE_QUERY, example_path="/v1/scores/changes?limit=500",
         problems=(404, 410, 422, 503), tag="CRM",
         links=(Link("ChangesSince", "get", "/v1/scores/changes", {"since": "$response.body#/cursor"}),)),
    Call("get", "/v1/warnings", "Early warnings, in the order in which they were given: whose risk rose fast, each "
         "customer once a cool-down, no more a week than the capacity.", 200, examples.WARNINGS,
         asked=SinceQuery, query=_SINCE_QUERY, example_path="/v1/warnings?limit=500", problems=(422, 503), tag="CRM",
         links=(Link("WarningsSince", "get", "/v1/warnings", {"since": "$response.body#/cursor"}),)),
    Call("post", "/v1/recommendations", "What to show. An unknown visitor gets 200 with fallback true.", 200,
         examples.RECOMMENDED, RecommendationBody, {"customer_id": "17850", "limit": 5}, problems=(*_ALL, 404, 410),
         tag="Storefront", has_texts=True, links=_AFTER_SLATE),
    Call("get", "/v1/recommendations", "The same, for caches.", 200, examples.RECOMMENDED, asked=RecommendationBody,
         query=_SLATE_QUERY, example_path="/v1/recommendations?customer_id=17850", problems=(404, 410, 422, 503),
         tag="Storefront", has_texts=True, links=_AFTER_SLATE),
    Call("post", "/v1/rank", "A list of the caller's own in the order of a customer or a visitor. Only the filter and "
         "the stock take items out.", 200, examples.RECOMMENDED, RankBody,
         {"customer_id": "17850", "items": ["85123A", "71053"]}, problems=(*_ALL, 404), tag="Storefront",
         has_texts=True, links=_LIKE_THE_FIRST),
    Call("post", _SIMILAR_TO, "Items like one.", 200, examples.SIMILAR, SimilarBody, {"limit": 5},
         example_path="/v1/items/85123A/similar", problems=(*_ALL, 404), tag="Storefront", has_texts=True,
         links=_LIKE_THE_FIRST),
    Call("get", _SIMILAR_TO, "The same, for caches.", 200, examples.SIMILAR, asked=SimilarBody,
         query=(("limit", "1 to 100"), ("candidates", "comma-separated item ids"),
                ("filter", "an expression over item attributes")),
         example_path="/v1/items/85123A/similar", problems=(404, 422, 503), tag="Storefront", has_texts=True,
         links=_LIKE_THE_FIRST),
    Call("post", "/v1/events", "Events in, at most 500. Acknowledged means on disk; event_id makes it idempotent. "
         "Each event is an Event; a faulty one is rejected by itself. One with customer_id and anonymous_id, as of a "
         "login, gives the customer what the visitor did before.", 202, examples.EVENTS_TAKEN, EventsBody,
         examples.EVENTS_BODY, problems=(*_ALL, 409, 507), tag="Events", repeatable=True,
         links=(Link("ChurnOfTheFirst", "get", _CHURN_OF, {"customer_id": "$request.body#/events/0/customer_id"}),)),
    Call("get", "/v1/releases", "The releases in memory, and those that were refused.", 200, examples.RELEASES,
         problems=(503,)),
    Call("get", "/v1/rollouts", "How traffic is split, what the gates say, and every change.", 200,
         rollout_examples.ROLLOUTS, problems=(503,)),
    Call("post", "/v1/rollouts", "Roll a release out: by a plan that the service leads and its gates may end, "
         "or by hand from a share on.", 201, rollout_examples.ROLLOUT_CHANGED, RolloutBody,
         {"release": "r-8e21c4f7a05b", "plan": "default", "why": "new season"}, problems=(*_ALL, 409, 507),
         repeatable=True, links=_AFTER_CHANGE),
    Call("get", "/v1/rollouts/served", "What served a customer at a time, by the promotion log and the hash.", 200,
         rollout_examples.SERVED, asked=ServedQuery,
         query=(("customer_id", "the outside id"), ("at", "an ISO-8601 instant with an offset; without it, now")),
         example_path="/v1/rollouts/served?customer_id=17850&at=2026-03-01T09:30:00Z", problems=(404, 422, 503)),
    *(Call("post", f"/v1/rollouts/current:{name}", summary, 200, rollout_examples.ROLLOUT_CHANGED, kind,
           {"why": "seen enough", "revision": 4}, problems=(*_ALL, 409, 507), repeatable=True,
           links=_AFTER_CHANGE) for name, summary, kind in (
        ("step", "End the step of the plan now, whatever its gates say.", ReasonedBody),
        ("promote", "Make the challenger the champion now, whatever its gates say.", ReasonedBody),
        ("rollback", "Take the challenger away, or go back to the champion before.", RolloutChangeBody),
        ("approve", "Let a step end that waits for a person.", RolloutChangeBody),
        ("pause", "Keep the plan at its step; a gate that breaks ends it all the same.", RolloutChangeBody),
        ("resume", "Let a paused plan go on.", RolloutChangeBody),
    )),
    Call("get", "/livez", "Alive.", 200, {"status": "alive"}, problems=(503,)),
    Call("get", "/readyz", "Ready, and by which release.", 200, {"status": "ready", "release": "r-5f0c2a9d11be"},
         problems=(503,)),
    Call("get", "/metrics", "Prometheus' text format.", 200, "# HELP holdfast_requests_total Answered requests."),
)  # fmt: skip
