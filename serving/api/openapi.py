"""The API document (OpenAPI 3.1) with an example and a curl line for every call, and the page that shows it."""

from __future__ import annotations

import html
import json
from functools import cache
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from features.schema import MAX_ID_LENGTH
from serving.access.scopes import CALLS as RULES
from serving.api import examples
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
from serving.api.calls import CALLS, TAGS, Call, Link
from serving.languages import LANGUAGES
from serving.problems import Problem

__all__ = ["docs", "docs_asset", "document", "openapi_json"]

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
_JSON, _PROBLEM = "application/json", "application/problem+json"
_BODIES = (ScoreBatchBody, RecommendationBody, RankBody, SimilarBody, EventsBody, EventBody, RolloutBody,
           RolloutChangeBody, ReasonedBody)  # fmt: skip

_KEYS = {
    "key": {"type": "http", "scheme": "bearer", "description": "a key, or a token where the shop's sign-on gives them"},
    "keyHeader": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "the same key"},
}
"""How callers show who they are; on loopback the same machine's need not."""

_SCOPES = {(method.lower(), path.replace(":path}", "}")): rule.scope for (method, path), rule in RULES.items()}
_REFUSALS = (400, 401, 403, 429)
_TEXT: dict[str, Any] = {"type": "string"}
_REPEATED = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same key and body get the first answer again, for a day; another body is 422",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "a name for this request, at most 128 visible characters; any other is replaced. It is said again "
    "in X-Request-Id, and in request_id of a problem",
    "schema": _TEXT,
}
_IN_LANGUAGE: dict[str, Any] = {
    "name": "Accept-Language",
    "in": "header",
    "description": "the language of texts, en (default) or zh, by RFC 9110: zh-CN and zh-Hans ask for zh",
    "schema": _TEXT,
}
_SAID: dict[str, Any] = {
    "X-Request-Id": {"description": "that of the request, or a fresh one", "required": True, "schema": _TEXT}
}
_TRY_AGAIN: dict[str, Any] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_SAID_IF: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "how to show a key", "required": True, "schema": _TEXT}},
    429: {"Retry-After": _TRY_AGAIN["Retry-After"] | {"required": True}},
    503: _TRY_AGAIN,
    507: _TRY_AGAIN,
}
_SAID_WITH_TEXTS: dict[str, Any] = {
    "Content-Language": {
        "description": "the language of the texts",
        "required": True,
        "schema": {"type": "string", "enum": list(LANGUAGES)},
    },
    "X-Release": {"description": "the release that answered", "required": True, "schema": _TEXT},
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
    scope = _SCOPES[call.method, call.path]
    operation: dict[str, Any] = {
        "operationId": _name_of(call.method, call.path),
        "tags": [call.tag],
        "summary": call.summary,
        "description": f"```sh\n{call.curl()}\n```",
        "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": call.curl()}],
        "parameters": _parameters(call),
        "responses": _answers(call, () if scope is None else _REFUSALS),
    }
    if scope is not None:
        operation["security"] = [{name: [scope]} for name in _KEYS]
    if call.body is not None:
        schema = {"$ref": f"#/components/schemas/{call.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema, "example": call.sent}}}
    return operation


def _name_of(method: str, path: str) -> str:
    return f"{method}_" + path.strip("/").replace("v1/", "").translate(str.maketrans("/:{}", "____"))


def _parameters(call: Call) -> list[dict[str, Any]]:
    """Those of the path, of the query as its model reads them, and the headers that matter."""
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT | {"minLength": 1, "maxLength": MAX_ID_LENGTH}}
        for name in ("customer_id", "item_id")
        if f"{{{name}}}" in call.path
    ]
    if call.asked is not None:
        model = call.asked.model_json_schema()
        needed = model.get("required", ())
        found += [
            {"name": name, "in": "query", "description": text, "required": name in needed}
            | _in_query(name, model["properties"][name])
            for name, text in call.query
        ]
    if call.repeatable:
        found.append(_REPEATED)
    if call.has_texts:
        found.append(_IN_LANGUAGE)
    return [*found, _REQUEST_ID]


def _in_query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The same in a query: no null, and lists with commas between, so that no item holds one.

    An empty text is one empty item, which only `include` takes: as nothing.
    """
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind != {"type": "null"}]
    kept = {name: value for name, value in kinds[0].items() if name not in {"title", "default"}}
    if kept["type"] != "array":
        return {"schema": kept}
    if "enum" not in kept["items"]:
        kept["items"] = kept["items"] | {"pattern": "^[^,]+$"}
    if name == "include":
        kept["items"] = kept["items"] | {"enum": [*kept["items"]["enum"], ""]}
    else:
        kept["minItems"] = 1
    return {"schema": kept, "style": "form", "explode": False}


def _answers(call: Call, refusals: tuple[int, ...]) -> dict[str, Any]:
    kind = _JSON if isinstance(call.answer, dict) else "text/plain"
    good: dict[str, Any] = {
        "description": "As asked",
        "headers": _SAID | (_SAID_WITH_TEXTS if call.has_texts else {}),
        "content": {kind: {"schema": schema_of(call.answer), "example": call.answer}},
    }
    if call.links:
        good["links"] = {link.name: _lead(link) for link in call.links}
    answers = {str(call.status): good}
    for status in (*call.problems, *refusals):
        schema = {"$ref": "#/components/schemas/Problem"}
        answers[str(status)] = {
            "description": "A problem",
            "headers": _SAID | _SAID_IF.get(status, {}),
            "content": {_PROBLEM: {"schema": schema}},
        }
    return answers


def _lead(link: Link) -> dict[str, Any]:
    given = {"requestBody": dict(link.given)} if link.in_body else {"parameters": dict(link.given)}
    return {"operationId": _name_of(link.method, link.path)} | given


def _schemas() -> dict[str, Any]:
    place = "#/components/schemas/{model}"
    schemas: dict[str, Any] = {"Problem": schema_of(examples.PROBLEM) | {"examples": [examples.PROBLEM]}}
    for body in _BODIES:
        schema = body.model_json_schema(ref_template=place)
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    schemas["EventsBody"]["properties"]["events"]["items"] = {"$ref": place.format(model="EventBody")}
    return schemas


def schema_of(example: Any, of: str = "") -> dict[str, Any]:
    """A schema that an example fits: names, types, and what is always there; answers may grow, so others are allowed.

    `of` is the member that holds it. A null may be anything.
    """
    if example is None:
        return {}
    if isinstance(example, dict):
        named = {name: _member(of, name, value) for name, value in example.items()}
        return {
            "type": "object",
            "properties": named,
            "required": [name for name in example if name not in examples.SOMETIMES],
        }
    if isinstance(example, list):
        return {"type": "array", "items": schema_of(example[0], of) if example else {}}
    types = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": types[type(example)]}


def _member(of: str, name: str, value: Any) -> dict[str, Any]:
    schema = examples.SCHEMAS.get(name) or schema_of(value, name)
    if name in examples.NULLABLE or f"{of}.{name}" in examples.NULLABLE:
        return schema | {"type": [schema["type"], "null"]}
    return schema


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
