"""Visitors over HTTP: a slate out of the session, kept at the login, seen by nobody else."""

import logging
from typing import Any

import httpx
import pytest

from features.instants import SECOND_US, format_instant
from serving.store import Store
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US


def event(event_id: str, kind: str, item: str | None = None, **who: str) -> dict[str, Any]:
    given = {"event_id": event_id, "kind": kind, "occurred_at": format_instant(NOW_US - SECOND_US)}
    return given | ({} if item is None else {"item_id": item}) | who


def views(*items: str, **who: str) -> list[dict[str, Any]]:
    return [event(f"{item}-{'-'.join(who.values())}", "view", item, **who) for item in items]


async def send(client: httpx.AsyncClient, *events: dict[str, Any]) -> None:
    answer = await client.post("/v1/events", json={"events": list(events)})
    assert answer.json()["accepted"] == len(events), answer.text


async def slate(client: httpx.AsyncClient, **who: str) -> dict[str, Any]:
    answer = await client.post("/v1/recommendations", json={"limit": 5, **who})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def shown(body: dict[str, Any]) -> list[tuple[str, float]]:
    return [(item["item_id"], item["score"]) for item in body["items"]]


def test_a_few_views_make_a_slate_personal_and_another_visitor_s_as_it_was(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        cold = await slate(client, session_id="here")
        await send(client, *views("eggs", "cheese", anonymous_id="here"))
        return [cold, await slate(client, session_id="here"), await slate(client, session_id="there")]

    cold, personal, other = running.run(talk)
    assert (cold["fallback"], personal["fallback"], other["fallback"]) == (True, False, True)
    assert personal["strategy"] == "personal"
    assert shown(personal) != shown(cold)
    assert shown(other) == shown(cold)


def test_a_login_keeps_the_session_s_slate_for_the_customer_and_for_nobody_else(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        await send(client, *views("eggs", "cheese", anonymous_id="here"))
        session = await slate(client, session_id="here")
        unknown = await slate(client, customer_id="ann")
        await send(client, event("in", "login", customer_id="ann", anonymous_id="here"))
        told = [await slate(client, **who) for who in ({"customer_id": "ann"}, {"session_id": "here"})]
        return [session, unknown, *told, await slate(client, customer_id="bob")]

    session, unknown, customer, visitor, other = running.run(talk)
    assert (unknown["fallback"], customer["fallback"], other["fallback"]) == (True, False, True)
    assert shown(customer) == shown(visitor) == shown(session)
    restarted = running.run(lambda client: slate(client, customer_id="ann"))
    assert shown(restarted) == shown(session)


def test_customer_and_session_of_one_request_count_together_before_the_login_is_told(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        await send(client, *views("apple", customer_id="ann"))
        alone = await slate(client, customer_id="ann")
        await send(client, *views("dates", anonymous_id="here"))
        both = await slate(client, customer_id="ann", session_id="here")
        after = await slate(client, customer_id="ann")
        await send(client, event("in", "login", customer_id="ann", anonymous_id="here"))
        linked = [await slate(client, customer_id="ann", **more) for more in ({}, {"session_id": "here"})]
        return [alone, both, after, *linked]

    alone, both, after, linked, again = running.run(talk)
    assert shown(both) != shown(alone) != []
    assert shown(after) == shown(alone)
    assert shown(linked) == shown(again) == shown(both)


def test_a_second_customer_at_the_computer_gets_nothing_of_the_first(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        await send(client, *views("eggs", "cheese", anonymous_id="here"))
        await send(client, event("in-1", "login", customer_id="ann", anonymous_id="here"))
        await send(client, *views("dates", anonymous_id="here"))
        before = await slate(client, customer_id="bob", session_id="here")
        await send(client, event("in-2", "login", customer_id="bob", anonymous_id="here"))
        return [
            before,
            await slate(client, customer_id="bob"),
            await slate(client, customer_id="bob", session_id="here"),
        ]

    assert [body["fallback"] for body in running.run(talk)] == [True, True, True]


def test_the_churn_score_counts_what_the_visitor_did(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[int]:
        counts = []
        for events in (
            [],
            views("eggs", anonymous_id="here"),
            [event("in", "login", customer_id="c1", anonymous_id="here")],
        ):
            if events:
                await send(client, *events)
            churn = (await client.get("/v1/customers/c1/churn")).json()
            counts.append(churn["data_quality"]["events_count"])
        sent = {"customer_ids": ["c1", "c2"]}
        batch = (await client.post("/v1/churn/score:batch", json=sent)).json()
        return [*counts, batch["results"][0]["churn"]["data_quality"]["events_count"]]

    first, unlinked, linked, of_many = running.run(talk)
    assert (unlinked, linked, of_many) == (first, first + 2, first + 2)  # the view and the login


def test_no_outside_id_is_in_the_store_or_the_log(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        await send(client, event("seen", "view", "eggs", anonymous_id="secret-visitor"))
        await send(client, event("in", "login", customer_id="secret-customer", anonymous_id="secret-visitor"))
        await slate(client, customer_id="secret-customer", session_id="secret-visitor")

    with caplog.at_level(logging.DEBUG):
        running.run(talk)
    path = running.shop.workspace.store
    Store.open(path).close()
    assert "secret-" not in caplog.text
    for file in path.parent.glob(f"{path.name}*"):
        assert b"secret-" not in file.read_bytes()
