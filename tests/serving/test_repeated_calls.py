"""Idempotency-Key: however often and wherever a call is repeated, one effect and equal answers."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from features.instants import DAY_US
from serving.kept_answers import GIVEN_UP_US, Asked, KeptAnswers
from serving.settings import ServiceSettings
from serving.store import Store, accepted_events
from tests.callers import bearer, key_of
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US, TinyShop

EVENTS = "/v1/events"
KEY = {"Idempotency-Key": "order-7"}


def login(event_id: str) -> dict[str, Any]:
    at = "2024-02-01T00:00:00Z"
    return {"events": [{"event_id": f"login {event_id}", "customer_id": "c1", "kind": "login", "occurred_at": at}]}


@pytest.fixture(autouse=True)
def nobody_is_shed(request: pytest.FixtureRequest) -> None:
    """Fifty at once are more than some machines carry in time; who is turned away is another test's."""
    if "running" in request.fixturenames:
        running: Running = request.getfixturevalue("running")
        running.settings = replace(running.settings, max_wait_ms=60_000)


def n_events(running: Running) -> int:
    with running.runtime.store.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(accepted_events)) or 0)


def test_fifty_at_once_have_one_effect_and_equal_answers(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        calls = (client.post(EVENTS, json=login("e1"), headers=KEY) for _ in range(50))
        return await asyncio.gather(*calls), n_events(running)

    answers, n = running.run(talk)
    assert {(answer.status_code, answer.text) for answer in answers} == {
        (202, '{"accepted":1,"deduplicated":0,"rejected":[]}')
    }
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 49
    assert n == 1
    assert 'holdfast_events_total{outcome="accepted"} 1.0' in running.metrics.render().decode()


@pytest.mark.slow
def test_two_services_on_one_store_have_one_effect_and_equal_answers(running: Running) -> None:
    other = Running(running.shop, running.settings)

    async def talk(client: httpx.AsyncClient) -> Any:
        async def there(second: httpx.AsyncClient) -> list[httpx.Response]:
            both = (one.post(EVENTS, json=login("e1"), headers=KEY) for one in [client, second] * 10)
            return await asyncio.gather(*both)

        async with other.app.router.lifespan_context(other.app):
            transport = httpx.ASGITransport(other.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as second:
                while (await second.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.02)
                return await there(second), n_events(running)

    answers, n = running.run(talk)
    assert {answer.text for answer in answers} == {'{"accepted":1,"deduplicated":0,"rejected":[]}'}
    assert n == 1


@pytest.mark.slow
def test_the_answer_is_the_first_one_s_a_day_long_also_after_a_restart(running: Running) -> None:
    first = running.call("POST", EVENTS, json=login("e1"), headers=KEY)
    running.now_us += DAY_US - 1
    again = running.call("POST", EVENTS, json=login("e1"), headers=KEY)
    assert (again.status_code, again.text, again.headers["idempotency-replayed"]) == (202, first.text, "true")
    running.now_us += 2
    assert running.call("POST", EVENTS, json=login("e1"), headers=KEY).json()["deduplicated"] == 1


def test_the_key_with_another_body_is_refused_and_another_key_is_another_call(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post(EVENTS, json=login(event), headers={"Idempotency-Key": key})
            for event, key in (("e1", "a"), ("e2", "a"), ("e1", "b"), ("e1", "a b"), ("e1", ""), ("e1", "x" * 256))
        ]

    found = running.run(talk)
    assert [answer.status_code for answer in found] == [202, 422, 202, 422, 422, 422]
    assert [answer.json()["code"] for answer in found if answer.status_code == 422] == [
        "idempotency_key_reused",
        *["idempotency_key"] * 3,
    ]
    assert found[2].json()["deduplicated"] == 1  # the event's own id still counts


@pytest.mark.slow
def test_a_call_that_failed_may_be_repeated_with_its_key(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[int, int]:
        wrong = await client.post(EVENTS, json={"events": []}, headers=KEY)
        return wrong.status_code, (await client.post(EVENTS, json=login("e1"), headers=KEY)).status_code

    assert running.run(talk) == (422, 202)


@pytest.mark.slow
def test_nobody_gets_the_answer_of_somebody_else_but_a_rotated_key_is_the_same_owner_s(shop: TinyShop) -> None:
    store = Store.open(shop.workspace.store)
    crm, again, other = (key_of(store, "events", now_us=NOW_US, owner=name) for name in ("crm", "crm", "shop"))
    store.close()
    running = Running(shop, ServiceSettings(shop.workspace.root, release="first", rollout_poll_ms=20, access="keys"))

    async def talk(client: httpx.AsyncClient) -> list[bool]:
        return [
            "idempotency-replayed" in (await client.post(EVENTS, json=login("e1"), headers=KEY | bearer(key))).headers
            for key in (crm, again, other)
        ]

    assert running.run(talk) == [False, True, False]


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    store = Store.open(tmp_path / "service.db")
    now = [NOW_US]
    numbers = iter(range(99))
    yield KeptAnswers(store, lambda: now[0], lambda: str(next(numbers))), now
    store.close()


def test_the_claim_of_a_killed_worker_is_given_to_the_next_and_the_first_can_keep_nothing(kept: Any) -> None:
    answers, now = kept
    asked = Asked.of("crm", "POST /v1/events", "k", b"{}")
    lost = answers.claim(asked)
    assert answers.claim(asked) is None
    now[0] += GIVEN_UP_US + 1
    taken = answers.claim(asked)
    assert (answers.claim(asked), taken is not None) == (None, True)
    answers.keep(lost, asked, 202, b"late")
    assert answers.find(asked).status is None
    answers.keep(taken, asked, 202, b"first")
    answers.let_go(lost, asked)
    assert answers.find(asked).answer == b"first"


def test_what_a_caller_chose_as_a_key_is_nowhere_on_disk(kept: Any, tmp_path: Path) -> None:
    answers, _ = kept
    answers.claim(Asked.of("crm", "POST /v1/events", "anna@example.org", b"{}"))
    assert not any(b"anna" in path.read_bytes() for path in tmp_path.iterdir())
