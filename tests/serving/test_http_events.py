"""Events over HTTP: durable before the answer, idempotent, each row judged by itself."""

import asyncio
import sqlite3
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from features.event_log import EventLog
from features.instants import MINUTE_US, format_instant
from serving.sealing import seal
from serving.store import Store, accepted_events
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US


def view(event_id: str, customer: str = "c1", **fields: Any) -> dict[str, Any]:
    given = {"event_id": event_id, "customer_id": customer, "occurred_at": format_instant(NOW_US - MINUTE_US)}
    return given | {"kind": "view", "item_id": "apple"} | fields


def kept_ids(running: Running) -> list[str]:
    store = Store.open(running.shop.workspace.store)
    with store.read() as connection:
        ids = list(connection.scalars(sa.select(accepted_events.c.event_id)))
    store.close()
    return ids


def test_each_faulty_row_is_rejected_and_the_others_are_taken(running: Running) -> None:
    rows = [
        view("a"),
        view("b", occurred_at="2024-02-28T10:00:00"),
        view("c", kind="stare"),
        view("d", item_id=None),
        view("e", quantity="2"),
        view("f", shoe_size=42),
        view("g", occurred_at=format_instant(NOW_US + 60 * MINUTE_US)),
        view("h", kind="purchase", amount_minor=5, currency="USD"),
        "not an event",
        {"event_id": "i", "occurred_at": "2024-02-28T10:00:00Z", "kind": "login"},
        view("j", kind="csat", value=9),
        view("k", customer_id=None, anonymous_id="visitor"),
        view("l", customer="early", occurred_at="0001-01-01T00:00:00+14:00"),
        view("m", discount_minor=5),
        view("n\0"),
    ]
    answer = running.call("POST", "/v1/events", json={"events": rows})
    body = answer.json()
    assert (answer.status_code, body["accepted"], body["deduplicated"]) == (202, 2, 0)
    assert {one["index"]: one["code"] for one in body["rejected"]} == {
        1: "naive_time",
        2: "unknown_kind",
        3: "missing",
        4: "wrong_type",
        5: "unknown_field",
        6: "in_the_future",
        7: "currency",
        8: "wrong_type",
        9: "missing",
        10: "out_of_range",
        12: "out_of_range",
        13: "missing",
        14: "pattern",
    }
    assert "stare" not in answer.text
    assert kept_ids(running) == ["a", "k"]


def test_a_repeated_event_counts_once_within_a_post_across_posts_and_against_the_sealed_log(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[Any]:
        answers = []
        for ids in (["a", "a"], ["a", "b"], ["e0"]):  # e0 came with the import
            sent = {"events": [view(one) for one in ids]}
            answers.append((await client.post("/v1/events", json=sent)).json())
        return answers

    answers = running.run(talk)
    assert [(one["accepted"], one["deduplicated"]) for one in answers] == [(1, 1), (1, 1), (0, 1)]


def test_concurrent_posts_of_one_event_accept_it_once(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[Any]:
        sent = {"events": [view("same"), view("other")]}
        answers = await asyncio.gather(*(client.post("/v1/events", json=sent) for _ in range(20)))
        return [answer.json() for answer in answers]

    answers = running.run(talk)
    assert sum(one["accepted"] for one in answers) == 2
    assert sum(one["deduplicated"] for one in answers) == 38


def test_a_locked_store_is_a_503_and_the_event_can_be_sent_again(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        holder = sqlite3.connect(running.shop.workspace.store, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        refused = await client.post("/v1/events", json={"events": [view("a")]})
        score = await client.get("/v1/customers/c1/churn")
        holder.execute("ROLLBACK")
        holder.close()
        return refused, score, await client.post("/v1/events", json={"events": [view("a")]})

    refused, score, taken = running.run(talk)
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "unavailable", "1")
    assert score.status_code == 200  # reading goes on while somebody else writes
    assert taken.json()["accepted"] == 1
    assert kept_ids(running) == ["a"]


def test_a_full_disk_is_a_507_and_answers_go_on(running: Running) -> None:
    most_pages = 1  # what there is, and no more

    def limit_pages(raw: Any, *_: object) -> None:  # each connection lent: the pool keeps several
        raw.execute(f"PRAGMA max_page_count = {most_pages}")

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        nonlocal most_pages
        many = {"events": [view(f"f{number}") | {"text": "x" * 9_000} for number in range(40)]}
        with running.runtime.store.read() as connection:
            sa.event.listen(connection.engine, "checkout", limit_pages)
        refused = [await client.post("/v1/events", json=many), await client.get("/v1/customers/c1/churn")]
        most_pages = 2**30
        return [*refused, await client.post("/v1/events", json=many)]

    refused, score, taken = running.run(talk)
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (507, "storage_full", "10")
    assert (score.status_code, taken.json()["accepted"]) == (200, 40)


def test_another_process_s_event_is_in_the_next_score(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[int, int]:
        before = (await client.get("/v1/customers/c1/churn")).json()["data_quality"]["events_count"]
        with sqlite3.connect(running.shop.workspace.store) as other:
            other.execute(
                "INSERT INTO accepted_events (event_id, customer_key, occurred_at, recorded_at, kind, item_id) "
                "VALUES ('theirs', ?, ?, ?, 'view', 'apple')",
                (running.shop.pseudonyms.of("c1"), NOW_US - 2, NOW_US - 1),
            )
        other.close()
        return before, (await client.get("/v1/customers/c1/churn")).json()["data_quality"]["events_count"]

    before, after = running.run(talk)
    assert after == before + 1


def test_sealing_moves_events_into_the_log_once_and_the_next_service_counts_them_once(running: Running) -> None:
    sent = {"events": [view("a"), view("b", customer="new")]}
    running.call("POST", "/v1/events", json=sent)
    store = Store.open(running.shop.workspace.store)
    log = EventLog.open(running.shop.workspace.event_log)
    before = log.n_events
    first, second = seal(store, log), seal(store, log)
    assert (first.n_sealed, first.n_known, second.n_sealed) == (2, 0, 0)
    assert log.n_events == before + 2
    store.close()
    running.now_us += 1  # what was recorded at an instant is known after it
    counted = running.call("GET", "/v1/customers/new/churn").json()["data_quality"]["events_count"]
    assert counted == 1


def test_a_crash_between_append_and_mark_neither_loses_nor_doubles(running: Running) -> None:
    running.call("POST", "/v1/events", json={"events": [view("a", customer="new")]})
    store = Store.open(running.shop.workspace.store)
    log = EventLog.open(running.shop.workspace.event_log)
    seal(store, log)
    with store.write() as connection:  # as if the mark had not been written
        connection.execute(sa.update(accepted_events).values(sealed_version=None))
    running.now_us += 1
    counted = running.call("GET", "/v1/customers/new/churn").json()["data_quality"]["events_count"]
    assert counted == 1
    assert seal(store, log).n_known == 1
    store.close()


def test_an_event_that_an_import_brought_before_it_was_sealed_and_marked_counts_once(running: Running) -> None:
    running.call("POST", "/v1/events", json={"events": [view("a", customer="new")]})
    store = Store.open(running.shop.workspace.store)
    log = EventLog.open(running.shop.workspace.event_log)
    imported = seal(store, log).version
    with store.write() as connection:  # as if the seal came after the import, and this service had read the log between
        connection.execute(sa.update(accepted_events).values(sealed_version=imported + 1))
    store.close()
    running.now_us += 1
    counted = running.call("GET", "/v1/customers/new/churn").json()["data_quality"]["events_count"]
    assert counted == 1


def test_an_outcome_carries_the_id_of_its_cause_into_the_log(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> str:
        slate = (await client.post("/v1/recommendations", json={"customer_id": "c1"})).json()
        sent = [view("shown", kind="impression", recommendation_id=slate["recommendation_id"])]
        assert (await client.post("/v1/events", json={"events": sent})).json()["accepted"] == 1
        return str(slate["recommendation_id"])

    recommendation_id = running.run(talk)
    store, log = Store.open(running.shop.workspace.store), EventLog.open(running.shop.workspace.event_log)
    seal(store, log)
    store.close()
    events = log.read(columns=["event_id", "recommendation_id"]).to_pylist()
    assert {"event_id": "shown", "recommendation_id": recommendation_id} in events


@pytest.mark.parametrize("n", [0, 501])
def test_a_post_of_none_or_too_many_events_is_refused_whole(running: Running, n: int) -> None:
    answer = running.call("POST", "/v1/events", json={"events": [view(str(i)) for i in range(n)]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/events")
    assert kept_ids(running) == []
