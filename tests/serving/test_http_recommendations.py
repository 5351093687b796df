"""Recommendations and similar items over HTTP."""

from typing import Any

import httpx
import pyarrow as pa

from features.instants import DAY_US, format_instant
from features.schema import ITEMS
from features.tables import upsert
from serving.store import Store
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US
from training.logged_recommendations import read_slates


def ids(answer: httpx.Response) -> list[str]:
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_customer_gets_a_slate_that_names_its_release(running: Running) -> None:
    answer = running.call("POST", "/v1/recommendations", json={"customer_id": "c1", "limit": 3})
    body = answer.json()
    assert answer.status_code == 200
    assert [item["position"] for item in body["items"]] == [1, 2, 3]
    assert (body["fallback"], body["strategy"]) == (False, "personal")
    assert answer.headers["x-release"] == body["model"]["release"] == "first"
    assert body["expires_at"] == "2024-03-01T00:05:00Z"
    assert body["recommendation_id"].startswith("r-")


def test_an_unknown_visitor_gets_the_fallback_never_a_404(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        bodies: list[dict[str, Any]] = [{}, {"customer_id": "stranger"}, {"session_id": "s1"}]
        return [await client.post("/v1/recommendations", json=body) for body in bodies]

    for answer in running.run(talk):
        assert (answer.status_code, answer.json()["fallback"]) == (200, True)
        assert ids(answer)[0] == "apple"  # the most popular


def test_the_next_slate_includes_the_event_accepted_a_moment_ago(running: Running) -> None:
    event = {
        "event_id": "n1",
        "anonymous_id": "visitor",
        "occurred_at": format_instant(NOW_US - 1),
        "kind": "purchase",
        "item_id": "cheese",
        "amount_minor": 5,
        "currency": "EUR",
    }

    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        asked = {"session_id": "visitor", "exclude_owned": True, "limit": 5}
        before = await client.post("/v1/recommendations", json=asked)
        await client.post("/v1/events", json={"events": [event]})
        return before, await client.post("/v1/recommendations", json=asked)

    before, after = running.run(talk)
    assert "cheese" in ids(before)
    assert "cheese" not in ids(after)
    assert (before.json()["fallback"], after.json()["fallback"]) == (True, False)


def test_candidates_are_ranked_alone_and_seeds_lead_to_similar_items(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        few = await client.post("/v1/recommendations", json={"customer_id": "c1", "candidates": ["eggs", "dates"]})
        return few, await client.post("/v1/recommendations", json={"seed_items": ["apple"], "limit": 1})

    few, seeded = running.run(talk)
    assert sorted(ids(few)) == ["dates", "eggs"]
    assert (ids(seeded), seeded.json()["strategy"]) == (["bread"], "similar")


def test_get_gives_what_post_gives_and_may_be_cached_privately(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        query = "customer_id=c1&limit=2&exclude_owned=false&candidates=apple,eggs,dates"
        body = {"customer_id": "c1", "limit": 2, "exclude_owned": False, "candidates": ["apple", "eggs", "dates"]}
        return (
            await client.get(f"/v1/recommendations?{query}"),
            await client.post("/v1/recommendations", json=body),
        )

    got, posted = running.run(talk)
    assert ids(got) == ids(posted)
    assert got.headers["cache-control"] == "private, max-age=300"
    assert "cache-control" not in posted.headers


def test_similar_items_and_an_unknown_item(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.get("/v1/items/apple/similar?limit=1"),
            await client.post("/v1/items/apple/similar", json={"limit": 1}),
            await client.get("/v1/items/unheard-of/similar"),
        ]

    got, posted, unknown = running.run(talk)
    assert ids(got) == ids(posted) == ["bread"]
    assert (unknown.status_code, ids(unknown), unknown.json()["fallback"]) == (200, [], True)


def test_what_is_out_of_stock_is_not_shown(running: Running) -> None:
    rows = [{"item_id": "apple", "in_stock": False}, {"item_id": "bread", "in_stock": None}]
    upsert(running.shop.workspace.items, ITEMS, pa.Table.from_pylist(rows, schema=ITEMS.arrow))

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post("/v1/recommendations", json={"limit": 5}),
            await client.get("/v1/items/bread/similar"),
        ]

    slate, similar = running.run(talk)
    assert "apple" not in ids(slate)
    assert "bread" in ids(slate)
    assert ids(similar)
    assert "apple" not in ids(similar)  # the nearest, and there is none left
    assert similar.json()["filtered_count"] == 2  # apple, and bread itself


def test_what_was_shown_is_kept_with_the_chance_of_each_item(running: Running) -> None:
    answer = running.call("POST", "/v1/recommendations", json={"limit": 2})
    slates = read_slates(Store.open(running.shop.workspace.store), NOW_US + DAY_US)
    assert slates.decision_ids == (answer.json()["recommendation_id"],)
    assert [slates.item_ids[item] for item in slates.item] == ids(answer)
    assert slates.position.tolist() == [0, 1]
    assert slates.propensities.tolist() == [1.0, 1.0]  # nothing was drawn
