"""Role x route x owner: over every call of the API document, nobody may what is not written down here by hand."""

import asyncio
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from serving.access.keys import revoke_key
from serving.access.scopes import CALLS, Calls, asked
from serving.api import openapi
from serving.app import _routes
from serving.problems import Problem
from serving.settings import ServiceSettings
from serving.store import Store
from tests.callers import AUDIENCE, ISSUER, PAGE, SECRET, bearer, key_of, token_of
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US, TinyShop

SCOPES = ("predict", "recommend", "events", "rollout", "admin", "audit")
EVERYBODY = "everybody"
ROLLOUT_CHANGES = ("step", "promote", "rollback", "approve", "pause", "resume")
ASKS = {
    ("get", "/v1/customers/{customer_id}/churn"): "predict",
    ("post", "/v1/churn/score:batch"): "predict",
    ("get", "/v1/customers"): "predict",
    ("get", "/v1/scores/changes"): "predict",
    ("get", "/v1/warnings"): "predict",
    ("post", "/v1/recommendations"): "recommend",
    ("get", "/v1/recommendations"): "recommend",
    ("post", "/v1/rank"): "recommend",
    ("post", "/v1/items/{item_id}/similar"): "recommend",
    ("get", "/v1/items/{item_id}/similar"): "recommend",
    ("post", "/v1/events"): "events",
    ("get", "/v1/releases"): "audit",
    ("get", "/v1/rollouts"): "audit",
    ("get", "/v1/rollouts/served"): "audit",
    ("post", "/v1/rollouts"): "rollout",
    **{("post", f"/v1/rollouts/current:{name}"): "rollout" for name in ROLLOUT_CHANGES},
    ("get", "/metrics"): "audit",
    ("get", "/livez"): EVERYBODY,
    ("get", "/readyz"): EVERYBODY,
}
"""What each call of the API document asks; a call that is missing here fails the test."""
MAY = {scope: {scope} for scope in SCOPES} | {"admin": set(SCOPES), "rollout": {"rollout", "audit"}}
BODIES: dict[str, Any] = {
    "/v1/churn/score:batch": {"customer_ids": ["c1"]},
    "/v1/recommendations": {"session_id": "v1"},
    "/v1/rank": {"session_id": "v1", "items": ["apple", "bread"]},
    "/v1/items/{item_id}/similar": {},
    "/v1/events": {
        "events": [
            {"event_id": "e1", "anonymous_id": "v1", "kind": "login", "occurred_at": "2024-02-01T00:00:00Z"},
        ],
    },
    "/v1/rollouts": {"release": "second"},
    **{f"/v1/rollouts/current:{name}": {"why": "a test"} for name in ROLLOUT_CHANGES},
}


@dataclass
class Guarded:
    """A service that asks for keys, and the credentials of those who call it."""

    running: Running
    store: Store
    roles: dict[str, dict[str, str]]
    may: dict[str, set[str]]


@pytest.fixture
def guarded(shop: TinyShop, tmp_path: Path) -> Any:
    (tmp_path / "jwt").write_bytes(SECRET)
    settings = ServiceSettings(
        shop.workspace.root,
        release="first",
        rollout_poll_ms=20,
        access="keys",
        max_wait_ms=60_000,
        jwt_algorithm="HS256",
        jwt_key=str(tmp_path / "jwt"),
        jwt_audience=AUDIENCE,
        jwt_issuer=ISSUER,
    )
    store = Store.open(shop.workspace.store)
    dead = key_of(store, "admin", now_us=NOW_US)
    revoke_key(store, dead.partition(".")[0], NOW_US)
    alive = key_of(store, "admin", now_us=NOW_US)
    roles = {scope: bearer(key_of(store, scope, now_us=NOW_US)) for scope in SCOPES}
    nobody = {
        "no key": {},
        "revoked": bearer(dead),
        "expired": bearer(key_of(store, "admin", now_us=NOW_US - 9, expires_us=NOW_US)),
        "wrong secret": bearer(alive[:-1] + ("A" if alive[-1] != "A" else "B")),
        "another scheme": {"Authorization": f"Basic {alive}"},
        "key in the query": {},
        "two keys": bearer(alive) | {"X-Api-Key": alive},
        "token of another issuer": bearer(token_of("admin", NOW_US, iss="https://evil.example")),
    }
    page = key_of(store, "recommend", "events", now_us=NOW_US, publishable=True, origins=(PAGE,))
    yield Guarded(
        Running(shop, settings),
        store,
        roles
        | nobody
        | {
            "x-api-key": {"X-Api-Key": alive},
            "page": bearer(page) | {"Origin": PAGE},
            "page elsewhere": bearer(page) | {"Origin": "https://evil.example"},
            "token": bearer(token_of("predict", NOW_US)),
            "customer": bearer(token_of("predict recommend events", NOW_US, customer_id="c1")),
        },
        MAY
        | {role: set() for role in nobody}
        | {"x-api-key": set(SCOPES), "page": {"recommend", "events"}, "page elsewhere": set(), "token": {"predict"}}
        | {"customer": {"predict", "recommend", "events"}},
    )
    store.close()


TELLS_OF_ALL = {"/v1/churn/score:batch", "/v1/customers", "/v1/scores/changes", "/v1/warnings"}


def is_allowed(guarded: Guarded, role: str, method: str, path: str) -> bool:
    asks = ASKS[method, path]
    return asks == EVERYBODY or (asks in guarded.may[role] and not (role == "customer" and path in TELLS_OF_ALL))


def test_every_role_may_exactly_what_is_written_on_every_call_of_the_document(guarded: Guarded) -> None:
    calls = {(method, path) for path, methods in openapi.document()["paths"].items() for method in methods}
    assert calls == set(ASKS)

    async def talk(client: httpx.AsyncClient) -> list[str]:
        wrong = []
        for role, headers in guarded.roles.items():
            for method, path in calls:
                address = path.replace("{customer_id}", "c1").replace("{item_id}", "apple")
                if role == "key in the query":
                    address += "?key=" + guarded.roles["admin"]["Authorization"].split()[1]
                body = {"json": BODIES[path]} if method == "post" else {}
                answer = await client.request(method.upper(), address, headers=headers, **body)
                allowed = is_allowed(guarded, role, method, path)
                if allowed != (answer.status_code not in (401, 403)):
                    wrong.append(f"{role}: {method} {path} -> {answer.status_code}")
                if not allowed:
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert (answer.status_code == 403) or answer.headers["www-authenticate"] == "Bearer"
                    assert "hfs_" not in answer.text
        return wrong

    assert guarded.running.run(talk) == []


def test_a_caller_speaks_for_its_own_customer_alone(guarded: Guarded) -> None:
    def calls(customer: str) -> list[tuple[str, str, Any]]:
        return [
            ("GET", f"/v1/customers/{customer}/churn", None),
            ("GET", f"/v1/recommendations?customer_id={customer}", None),
            ("POST", "/v1/recommendations", {"customer_id": customer}),
            ("POST", "/v1/recommendations", {"customer_id": customer, "session_id": "v1"}),
            ("POST", "/v1/rank", {"customer_id": customer, "items": ["apple"]}),
        ]

    async def talk(client: httpx.AsyncClient) -> dict[str, list[int]]:
        found = {}
        for role, customer in (("customer", "c1"), ("customer", "c2"), ("page", "c1"), ("admin", "c2")):
            answers = [
                await client.request(method, path, json=body, headers=guarded.roles[role])
                for method, path, body in calls(customer)
            ]
            found[f"{role} {customer}"] = [answer.status_code for answer in answers]
        return found

    assert guarded.running.run(talk) == {
        "customer c1": [200] * 5,
        "customer c2": [403] * 5,
        "page c1": [403] * 5,
        "admin c2": [200] * 5,
    }


def test_events_of_somebody_else_are_rejected_one_by_one(guarded: Guarded) -> None:
    def events(role: str) -> Any:
        login = {"kind": "login", "occurred_at": "2024-02-01T00:00:00Z"}
        named: list[dict[str, Any]] = [{"customer_id": "c1"}, {"customer_id": "c2"}, {"anonymous_id": "v1"}]
        named.append({"customer_id": "c2", "anonymous_id": "v1"})
        return {"events": [login | who | {"event_id": f"{role}-{place}"} for place, who in enumerate(named)]}

    async def talk(client: httpx.AsyncClient) -> dict[str, list[int]]:
        found = {}
        for role in ("customer", "page", "events"):
            answer = await client.post("/v1/events", json=events(role), headers=guarded.roles[role])
            rejected = answer.json()["rejected"]
            assert {one["code"] for one in rejected} <= {"forbidden"}
            found[role] = [one["index"] for one in rejected]
        return found

    assert guarded.running.run(talk) == {"customer": [1, 3], "page": [0, 1, 3], "events": []}


def test_strangers_are_told_nothing_of_what_is_there(guarded: Guarded) -> None:
    async def talk(client: httpx.AsyncClient) -> list[int]:
        known = guarded.roles["predict"]
        calls = [("GET", "/v1/nothing"), ("DELETE", "/v1/events"), ("GET", "/v1/customers\n"), ("OPTIONS", "/v1/rank")]
        return [
            (await client.request(method, path.replace("\n", "%0A"), headers=headers)).status_code
            for method, path in calls
            for headers in ({}, known)
        ]

    assert guarded.running.run(talk) == [401, 404, 401, 405, 401, 404, 401, 405]


def test_a_public_address_tells_strangers_too_which_methods_it_takes(guarded: Guarded) -> None:
    async def talk(client: httpx.AsyncClient) -> list[tuple[int, set[str], str]]:
        answers = [await client.request("POST", path) for path in ("/livez", "/readyz", "/docs/swagger-ui.css")]
        return [(one.status_code, set(one.headers["allow"].split(", ")), one.json()["code"]) for one in answers]

    assert guarded.running.run(talk) == [(405, {"GET", "HEAD"}, "method_not_allowed")] * 3


def test_a_route_that_is_in_no_table_is_refused_to_everybody() -> None:
    async def secret(_: Any) -> Any:
        raise AssertionError

    calls = Calls([*_routes(), Route("/v1/forgotten", secret, methods=["POST"])])
    with pytest.raises(Problem) as refused:
        asked("POST", calls.methods("/v1/forgotten"))
    assert refused.value.status == 403


def test_every_route_stands_in_the_table_and_nothing_else_does() -> None:
    served = {(method, route.path) for route in _routes() for method in (route.methods or set()) - {"HEAD"}}
    assert set(CALLS) == served


def test_the_gate_and_the_router_find_the_same_route() -> None:
    """Each address fits one pattern alone, so that whoever looks for the rule and for the endpoint finds the same."""
    patterns = {route.path: route.path_regex for route in _routes()}
    for path in patterns:
        address = re.sub(r"{[^}]*}", "a", path)
        assert [other for other, pattern in patterns.items() if pattern.match(address)] == [path]


@pytest.mark.slow
def test_the_metrics_are_shown_to_all_where_that_is_set(guarded: Guarded) -> None:
    guarded.running.settings = replace(guarded.running.settings, public_metrics=True)

    async def talk(client: httpx.AsyncClient) -> tuple[int, int]:
        return (await client.get("/metrics")).status_code, (await client.get("/v1/rollouts")).status_code

    assert guarded.running.run(talk) == (200, 401)


def test_pages_of_listed_origins_may_read_answers_and_problems(guarded: Guarded) -> None:
    page, elsewhere = guarded.roles["page"], guarded.roles["page elsewhere"]
    before = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}

    async def talk(client: httpx.AsyncClient) -> None:
        good = await client.post("/v1/recommendations", json={"session_id": "v1"}, headers=page)
        wrong = await client.post("/v1/recommendations", json={"limit": "x"}, headers=page)
        for answer, status in ((good, 200), (wrong, 422)):
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
            assert "origin" in answer.headers["vary"].lower()
        refused = await client.post("/v1/recommendations", json={}, headers=elsewhere)
        assert (refused.status_code, refused.headers.get("access-control-allow-origin")) == (403, None)
        secret = await client.get("/v1/rollouts", headers=guarded.roles["audit"] | {"Origin": PAGE})
        assert "access-control-allow-origin" not in secret.headers
        asked_first = await client.options("/v1/events", headers=before)
        assert (asked_first.status_code, asked_first.headers["access-control-allow-origin"]) == (204, PAGE)
        assert "idempotency-key" in asked_first.headers["access-control-allow-headers"]
        for path, origin in (("/v1/customers", PAGE), ("/v1/events", "https://evil.example"), ("/v1/nothing", PAGE)):
            answer = await client.options(path, headers=before | {"Origin": origin})
            assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (403, None)

    guarded.running.run(talk)


@pytest.mark.slow
def test_a_key_that_had_its_minute_gets_429_with_the_seconds_to_wait(guarded: Guarded) -> None:
    key = bearer(key_of(guarded.store, "recommend", now_us=NOW_US, per_minute=20))

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await client.get("/v1/customers", headers=key)
        assert first.status_code == 403  # what it may not do takes none of its calls
        return await asyncio.gather(*(client.get("/v1/recommendations?session_id=v1", headers=key) for _ in range(30)))

    answers = guarded.running.run(talk)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(answers) - len(refused), {answer.headers["retry-after"] for answer in refused}) == (20, {"60"})
    assert {answer.json()["code"] for answer in refused} == {"too_many_requests"}


OPEN_CASES: list[tuple[dict[str, Any], str, dict[str, str], bool]] = [
    ({}, "http://127.0.0.1", {}, True),
    ({}, "http://localhost", {"Origin": "http://localhost:5173"}, True),
    ({}, "http://10.0.0.7", {}, False),
    ({}, "http://127.0.0.1", {"Host": "rebound.example"}, False),
    ({}, "http://127.0.0.1", {"Host": "127.0.0.1.evil.example"}, False),
    ({}, "http://127.0.0.1", {"Origin": "https://evil.example"}, False),
    ({}, "http://127.0.0.1", {"Origin": "null"}, False),
    ({}, "http://127.0.0.1", {"X-Forwarded-For": "10.0.0.9"}, False),
    ({}, "http://127.0.0.1", {"Via": "1.1 proxy"}, False),
    ({"access": "keys"}, "http://127.0.0.1", {}, False),
    ({"host": "0.0.0.0"}, "http://127.0.0.1", {}, False),
    ({"host": "0.0.0.0", "allow_open_access": True}, "http://10.0.0.7", {"Via": "1.1 proxy"}, True),
]


def test_without_a_key_only_this_machine_is_let_through(shop: TinyShop) -> None:
    running = Running(shop, ServiceSettings(shop.workspace.root, release="first", rollout_poll_ms=20))

    async def talk(_: httpx.AsyncClient) -> list[bool]:
        found = []
        for settings, base, headers, _expected in OPEN_CASES:
            running.app.state.settings = replace(running.settings, **settings)
            transport = httpx.ASGITransport(running.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                found.append((await client.get("/v1/rollouts", headers=headers)).status_code == 200)
        return found

    assert running.run(talk) == [allowed for *_, allowed in OPEN_CASES]
