"""Personal data and keys, planted wherever a caller can write: none of it in logs, metrics, traces or errors."""

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from serving.settings import ServiceSettings
from serving.store import Store
from serving.structured_logs import configure_logs
from tests.callers import bearer, key_of
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US, TinyShop

AT = "2024-02-01T00:00:00Z"
MARKS = ("anna", "example.org", "4917012345", "c-4711", "Zq8vXw")
"""What every planted text holds one of, and nothing else does."""


def planted(number: int) -> str:
    """An e-mail address, a telephone number, a customer's id or a secret."""
    return (f"anna.{number}@example.org", f"+4917012345{number}", f"c-4711-{number}", f"hfs_{number}.Zq8vXw{number}")[
        number % 4
    ]


def calls(number: int) -> tuple[str, str, dict[str, Any]]:
    """One of the ways in which a text of a caller's can come in."""
    text = planted(number)
    address, event = quote(text, safe=""), {"event_id": text, "kind": "view", "occurred_at": AT}
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/v1/customers/{address}/churn", {}),
        ("GET", f"/v1/customers/c1/churn?as_of={address}", {}),
        ("GET", f"/v1/customers/c1/churn?{address}={address}", {}),
        ("GET", f"/v1/customers?cursor={address}", {}),
        ("GET", f"/v1/customers?band={address}&sort={address}", {}),
        ("GET", f"/v1/scores/changes?since={address}", {}),
        ("GET", f"/{address}", {}),
        ("GET", f"/v1/items/{address}/similar?filter={address}", {}),
        ("GET", f"/v1/recommendations?customer_id={address}&placement={address}", {}),
        ("POST", "/v1/recommendations", {"json": {"customer_id": [text], "limit": text, text: text}}),
        ("POST", "/v1/recommendations", {"json": {"filter": text, "boost": [{"where": text, "factor": 2}]}}),
        ("POST", "/v1/recommendations", {"json": {"next_of": text, "seed_items": [text, ""]}}),
        ("POST", "/v1/rank", {"json": {"items": [text, 5], "customer_id": text}}),
        ("POST", "/v1/churn/score:batch", {"json": {"customer_ids": [text, 7], "as_of": text}}),
        ("POST", "/v1/churn/score:batch", {"json": {"customer_ids": [text]}}),
        ("POST", "/v1/events", {"json": {"events": [event | {"customer_id": text, "item_id": text, "text": text}]}}),
        ("POST", "/v1/events", {"json": {"events": [event | {"kind": text, text: text}, text, {"text": [text]}]}}),
        ("POST", "/v1/events", {"json": {text: text}}),
        ("POST", "/v1/events", {"content": text.encode(), "headers": {"content-type": "application/json"}}),
        ("POST", "/v1/events", {"content": text.encode(), "headers": {"content-type": f"text/{text}"}}),
        ("POST", "/v1/events", {"json": {"events": []}, "headers": {"idempotency-key": text}}),
        ("GET", "/v1/rollouts", {"headers": {"authorization": f"Bearer {text}"}}),
        ("GET", "/v1/rollouts", {"headers": {"x-api-key": text, "origin": f"https://{text}"}}),
        ("GET", "/livez", {"headers": {"user-agent": text, "cookie": text, "referer": text, "x-request-id": text}}),
        ("DELETE", f"/v1/customers/{address}/churn", {"headers": {"accept-language": text, "traceparent": text}}),
        ("OPTIONS", "/v1/events", {"headers": {"origin": text, "access-control-request-method": text}}),
    ]
    return ways[number % len(ways)]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that any logger of the process writes, at the finest level, as a service writes it."""
    names = ["", *logging.root.manager.loggerDict]
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, one.level, one.handlers[:], one.propagate, one.disabled) for one in loggers]
    stream = io.StringIO()
    monkeypatch.setattr("serving.structured_logs._access", None)
    configure_logs("json", access=True, stream=stream)
    for name in ("", "holdfast", "asyncio", "starlette", "sqlalchemy.engine"):
        logging.getLogger(name).setLevel(logging.DEBUG if name != "sqlalchemy.engine" else logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the caller's own
    yield stream
    for one, level, handlers, propagate, disabled in before:
        one.setLevel(level)
        one.handlers[:], one.propagate, one.disabled = handlers, propagate, disabled


@pytest.mark.parametrize("n", [260, pytest.param(10_400, marks=pytest.mark.slow)])
def test_nothing_planted_is_found_in_logs_metrics_and_errors(shop: TinyShop, written: io.StringIO, n: int) -> None:
    store = Store.open(shop.workspace.store)
    known = bearer(key_of(store, "admin", now_us=NOW_US))
    store.close()
    settings = ServiceSettings(shop.workspace.root, release="first", access="keys", max_wait_ms=60_000)
    running = Running(shop, settings)

    async def talk(client: httpx.AsyncClient) -> tuple[dict[int, int], list[str], str]:
        statuses: dict[int, int] = {}
        found = []
        for number in range(n):
            method, path, given = calls(number)
            given = given | {"headers": known | given.get("headers", {})}
            answer = await client.request(method, path, **given)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code >= 400:
                found += [f"{method} {answer.status_code}" for mark in MARKS if mark in answer.text]
            if number % 100 == 0:
                await asyncio.sleep(0)
        return statuses, found, (await client.get("/metrics", headers=known)).text

    statuses, in_errors, metrics = running.run(talk)
    assert sum(statuses.values()) == n
    assert statuses.get(500, 0) == 0
    assert len(statuses) >= 8, statuses  # the plants came into many kinds of answers
    assert in_errors == []
    assert [mark for mark in MARKS if mark in metrics] == []
    logging.root.handlers[0].flush()
    lines = written.getvalue()
    assert lines.count("\n") > n  # an access line each
    assert [line for line in lines.splitlines() if any(mark in line for mark in MARKS)][:5] == []


def test_a_fault_of_ours_logs_where_and_never_what(shop: TinyShop, written: io.StringIO) -> None:
    running = Running(shop, ServiceSettings(shop.workspace.root, release="first", rollout_poll_ms=50))

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        def fail(*arguments: Any) -> None:
            raise KeyError(*(str(one) for one in arguments))

        running.runtime.histories.catch_up = fail  # type: ignore[method-assign]
        running.runtime.pages.find = fail  # type: ignore[method-assign]
        return await client.post("/v1/recommendations", json={"next_of": "anna@example.org"})

    answer = running.run(talk)
    assert (answer.status_code, "anna" in answer.text) == (500, False)
    assert "KeyError" in written.getvalue()
    assert "anna" not in written.getvalue()
