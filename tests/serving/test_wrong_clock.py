"""The service's clock set back or forwards by a day: answers go on, and no event is turned away for our mistake."""

from typing import Any

import httpx
import pyarrow.parquet as pq

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.event_log import EventLog
from features.instants import DAY_US, HOUR_US, MINUTE_US, format_instant
from serving.kept_answers import GIVEN_UP_US, Asked
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US

SLATE = {"customer_id": "c3", "limit": 3}


def seen(event_id: str, at_us: int) -> dict[str, Any]:
    event = {"event_id": event_id, "customer_id": "c3", "occurred_at": format_instant(at_us)}
    return {"events": [event | {"kind": "view", "item_id": "apple"}]}


def test_with_the_clock_set_back_answers_go_on_and_events_are_to_be_sent_again(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        taken = await client.post("/v1/events", json=seen("a", NOW_US))
        running.now_us = NOW_US - DAY_US
        during = [
            await client.get("/v1/customers/c3/churn"),
            await client.post("/v1/recommendations", json=SLATE),
            await client.post("/v1/events", json=seen("b", NOW_US + 1)),
            await client.post("/v1/events", json=seen("c", NOW_US - DAY_US)),  # not ahead of it
        ]
        running.now_us = NOW_US + MINUTE_US
        after = [
            await client.post("/v1/events", json=seen("b", NOW_US + 1)),
            await client.get("/v1/customers/c3/churn"),
        ]
        return [taken, *during, *after]

    taken, score, slate, refused, older, again, later = running.run(talk)
    assert taken.json()["accepted"] == older.json()["accepted"] == again.json()["accepted"] == 1
    assert (score.status_code, score.json()["data_quality"]["degraded_reason"]) == (200, "clock_behind")
    assert (slate.status_code, slate.json()["degraded_reason"]) == (200, "clock_behind")
    assert (refused.status_code, refused.json()["code"]) == (503, "clock_behind")
    assert refused.headers["retry-after"] == "60"
    assert later.json()["data_quality"] | {"degraded": False, "degraded_reason": None} == later.json()["data_quality"]


def test_an_event_of_the_future_is_rejected_as_ever_while_nothing_says_that_the_clock_is_wrong(
    running: Running,
) -> None:
    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        await client.post("/v1/events", json=seen("a", NOW_US + 4 * MINUTE_US))  # recorded as of then
        return await client.post("/v1/events", json=seen("b", NOW_US + HOUR_US))

    answer = running.run(talk)
    assert (answer.status_code, answer.json()["rejected"][0]["code"]) == (202, "in_the_future")


def test_stored_features_of_the_right_time_answer_under_a_clock_that_was_set_back(running: Running) -> None:
    view = CustomerView.from_events(EventLog.open(running.shop.workspace.event_log).read())
    running.shop.workspace.snapshots.mkdir()
    pq.write_table(compute(view, CHURN_FEATURES, NOW_US).to_arrow(), running.shop.workspace.snapshots / "0.parquet")

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        await client.post("/v1/events", json=seen("a", NOW_US))
        path = "/v1/customers/c3/churn?freshness=stored"
        right = await client.get(path)
        running.now_us = NOW_US - DAY_US
        return [right, await client.get(path)]

    right, back = running.run(talk)
    assert (right.status_code, back.status_code) == (200, 200)
    assert back.json()["churn_probability"] == right.json()["churn_probability"]
    assert back.json()["features_as_of"] == format_instant(NOW_US)
    assert [one.json()["data_quality"]["degraded_reason"] for one in (right, back)] == [None, "clock_behind"]


def test_with_the_clock_a_day_ahead_events_are_taken_and_answers_go_on(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        running.now_us = NOW_US + DAY_US
        return [
            await client.post("/v1/events", json=seen("a", NOW_US)),
            await client.get("/v1/customers/c3/churn"),
            await client.post("/v1/recommendations", json=SLATE),
        ]

    taken, score, slate = running.run(talk)
    assert (taken.status_code, taken.json()["accepted"]) == (202, 1)
    assert (score.status_code, slate.status_code) == (200, 200)


def test_the_claim_of_a_worker_that_was_killed_under_a_clock_ahead_is_given_up_too(running: Running) -> None:
    runtime = running.open(running.settings)
    asked = Asked.of("crm", "POST /v1/events", "k", b"{}")
    running.now_us = NOW_US + DAY_US
    assert runtime.kept_answers.claim(asked) is not None
    assert runtime.kept_answers.claim(asked) is None
    running.now_us = NOW_US + DAY_US - GIVEN_UP_US - 1
    assert runtime.kept_answers.find(asked) is None
    assert runtime.kept_answers.claim(asked) is not None
    runtime.close()
