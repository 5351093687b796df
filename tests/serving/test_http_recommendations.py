"""Recommendations and similar items over HTTP."""

from dataclasses import replace
from typing import Any

import httpx
import pyarrow as pa
import sqlalchemy as sa

from features.instants import DAY_US, format_instant
from features.schema import ITEMS
from features.tables import upsert
from serving.kept_requests import request_again
from serving.recipe import load_recipes
from serving.store import Store, decisions
from serving.storefront import SlateRequest, Storefront
from tests.event_tables import event, event_table
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US
from training.log_data import read_log
from training.logged_recommendations import LoggedRecommendationSettings, join_outcomes, read_slates
from training.ranking_job import rankings_of

AGAIN = {"exclude_bought_within_days": 0}  # the customers of this shop bought everything lately


def ids(answer: httpx.Response) -> list[str]:
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_customer_gets_a_slate_that_names_its_release(running: Running) -> None:
    answer = running.call("POST", "/v1/recommendations", json={"customer_id": "c1", "limit": 3, **AGAIN})
    body = answer.json()
    assert answer.status_code == 200
    assert [item["position"] for item in body["items"]] == [1, 2, 3]
    assert (body["fallback"], body["strategy"]) == (False, "personal")
    assert answer.headers["x-release"] == body["model"]["release"] == "first"
    assert body["expires_at"] == "2024-03-01T00:05:00Z"
    assert body["recommendation_id"].startswith("r-")


def test_a_number_may_be_written_in_every_way_that_json_has(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [f"/v1/recommendations?{query}" for query in ("limit=2.0", "limit=2e0", "limit=2&diversity=0.12345678")]
        posted = {"content": b'{"limit": 2.0}', "headers": {"content-type": "application/json"}}
        return [*[await client.get(path) for path in asked], await client.post("/v1/recommendations", **posted)]

    for answer in running.run(talk):
        assert (answer.status_code, len(answer.json()["items"])) == (200, 2)


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
        few = await client.post(
            "/v1/recommendations", json={"customer_id": "c1", "candidates": ["eggs", "dates"], **AGAIN}
        )
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


def test_a_decision_keeps_the_placement_and_what_the_call_wanted(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = {"placement": "basket", "limit": 2, "seed_items": ["eggs"], "exclude_bought_within_days": 1}
        return [
            await client.post("/v1/recommendations", json=asked),
            await client.post("/v1/recommendations", json={"placement": "email"}),
            await client.get("/v1/items/apple/similar"),
        ]

    assert [answer.status_code for answer in running.run(talk)] == [200] * 3
    with Store.open(running.shop.workspace.store).read() as connection:
        kept = connection.execute(sa.select(decisions.c["placement", "request"]).order_by(decisions.c.seq)).all()
    basket, email, similar = kept
    recipe = load_recipes()["basket"]
    exclude = replace(recipe.rules.exclude, bought_within_days=1.0)
    assert basket.placement == "basket"
    assert request_again(basket.request, recipe) == SlateRequest(2, exclude=exclude, seed_items=("eggs",))
    assert (email.placement, email.request) == ("email", None)
    assert (similar.placement, similar.request) == (None, None)


def test_a_release_that_is_asked_again_for_its_own_decisions_shows_the_same(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked: list[dict[str, Any]] = [
            {"customer_id": "c1", **AGAIN},
            {"customer_id": "c2", "limit": 2, "placement": "basket", "filter": "item_id != 'eggs'", **AGAIN},
            {"customer_id": "c3", "seed_items": ["apple"], "placement": "product_page"},
            {"customer_id": "c39", "boost": [{"where": "item_id = 'dates'", "factor": 4}], "diversity": 0.9, **AGAIN},
            {"session_id": "nobody", "placement": "email", "limit": 3},
        ]
        answers = [await client.post("/v1/recommendations", json=one) for one in asked]
        following = asked[1] | {"next_of": answers[1].json()["recommendation_id"]}
        return [*answers, await client.post("/v1/recommendations", json=following)]

    answers = running.run(talk)
    shown = {answer.json()["recommendation_id"]: ids(answer) for answer in answers}
    assert all(shown.values())
    slates = read_slates(Store.open(running.shop.workspace.store), NOW_US + DAY_US)
    seen = [
        event("k:1", "impression", NOW_US + 1, item_id=items[0], recommendation_id=one) for one, items in shown.items()
    ]
    logged = join_outcomes(slates, event_table(*seen), NOW_US + 9 * DAY_US, LoggedRecommendationSettings())
    release = running.runtime.served.champion
    assert release.recommender is not None
    again = rankings_of(
        Storefront(release.recommender, release.recommender.catalogue),
        release.recipes,
        read_log(running.shop.workspace).view,
        logged,
    )
    assert {one: items[: len(shown[one])] for one, items in again.items()} == shown


def test_what_was_bought_lately_is_left_out_as_the_recipe_says_and_counted(running: Running) -> None:
    body = running.call("POST", "/v1/recommendations", json={"customer_id": "c1"}).json()
    assert body["items"] == []
    assert body["filtered"]["bought_recently"] == body["filtered_count"] == 5
    assert (body["more"], body["unknown_count"]) == (False, 0)


def test_pages_go_on_where_they_ended_and_hold_nothing_twice(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = {"customer_id": "c1", "limit": 2, **AGAIN}
        pages = [await client.post("/v1/recommendations", json=asked)]
        while pages[-1].json()["more"]:
            following = asked | {"next_of": pages[-1].json()["recommendation_id"]}
            pages.append(await client.post("/v1/recommendations", json=following))
        stranger = {"customer_id": "c2", "next_of": pages[0].json()["recommendation_id"]}
        return [*pages, await client.post("/v1/recommendations", json=stranger)]

    *pages, stranger = running.run(talk)
    assert [len(ids(page)) for page in pages] == [2, 2, 1]
    assert len({item for page in pages for item in ids(page)}) == 5
    assert [item["position"] for page in pages for item in page.json()["items"]] == [1, 2, 3, 4, 5]
    assert (stranger.status_code, stranger.json()["code"]) == (410, "page_gone")


def test_a_filter_takes_out_and_a_hostile_one_is_refused_by_its_field(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        texts = ["item_id in ('apple', 'eggs')", "item_id = 'nothing'", "__import__('os')", "((((" * 400]
        return [await client.post("/v1/recommendations", json={"limit": 5, "filter": text}) for text in texts]

    two, none, hostile, deep = running.run(talk)
    assert sorted(ids(two)) == ["apple", "eggs"]
    assert two.json()["filtered"]["filter"] == 3
    assert (none.status_code, ids(none), none.json()["filtered_count"]) == (200, [], 5)
    for answer in (hostile, deep):
        assert (answer.status_code, answer.json()["code"]) == (422, "filter")
        assert answer.json()["errors"][0]["pointer"] == "/filter"


def test_boosts_and_their_filters(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        boost = [{"where": "item_id = 'eggs'", "factor": 10.0}]
        return [
            await client.post("/v1/recommendations", json={"limit": 1, "boost": boost}),
            await client.post("/v1/recommendations", json={"boost": [{"where": "colour = 'red'", "factor": 2.0}]}),
            await client.post("/v1/recommendations", json={"boost": [{"where": "", "factor": 1_000.0}]}),
        ]

    first, unknown, unfit = running.run(talk)
    assert ids(first) == ["eggs"]
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/boost/0/where")
    assert {fault["pointer"] for fault in unfit.json()["errors"]} == {"/boost/0/where", "/boost/0/factor"}


def test_an_unknown_placement_is_refused_with_those_that_are_known(running: Running) -> None:
    answer = running.call("POST", "/v1/recommendations", json={"placement": "hoem"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_placement")
    assert answer.json()["errors"][0]["detail"] == "known: basket, email, home, product_page"


def test_a_list_is_ranked_whole_with_what_nobody_knows_counted(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        mine = {"customer_id": "c1", "items": ["eggs", "apple", "no such item", "bread"]}
        many = {"items": [f"x{number}" for number in range(10_000)]}
        return [await client.post("/v1/rank", json=body) for body in (mine, many, {"items": []})]

    mine, many, empty = running.run(talk)
    assert sorted(ids(mine)) == ["apple", "bread", "eggs"]
    assert (mine.json()["unknown_count"], mine.json()["filtered_count"]) == (1, 0)
    assert (many.status_code, ids(many), many.json()["unknown_count"]) == (200, [], 10_000)
    assert empty.status_code == 422


def test_reasons_are_told_in_the_language_asked_for(running: Running) -> None:
    answer = running.call("POST", "/v1/recommendations", json={"limit": 1}, headers={"Accept-Language": "zh"})
    assert answer.json()["items"][0]["reason"] == "现在很受欢迎"
    assert answer.headers["content-language"] == "zh"


def test_the_answer_says_what_is_of_now_and_what_the_order_is_for(running: Running) -> None:
    body = running.call("POST", "/v1/recommendations", json={"customer_id": "c1", **AGAIN}).json()
    assert body["freshness"] == {"history": "2024-03-01T00:00:00Z", "models": None, "churn_probability": None}
    assert body["objective"] == {"relevance": 1.0, "margin": 0.1, "discovery": 0.1, "retention": 0.0}
