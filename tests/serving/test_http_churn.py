"""Churn over HTTP: fresh, stored, past, in batch; two releases; every answer names its release."""

from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.event_log import EventLog
from features.instants import DAY_US, format_instant
from serving.assignment import HOLDOUT_SHARE, placed_arm
from serving.rollouts.state import Change, rollback, start_rollout
from serving.store import Store, decisions
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US, churn_model, edit_manifest

BY = Change("ada", NOW_US, "a test")


def purchase(event_id: str, customer: str, at_us: int, item: str = "eggs") -> dict[str, Any]:
    return {
        "event_id": event_id,
        "customer_id": customer,
        "occurred_at": format_instant(at_us),
        "kind": "purchase",
        "item_id": item,
        "amount_minor": 500,
        "currency": "EUR",
    }


def sealed_view(running: Running) -> CustomerView:
    return CustomerView.from_events(EventLog.open(running.shop.workspace.event_log).read())


def expected(running: Running, customer: str, as_of_us: int, base: float = 0.0) -> float:
    view = sealed_view(running)
    one = view.select(view.rows_of([running.shop.pseudonyms.of(customer)]))
    return churn_model(base).probability(compute(one, CHURN_FEATURES, as_of_us).values[0])


def test_a_fresh_score_is_the_model_on_the_features_of_now(running: Running) -> None:
    answer = running.call("GET", "/v1/customers/c39/churn")
    body = answer.json()
    assert answer.status_code == 200
    assert body["churn_probability"] == expected(running, "c39", NOW_US)
    assert answer.headers["x-release"] == body["model"]["release"] == "first"
    assert body["as_of"] == body["features_as_of"] == "2024-03-01T00:00:00Z"
    assert body["band"] == ("high" if body["churn_probability"] >= 0.6 else "medium")
    assert 0 <= body["churn_score"] <= 100
    assert len(body["reasons"]) == 3
    assert body["holdout"] is False


def test_the_event_accepted_a_moment_ago_is_in_the_next_score(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[float, float, Any]:
        before = (await client.get("/v1/customers/c39/churn")).json()
        taken = await client.post("/v1/events", json={"events": [purchase("n1", "c39", NOW_US - 1)]})
        assert taken.json() == {"accepted": 1, "deduplicated": 0, "rejected": []}
        after = (await client.get("/v1/customers/c39/churn")).json()
        assert after["data_quality"]["events_count"] == before["data_quality"]["events_count"] + 1
        return before["churn_probability"], after["churn_probability"], after["reasons"]

    before, after, _ = running.run(talk)
    assert after < before - 0.2  # 40 days since the last order became none


def test_a_past_score_is_reproduced_whatever_was_accepted_since(running: Running) -> None:
    past_us = NOW_US - 3 * DAY_US

    async def talk(client: httpx.AsyncClient) -> tuple[float, float]:
        path = f"/v1/customers/c39/churn?as_of={format_instant(past_us)}"
        first = (await client.get(path)).json()["churn_probability"]
        await client.post("/v1/events", json={"events": [purchase("late", "c39", past_us - DAY_US)]})
        return first, (await client.get(path)).json()["churn_probability"]

    first, again = running.run(talk)
    assert first == again == expected(running, "c39", past_us)


def test_nobody_is_known_before_their_first_event(running: Running) -> None:
    answer = running.call("GET", "/v1/customers/c1/churn?as_of=2001-01-01T00:00:00Z")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_customer")


def test_stored_features_are_those_of_the_newest_snapshot(running: Running) -> None:
    view = sealed_view(running)
    folder = running.shop.workspace.snapshots
    folder.mkdir()
    for days in (20, 10):
        table = compute(view, CHURN_FEATURES, NOW_US - days * DAY_US)
        pq.write_table(table.to_arrow(), folder / f"{days}.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1 half")
    body = running.call("GET", "/v1/customers/c39/churn?freshness=stored").json()
    assert body["features_as_of"] == format_instant(NOW_US - 10 * DAY_US)
    assert body["churn_probability"] == expected(running, "c39", NOW_US - 10 * DAY_US)


def test_without_a_snapshot_stored_features_are_a_404_that_says_so(running: Running) -> None:
    answer = running.call("GET", "/v1/customers/c39/churn?freshness=stored")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_snapshot")


def test_a_snapshot_of_the_future_is_not_answered_from(running: Running) -> None:
    folder = running.shop.workspace.snapshots
    folder.mkdir()
    table = compute(sealed_view(running), CHURN_FEATURES, NOW_US + DAY_US)
    pq.write_table(table.to_arrow(), folder / "tomorrow.parquet")
    answer = running.call("GET", "/v1/customers/c39/churn?freshness=stored")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_snapshot")
    assert f"{format_instant(NOW_US + DAY_US)}, which lies in the future" in answer.json()["detail"]
    assert running.call("GET", "/v1/customers/c39/churn").status_code == 200


def test_include_chooses_what_is_explained(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[set[str]]:
        chosen = ("", "actions", "reasons,actions", "forecast", "trend", "segment")
        return [set((await client.get(f"/v1/customers/c39/churn?include={one}")).json()) for one in chosen]

    plain, actions, both, forecast, trend, segment = running.run(talk)
    assert both - plain == {"reasons", "recommended_actions"}
    assert actions - plain == {"recommended_actions"}
    assert forecast - plain == {"horizons", "next_purchase", "predicted_value", "expected_loss"}
    assert trend - plain == {"trend", "population_percentile"}
    assert segment - plain == {"segment", "lifecycle_stage", "rfm"}


def test_a_batch_gives_a_result_or_a_problem_for_each_row(running: Running) -> None:
    ids = ["c3", "nobody", "c39", "c3"]

    async def talk(client: httpx.AsyncClient) -> tuple[Any, Any]:
        await client.post("/v1/events", json={"events": [purchase("n1", "c39", NOW_US - 1)]})
        batch = (await client.post("/v1/churn/score:batch", json={"customer_ids": ids})).json()
        return batch, (await client.get("/v1/customers/c39/churn")).json()

    batch, alone = running.run(talk)
    assert (batch["scored"], batch["failed"]) == (3, 1)
    assert [row["index"] for row in batch["results"]] == [0, 1, 2, 3]
    assert batch["results"][1]["problem"]["code"] == "unknown_customer"
    assert batch["results"][2]["churn"]["churn_probability"] == alone["churn_probability"]
    assert batch["results"][0]["churn"]["churn_probability"] == batch["results"][3]["churn"]["churn_probability"]


def test_traffic_is_split_by_the_sticky_hash_and_rollback_takes_effect(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        store = Store.open(running.shop.workspace.store)  # as the command line would, from another connection
        start_rollout(store, "second", 0.5, "s", BY)
        await until(client, lambda body: len(body["releases"]) == 2)
        seen = set()
        for number in range(12):
            key = running.shop.pseudonyms.of(f"c{number}")
            arm = placed_arm("s", 0.5, key, HOLDOUT_SHARE)
            answer = await client.get(f"/v1/customers/c{number}/churn")
            body = answer.json()
            assert body["experiment"] == {"key": "rollout-s", "arm": arm}
            assert answer.headers["x-release"] == ("second" if arm == "challenger" else "first")
            assert body["churn_probability"] == expected(
                running, f"c{number}", NOW_US, 2.0 if arm == "challenger" else 0.0
            )
            seen.add(arm)
        assert seen >= {"control", "challenger"}
        rollback(store, BY)
        store.close()
        await until(client, lambda body: len(body["releases"]) == 1)
        assert {(await client.get(f"/v1/customers/c{n}/churn")).headers["x-release"] for n in range(12)} == {"first"}

    running.run(talk)


async def until(client: httpx.AsyncClient, holds: Any) -> None:
    import asyncio

    for _ in range(200):
        if holds((await client.get("/v1/releases")).json()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError((await client.get("/v1/releases")).text)


@pytest.mark.parametrize("damage", ["truncated", "fingerprint"])
def test_a_refused_release_leaves_the_running_one_untouched_and_says_why(running: Running, damage: str) -> None:
    folder = running.shop.workspace.releases / "second"
    if damage == "truncated":
        path = folder / "churn" / "booster.txt"
        path.write_bytes(path.read_bytes()[:-100])
    else:
        edit_manifest(folder, lambda manifest: manifest["feature_set"].update(fingerprint="0" * 64))

    async def talk(client: httpx.AsyncClient) -> None:
        store = Store.open(running.shop.workspace.store)
        start_rollout(store, "second", 1.0, "s", BY)
        store.close()
        await until(client, lambda body: body["refused"])
        refused = (await client.get("/v1/releases")).json()["refused"][0]
        assert refused["release"] == "second"
        assert {"truncated": "bytes", "fingerprint": "feature set"}[damage] in refused["detail"]
        assert (await client.get("/v1/customers/c3/churn")).headers["x-release"] == "first"
        assert "second" in (await client.get("/readyz")).json()["refused"]

    running.run(talk)


def test_a_service_whose_only_release_is_refused_is_not_ready_and_says_why(running: Running) -> None:
    (running.shop.workspace.releases / "first" / "churn" / "churn.json").unlink()

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        import asyncio

        for _ in range(200):
            answer = await client.get("/readyz")
            if answer.json()["code"] == "unavailable":
                return answer
            await asyncio.sleep(0.02)
        raise AssertionError(answer.text)

    answer = running.run(talk, ready=False)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "churn.json" in answer.json()["detail"]


def test_every_answer_is_kept_as_a_decision_with_its_values_and_without_an_outside_id(running: Running) -> None:
    body = running.call("GET", "/v1/customers/c39/churn").json()
    store = Store.open(running.shop.workspace.store)
    with store.read() as connection:
        kept = connection.execute(sa.select(decisions)).mappings().all()
    store.close()
    assert [one["decision_id"] for one in kept] == [body["decision_id"]]
    assert (kept[0]["release"], kept[0]["arm"], kept[0]["fingerprint"]) == (
        "first",
        "champion",
        CHURN_FEATURES.fingerprint(),
    )
    values = np.frombuffer(kept[0]["feature_values"], "<f8")
    assert churn_model(0.0).probability(values) == body["churn_probability"] == kept[0]["churn_probability"]
    assert b"c39" not in str(dict(kept[0])).encode()


def test_a_plus_that_became_a_space_is_explained(running: Running) -> None:
    answer = running.call("GET", "/v1/customers/c3/churn?as_of=2024-02-29T00:00:00+01:00")
    assert answer.status_code == 422
    assert "%2B" in answer.json()["errors"][0]["detail"]
    written = running.call("GET", "/v1/customers/c3/churn?as_of=2024-02-29T00:00:00%2B01:00")
    assert (written.status_code, written.json()["features_as_of"]) == (200, "2024-02-28T23:00:00Z")
