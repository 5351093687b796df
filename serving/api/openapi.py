"""The API document (OpenAPI 3.1) with an example and a curl line for every call, and the page that shows it."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from serving.access.scopes import CALLS as RULES
from serving.api import examples, rollout_examples
from serving.api.bodies import (
    EventBody,
    EventsBody,
    RankBody,
    ReasonedBody,
    RecommendationBody,
    RolloutBody,
    RolloutChangeBody,
    ScoreBatchBody,
    SimilarBody,
)
from serving.languages import LANGUAGES
from serving.problems import Problem

__all__ = ["docs", "docs_asset", "document", "openapi_json"]

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
_JSON, _PROBLEM = "application/json", "application/problem+json"


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
    query: tuple[tuple[str, str], ...] = ()
    example_path: str = ""
    problems: tuple[int, ...] = ()
    tag: str = "Operations"
    has_texts: bool = False
    repeatable: bool = False

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
_LANGUAGE = "the language of texts, en (default) or zh, by RFC 9110: zh-CN and zh-Hans ask for zh"
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
_BODIES = (ScoreBatchBody, RecommendationBody, RankBody, SimilarBody, EventsBody, EventBody, RolloutBody,
           RolloutChangeBody, ReasonedBody)  # fmt: skip
TAGS = {
    "CRM": "Who is about to leave, why, and what to do about it.",
    "Storefront": "What to show to whom.",
    "Events": "What happened, as it happens.",
    "Operations": "What is served, and how it fares.",
}
"""The groups of calls, in the order of the page."""
CALLS = (
    Call("get", "/v1/customers/{customer_id}/churn", "Churn of one customer, the last accepted event included. "
         f"The score ranks, the probability is calibrated. {_WHAT_IF}", 200, examples.CHURN, query=_CHURN_QUERY,
         example_path="/v1/customers/17850/churn?include=reasons,actions,forecast,trend,segment,what_if",
         problems=(404, 422, 503), tag="CRM", has_texts=True),
    Call("post", "/v1/churn/score:batch", "Churn of at most 1,000 customers: a result or a problem for each.", 200,
         examples.BATCH, ScoreBatchBody, {"customer_ids": ["17850", "13047"]}, problems=_ALL, tag="CRM",
         has_texts=True),
    Call("get", "/v1/customers", "The work list: customers of the newest book of scores, those with the largest "
         "expected loss first. The pages of one cursor are all of one book.", 200, examples.WORK_LIST,
         query=_WORK_LIST_QUERY, example_path="/v1/customers?band=high&sort=-expected_loss&limit=50",
         problems=(404, 410, 422, 503), tag="CRM", has_texts=True),
    Call("get", "/v1/scores/changes", "Who changed band from one book of scores to the next, who entered and who "
         "left. A cursor always gives the same, and nothing is skipped.", 200, examples.CHANGES,
         query=_SINCE_QUERY, example_path="/v1/scores/changes?limit=500", problems=(404, 410, 422, 503), tag="CRM"),
    Call("get", "/v1/warnings", "Early warnings, in the order in which they were given: whose risk rose fast, each "
         "customer once a cool-down, no more a week than the capacity.", 200, examples.WARNINGS,
         query=_SINCE_QUERY, example_path="/v1/warnings?limit=500", problems=(422, 503), tag="CRM"),
    Call("post", "/v1/recommendations", "What to show. An unknown visitor gets 200 with fallback true.", 200,
         examples.RECOMMENDED, RecommendationBody, {"customer_id": "17850", "limit": 5}, problems=(*_ALL, 410),
         tag="Storefront", has_texts=True),
    Call("get", "/v1/recommendations", "The same, for caches.", 200, examples.RECOMMENDED, query=_SLATE_QUERY,
         example_path="/v1/recommendations?customer_id=17850", problems=(410, 422, 503), tag="Storefront",
         has_texts=True),
    Call("post", "/v1/rank", "A list of the caller's own in the order of a customer or a visitor. Only the filter and "
         "the stock take items out.", 200, examples.RECOMMENDED, RankBody,
         {"customer_id": "17850", "items": ["85123A", "71053"]}, problems=_ALL, tag="Storefront", has_texts=True),
    Call("post", "/v1/items/{item_id}/similar", "Items like one.", 200, examples.SIMILAR, SimilarBody, {"limit": 5},
         example_path="/v1/items/85123A/similar", problems=_ALL, tag="Storefront", has_texts=True),
    Call("get", "/v1/items/{item_id}/similar", "The same, for caches.", 200, examples.SIMILAR,
         query=(("limit", "1 to 100"), ("candidates", "comma-separated item ids"),
                ("filter", "an expression over item attributes")),
         example_path="/v1/items/85123A/similar", problems=(422, 503), tag="Storefront", has_texts=True),
    Call("post", "/v1/events", "Events in, at most 500. Acknowledged means on disk; event_id makes it idempotent. "
         "Each event is an Event; a faulty one is rejected by itself. One with customer_id and anonymous_id, as of a "
         "login, gives the customer what the visitor did before.", 202, examples.EVENTS_TAKEN, EventsBody,
         examples.EVENTS_BODY, problems=(*_ALL, 409), tag="Events", repeatable=True),
    Call("get", "/v1/releases", "The releases in memory, and those that were refused.", 200, examples.RELEASES,
         problems=(503,)),
    Call("get", "/v1/rollouts", "How traffic is split, what the gates say, and every change.", 200,
         rollout_examples.ROLLOUTS, problems=(503,)),
    Call("post", "/v1/rollouts", "Roll a release out: by a plan that the service leads and its gates may end, "
         "or by hand from a share on.", 201, rollout_examples.ROLLOUT_CHANGED, RolloutBody,
         {"release": "r-8e21c4f7a05b", "plan": "default", "why": "new season"}, problems=(*_ALL, 409)),
    Call("get", "/v1/rollouts/served", "What served a customer at a time, by the promotion log and the hash.", 200,
         rollout_examples.SERVED,
         query=(("customer_id", "the outside id"), ("at", "an ISO-8601 instant with an offset; without it, now")),
         example_path="/v1/rollouts/served?customer_id=17850&at=2026-03-01T09:30:00Z", problems=(404, 422, 503)),
    *(Call("post", f"/v1/rollouts/current:{name}", summary, 200, rollout_examples.ROLLOUT_CHANGED, kind,
           {"why": "seen enough", "revision": 4}, problems=(*_ALL, 409)) for name, summary, kind in (
        ("step", "End the step of the plan now, whatever its gates say.", ReasonedBody),
        ("promote", "Make the challenger the champion now, whatever its gates say.", ReasonedBody),
        ("rollback", "Take the challenger away, or go back to the champion before.", RolloutChangeBody),
        ("approve", "Let a step end that waits for a person.", RolloutChangeBody),
        ("pause", "Keep the plan at its step; a gate that breaks ends it all the same.", RolloutChangeBody),
        ("resume", "Let a paused plan go on.", RolloutChangeBody),
    )),
    Call("get", "/livez", "Alive.", 200, {"status": "alive"}),
    Call("get", "/readyz", "Ready, and by which release.", 200, {"status": "ready", "release": "r-5f0c2a9d11be"},
         problems=(503,)),
    Call("get", "/metrics", "Prometheus' text format.", 200, "# HELP holdfast_requests_total Answered requests."),
)  # fmt: skip


_KEYS = {
    "key": {"type": "http", "scheme": "bearer", "description": "a key, or a token where the shop's sign-on gives them"},
    "keyHeader": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "the same key"},
}
"""How callers show who they are; on loopback the same machine's need not."""

_SCOPES = {(method.lower(), path.replace(":path}", "}")): rule.scope for (method, path), rule in RULES.items()}
_REFUSALS = (401, 403, 429)
_REPEATED = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same key and body get the first answer again, for a day; another body is 422",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


@cache
def document() -> dict[str, Any]:
    """The whole document; every model and problem is a component."""
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": "1.0.0",
            "description": "Who is about to leave, and what each customer wants next. Times are ISO-8601 with an "
            "offset; money is minor units and a currency; errors are application/problem+json.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _KEYS},
    }


def _operation(call: Call) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 256}}
        for name in ("customer_id", "item_id")
        if f"{{{name}}}" in call.path
    ] + [{"name": name, "in": "query", "description": text, "schema": {"type": "string"}} for name, text in call.query]
    if call.repeatable:
        parameters.append(_REPEATED)
    if call.has_texts:
        language = {"name": "Accept-Language", "in": "header", "description": _LANGUAGE, "schema": {"type": "string"}}
        parameters.append(language)
    kind = _JSON if isinstance(call.answer, dict) else "text/plain"
    answers: dict[str, Any] = {
        str(call.status): {
            "description": "As asked",
            "content": {kind: {"schema": schema_of(call.answer), "example": call.answer}},
        }
    }
    if call.has_texts:
        said = {"description": "the language of the texts", "schema": {"type": "string", "enum": list(LANGUAGES)}}
        answers[str(call.status)]["headers"] = {"Content-Language": said}
    scope = _SCOPES[call.method, call.path]
    for status in (*call.problems, *(() if scope is None else _REFUSALS)):
        schema = {"$ref": "#/components/schemas/Problem"}
        answers[str(status)] = {"description": "A problem", "content": {_PROBLEM: {"schema": schema}}}
    name = call.path.strip("/").replace("v1/", "").translate(str.maketrans("/:{}", "____"))
    operation: dict[str, Any] = {
        "operationId": f"{call.method}_{name}",
        "tags": [call.tag],
        "summary": call.summary,
        "description": f"```sh\n{call.curl()}\n```",
        "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": call.curl()}],
        "responses": answers,
    }
    if scope is not None:
        operation["security"] = [{name: [scope]} for name in _KEYS]
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        schema = {"$ref": f"#/components/schemas/{call.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema, "example": call.sent}}}
    return operation


def _schemas() -> dict[str, Any]:
    place = "#/components/schemas/{model}"
    schemas: dict[str, Any] = {"Problem": schema_of(examples.PROBLEM) | {"examples": [examples.PROBLEM]}}
    for body in _BODIES:
        schema = body.model_json_schema(ref_template=place)
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    schemas["EventsBody"]["properties"]["events"]["items"] = {"$ref": place.format(model="EventBody")}
    return schemas


def schema_of(example: Any) -> dict[str, Any]:
    """A schema that an example fits: names and types; answers may grow, so other members are allowed.

    A null may be anything.
    """
    if example is None:
        return {}
    if isinstance(example, dict):
        named = {name: examples.SCHEMAS.get(name) or schema_of(value) for name, value in example.items()}
        return {"type": "object", "properties": named}
    if isinstance(example, list):
        return {"type": "array", "items": schema_of(example[0]) if example else {}}
    types = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": types[type(example)]}


async def openapi_json(_request: Request) -> Response:
    """GET /openapi.json."""
    return Response(_written(), media_type=_JSON)


@cache
def _written() -> bytes:
    return orjson.dumps(document())


async def docs(request: Request) -> Response:
    """GET /docs: Swagger's page where its files are at hand, else a plain one; neither needs the network."""
    assets = request.app.state.swagger_assets
    has_assets = assets is not None and all((assets / name).is_file() for name in _ASSETS)
    return HTMLResponse(_SWAGGER if has_assets else _plain_page())


async def docs_asset(request: Request) -> Response:
    """GET /docs/{asset}: one of swagger-ui's two files, no other."""
    name, assets = request.path_params["asset"], request.app.state.swagger_assets
    if assets is None or name not in _ASSETS or not (assets / name).is_file():
        raise Problem(404, "there is no such file here; see /docs")
    return FileResponse(assets / name, headers={"Cache-Control": "public, max-age=86400"})


_SWAGGER = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Holdfast API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", validatorUrl: null});</script>
</body></html>
"""


@cache
def _plain_page() -> str:
    parts = []
    for call in CALLS:
        shown = html.escape(json.dumps(call.answer, indent=2))
        parts.append(
            f"<h2><code>{call.method.upper()} {html.escape(call.path)}</code></h2><p>{html.escape(call.summary)}</p>"
            f"<pre>{html.escape(call.curl())}</pre><details><summary>{call.status}</summary><pre>{shown}</pre></details>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Holdfast API</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto}pre{overflow:auto}</style></head>"
        f'<body><h1>Holdfast API</h1><p><a href="/openapi.json">openapi.json</a></p>{"".join(parts)}</body></html>'
    )
