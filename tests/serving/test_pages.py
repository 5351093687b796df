"""The next page of a list: from whichever process shares the store, for a day, for the same customer and placement."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa

from features.instants import DAY_US
from serving.decisions import Decision, DecisionLog
from serving.pages import Page, Pages, page_id
from serving.store import Store, decisions
from tests.serving.conftest import Running, until_ready
from tests.tiny_shop import NOW_US

RANDOM = "0123456789abcdef0123456789abcdef"
AGAIN = {"exclude_owned": False, "exclude_bought_within_days": 0}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def store(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    on_server = request.param == "postgresql"
    opened = Store.open(request.getfixturevalue("postgres").empty() if on_server else tmp_path / "service.db")
    yield opened
    opened.close()


def kept(store: Store, decision_id: str, items: tuple[str, ...], request: str | None = None, kind="recommendation"):
    log = DecisionLog(store, capacity=10, count=lambda *_: None)
    told = {"item_ids": items, "placement": "home", "request": request}
    log.record(Decision(decision_id, kind, "k:1", NOW_US, "one", "none", "champion", **told))
    log.close()


def find(pages: Pages, recommendation_id: str) -> Page | None:
    return asyncio.run(pages.find(recommendation_id))


def test_a_page_that_another_process_gave_is_found_with_all_that_was_shown_before_it(store: Store) -> None:
    one = page_id(NOW_US, RANDOM)
    kept(store, one, ("c", "d"), '{"limit": 2, "earlier": ["a", "b"]}')
    assert find(Pages(store, lambda: NOW_US), one) == Page("k:1", "home", ("a", "b", "c", "d"))


def test_a_page_is_known_for_a_day_and_as_long_as_its_decision_is_there(store: Store) -> None:
    one = page_id(NOW_US, RANDOM)
    kept(store, one, ("a",))
    assert find(Pages(store, lambda: NOW_US + DAY_US), one) == Page("k:1", "home", ("a",))
    assert find(Pages(store, lambda: NOW_US + DAY_US + 1_000), one) is None
    with store.write() as connection:  # an erasure
        connection.execute(sa.delete(decisions).where(decisions.c.customer_key == "k:1"))
    assert find(Pages(store, lambda: NOW_US + DAY_US), one) is None


def test_what_this_process_gave_is_known_before_it_is_written_and_forgotten_soon_after(store: Store) -> None:
    now = [NOW_US]
    pages = Pages(store, lambda: now[0])
    one, page = page_id(NOW_US, RANDOM), Page("k:1", "home", ("a",))
    pages.keep(one, page)
    assert find(pages, one) == page
    now[0] += 61_000_000
    pages.keep(page_id(now[0], RANDOM), page)
    assert find(pages, one) is None


def test_a_page_that_is_about_to_be_written_is_waited_for(store: Store) -> None:
    one, pages = page_id(NOW_US, RANDOM), Pages(store, lambda: NOW_US)

    async def both() -> Page | None:
        found = asyncio.create_task(pages.find(one))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(kept, store, one, ("a",))
        return await found

    assert asyncio.run(both()) == Page("k:1", "home", ("a",))


@pytest.mark.parametrize("one", ["", "r-1", "anna@example.org", f"d-{RANDOM}", page_id(NOW_US * 2, RANDOM)])
def test_what_is_no_id_or_of_another_time_is_not_looked_up(one: str, tmp_path) -> None:
    store = Store.open(tmp_path / "service.db")
    store.close()
    assert find(Pages(store, lambda: NOW_US), one) is None


def test_the_look_is_by_the_index(tmp_path) -> None:
    with Store.open(tmp_path / "service.db").read() as connection:
        query = "EXPLAIN QUERY PLAN SELECT * FROM decisions WHERE decision_id = 'r-1' AND kind = 'recommendation'"
        assert "USING INDEX decisions_slates" in str(connection.exec_driver_sql(query).all())


def test_a_list_goes_on_at_another_worker(running: Running) -> None:
    other = Running(running.shop, running.settings)
    other._ids = 1_000_000  # ids of one are none of the other

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        async with other.app.router.lifespan_context(other.app):
            transport = httpx.ASGITransport(other.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as second:
                await until_ready(second)
                asked, clients = {"customer_id": "c1", "limit": 2, **AGAIN}, (client, second)
                pages = [await client.post("/v1/recommendations", json=asked)]
                while pages[-1].json()["more"]:
                    following = asked | {"next_of": pages[-1].json()["recommendation_id"]}
                    pages.append(await clients[len(pages) % 2].post("/v1/recommendations", json=following))
                stranger = {"customer_id": "c2", "next_of": pages[0].json()["recommendation_id"]}
                return [*pages, await second.post("/v1/recommendations", json=stranger)]

    *pages, stranger = running.run(talk)
    items = [item["item_id"] for page in pages for item in page.json()["items"]]
    assert (len(pages), len(items), len(set(items))) == (3, 5, 5)
    assert (stranger.status_code, stranger.json()["code"]) == (410, "page_gone")
