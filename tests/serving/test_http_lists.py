"""The work list, who changed band, and early warnings over HTTP: nobody twice, nobody missing, no pseudonym outside."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from features.instants import DAY_US, format_instant
from features.tables import IDENTITIES, upsert
from serving.cursors import write_cursor
from serving.early_warning import WarningRule
from serving.score_book import list_books, read_book, write_book
from serving.store import Store
from serving.warning_log import give_warnings
from tests.score_books import book_rows, facts
from tests.serving.conftest import Running
from tests.tiny_shop import N_CUSTOMERS, NOW_US

HIGH = {"band": "high", "churn_probability": 0.9, "churn_score": 95}


@pytest.fixture
def known(running: Running) -> Running:
    """The shop with the identities of all but c39."""
    ids = [f"c{number}" for number in range(N_CUSTOMERS - 1)]
    keys = [running.shop.pseudonyms.of(one) for one in ids]
    upsert(running.shop.workspace.identities, IDENTITIES, pa.table({"customer_key": keys, "customer_id": ids}))
    return running


def lay(running: Running, people: Mapping[str, Mapping[str, Any]], *, days_ago: int = 0, keep: int = 14) -> None:
    keyed = {running.shop.pseudonyms.of(one): told for one, told in people.items()}
    at = facts(NOW_US - days_ago * DAY_US)
    write_book(running.shop.workspace.scores, at, book_rows(keyed), keep=keep)


def everybody(**changed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Customer ci would cost i, two of a kind alike; all of low risk where nothing else is said."""
    return {
        f"c{number}": {"expected_loss_minor": number // 2, **changed.get(f"c{number}", {})}
        for number in range(N_CUSTOMERS)
    }


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def paged(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    pages, cursor = [], ""
    while cursor is not None:
        pages.append((await client.get(f"/v1/customers?{query}{cursor and '&cursor='}{cursor}")).json())
        cursor = pages[-1]["next_cursor"]
    return pages


def test_the_work_list_comes_in_the_shops_own_ids_with_all_that_is_told(known: Running) -> None:
    told = HIGH | {"next_purchase_p50": date(2024, 5, 1), "segment": "s1", "stage": "at_risk"}
    lay(known, everybody(c3=told | {"expected_loss_minor": 900, "reason_codes": "overdue fewer_visits"}))
    answer = known.call("GET", "/v1/customers?band=high&sort=-expected_loss")
    body = answer.json()
    assert answer.headers["x-release"] == body["release"] == "first"
    assert (body["as_of"], body["total"], body["next_cursor"]) == (format_instant(NOW_US), 1, None)
    assert body["customers"] == [
        {
            "customer_id": "c3",
            "churn_score": 95,
            "churn_probability": 0.9,
            "percentile": 10.0,
            "population_percentile": 100 * (39 + 0.5) / 40,  # 39 of 40 are below, one is equal
            "band": "high",
            "expected_loss": {"amount_minor": 900, "currency": "EUR"},
            "next_purchase": {"p50": "2024-05-01"},
            "trend": {"delta_7d": None, "basis": None, "since": None},
            "segment": {"key": "s1", "name": "Regulars"},
            "lifecycle_stage": {"key": "at_risk", "name": "At risk"},
            "reason_codes": ["overdue", "fewer_visits"],
        }
    ]
    for key in (known.shop.pseudonyms.of("c3"), known.shop.pseudonyms.key_id):
        assert key not in answer.text


def test_names_of_segments_come_in_the_language_that_is_accepted(known: Running) -> None:
    lay(known, {"c1": {"segment": "s1", "stage": "active"}})
    answer = known.call("GET", "/v1/customers", headers={"Accept-Language": "zh-CN"})
    assert answer.headers["content-language"] == "zh"
    assert answer.json()["customers"][0]["segment"] == {"key": "s1", "name": "常客"}
    assert answer.json()["customers"][0]["lifecycle_stage"] == {"key": "active", "name": "active"}  # unnamed: the key


@pytest.mark.parametrize("limit", [1, 7, 39, 1000])
def test_pages_hold_everybody_once_in_one_order(known: Running, limit: int) -> None:
    lay(known, everybody())
    pages = known.run(lambda client: paged(client, f"limit={limit}"))
    listed = [one for page in pages for one in page["customers"]]
    assert sorted(one["customer_id"] for one in listed) == sorted(f"c{number}" for number in range(39))
    losses = [one["expected_loss"]["amount_minor"] for one in listed]
    assert losses == sorted(losses, reverse=True)
    assert all(len(page["customers"]) == limit for page in pages[:-1])
    assert {page["total"] for page in pages} == {40}


def test_a_cursor_stays_with_its_book_when_a_newer_one_comes(known: Running) -> None:
    lay(known, everybody(), days_ago=1)

    async def talk(client: httpx.AsyncClient) -> None:
        first = (await client.get("/v1/customers?limit=10")).json()
        lay(known, dict.fromkeys(("c1", "c2"), HIGH))
        known.runtime.poll()
        second = (await client.get(f"/v1/customers?limit=100&cursor={first['next_cursor']}")).json()
        assert second["as_of"] == first["as_of"] == format_instant(NOW_US - DAY_US)
        together = [one["customer_id"] for page in (first, second) for one in page["customers"]]
        assert sorted(together) == sorted(f"c{number}" for number in range(39))
        assert (await client.get("/v1/customers")).json()["total"] == 2

    known.run(talk)


def test_who_has_left_is_listed_only_on_demand(known: Running) -> None:
    lay(known, {"c1": {}, "c2": {"eligible": False}})
    assert known.call("GET", "/v1/customers").json()["total"] == 1
    assert known.call("GET", "/v1/customers?everybody=true").json()["total"] == 2


def test_the_trend_is_that_since_the_book_of_a_week_before(known: Running) -> None:
    lay(known, {"c1": {"churn_probability": 0.25}}, days_ago=7)
    lay(known, {"c1": {"churn_probability": 0.5}, "c2": {}})
    rows = {one["customer_id"]: one["trend"] for one in known.call("GET", "/v1/customers").json()["customers"]}
    assert rows["c1"] == {"delta_7d": 0.25, "basis": "book", "since": format_instant(NOW_US - 7 * DAY_US)}
    assert rows["c2"] == {"delta_7d": None, "basis": None, "since": None}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("band=huge", "/band/0"),
        ("band=", "/band/0"),
        ("band=high,", "/band/1"),
        ("stage=asleep", "/stage/0"),
        ("segment=s9", "/segment"),
        ("sort=-name", "/sort"),
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("everybody=maybe", "/everybody"),
        ("cursor=zzz", "/cursor"),
        (f"cursor={write_cursor('since', 1, 2, 3, 4)}", "/cursor"),
        ("colour=red", "/colour"),
    ],
)
def test_what_the_work_list_cannot_follow_is_refused_by_field(known: Running, query: str, pointer: str) -> None:
    lay(known, everybody())
    answer = known.call("GET", f"/v1/customers?{query}")
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_an_empty_cursor_is_none(known: Running) -> None:
    lay(known, everybody())
    for path, empty in (("/v1/customers", "cursor"), ("/v1/scores/changes", "since"), ("/v1/warnings", "since")):
        assert known.call("GET", f"{path}?{empty}=").json() == known.call("GET", path).json()


def test_a_cursor_of_another_choice_is_refused(known: Running) -> None:
    lay(known, everybody())
    cursor = known.call("GET", "/v1/customers?limit=5").json()["next_cursor"]
    assert problem(known.call("GET", f"/v1/customers?limit=5&band=low&cursor={cursor}")) == (422, "cursor")


def test_before_the_first_book_the_answer_says_what_to_run(known: Running) -> None:
    for path in ("/v1/customers", "/v1/scores/changes"):
        answer = known.call("GET", path)
        assert problem(answer) == (404, "no_scores")
        assert "holdfast score" in answer.json()["detail"]


def test_a_cursor_into_a_book_that_made_room_is_gone(known: Running) -> None:
    lay(known, everybody(), days_ago=3)

    async def talk(client: httpx.AsyncClient) -> None:
        listed = (await client.get("/v1/customers?limit=5")).json()
        begun = (await client.get("/v1/scores/changes?limit=5")).json()["cursor"]
        for days_ago in (2, 1, 0):
            lay(known, everybody(), days_ago=days_ago, keep=2)
        known.runtime.poll()
        for path in (
            f"/v1/customers?limit=5&cursor={listed['next_cursor']}",
            f"/v1/scores/changes?since={listed['changes_cursor']}",
            f"/v1/scores/changes?since={begun}",
        ):
            assert problem(await client.get(path)) == (410, "expired")

    known.run(talk)


async def followed(client: httpx.AsyncClient, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str]:
    changes, more = [], True
    while more:
        since = "" if cursor is None else f"&since={cursor}"
        page = (await client.get(f"/v1/scores/changes?limit={limit}{since}")).json()
        again = (await client.get(f"/v1/scores/changes?limit={limit}{since}")).json()
        assert page["changes"] == again["changes"]  # the same cursor, the same changes
        assert len(page["changes"]) <= limit
        changes, cursor, more = changes + page["changes"], page["cursor"], page["more"]
    assert cursor is not None
    return changes, cursor


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_following_the_changes_leads_to_the_newest_state_though_many_books_came(known: Running, limit: int) -> None:
    rng = np.random.default_rng(5)
    nights = [{f"c{n}": HIGH if rng.random() < 0.5 else {} for n in range(12) if rng.random() < 0.8} for _ in range(7)]
    for night, people in enumerate(nights[:3]):
        lay(known, people, days_ago=6 - night)

    async def talk(client: httpx.AsyncClient) -> None:
        first, cursor = await followed(client, None, limit)
        nothing, same = await followed(client, cursor, limit)
        assert (nothing, same) == ([], cursor)
        for night, people in enumerate(nights[3:]):
            lay(known, people, days_ago=3 - night)
        known.runtime.poll()
        later, _ = await followed(client, cursor, limit)
        state: dict[str, str | None] = {}
        for one in first + later:
            assert state.get(one["customer_id"]) == one["band_before"]
            state[one["customer_id"]] = one["band"]
        newest = {one: told.get("band", "low") for one, told in nights[-1].items()}
        assert {one: band for one, band in state.items() if band} == newest
        assert [one["as_of"] for one in later] == sorted(one["as_of"] for one in later)

    known.run(talk)


def test_a_change_says_what_became_of_whom(known: Running) -> None:
    lay(known, {"c1": {}, "c2": HIGH, "c39": {}}, days_ago=1)
    cursor = known.call("GET", "/v1/customers").json()["changes_cursor"]
    lay(known, {"c1": HIGH, "c3": {}, "c39": HIGH})
    body = known.call("GET", f"/v1/scores/changes?since={cursor}").json()
    assert sorted(body["changes"], key=lambda one: one["customer_id"]) == [
        change("c1", "band_changed", "low", "high", 0.9),
        change("c2", "left", "high", None, None),
        change("c3", "entered", None, "low", 0.1),
    ]
    assert body["more"] is False


def change(customer: str, what: str, before: str | None, now: str | None, probability: float | None) -> dict[str, Any]:
    told = {"customer_id": customer, "change": what, "band_before": before, "band": now}
    return told | {"churn_probability": probability, "as_of": format_instant(NOW_US), "release": "first"}


def test_warnings_are_followed_in_order_and_none_is_told_twice(known: Running) -> None:
    lay(known, everybody(c7={"expected_loss_minor": None}))
    book = read_book(list_books(known.shop.workspace.scores)[-1])
    store = Store.open(known.shop.workspace.store)
    before = np.full(len(book), 0.01)
    given = give_warnings(store, WarningRule(weekly_capacity=500), book, before)
    store.close()
    assert given.n_warned == 40

    async def talk(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        told, cursor, more = [], "", True
        while more:
            page = (await client.get(f"/v1/warnings?limit=6{cursor and '&since='}{cursor}")).json()
            told, cursor, more = told + page["warnings"], page["cursor"], page["more"]
        assert (await client.get(f"/v1/warnings?since={cursor}")).json() == {
            "warnings": [],
            "cursor": cursor,
            "more": False,
        }
        return told

    told = known.run(talk)
    assert sorted(one["customer_id"] for one in told) == sorted(f"c{number}" for number in range(39))
    losses = [one["expected_loss"] and one["expected_loss"]["amount_minor"] for one in told]
    assert losses[:-1] == sorted(losses[:-1], reverse=True)
    assert losses[-1] is None
    assert told[0]["rise_log_odds"] == pytest.approx(np.log((0.1 / 0.9) / (0.01 / 0.99)))
    assert (told[0]["churn_probability"], told[0]["churn_probability_before"]) == (0.1, 0.01)


def test_without_warnings_the_list_is_empty_and_its_cursor_works(known: Running) -> None:
    body = known.call("GET", "/v1/warnings").json()
    assert (body["warnings"], body["more"]) == ([], False)
    assert known.call("GET", f"/v1/warnings?since={body['cursor']}").json() == body
    assert problem(known.call("GET", "/v1/warnings?since=oops")) == (422, "cursor")


def test_the_examples_have_the_members_of_the_answers(known: Running) -> None:
    from serving.api import examples

    lay(known, {"c1": HIGH | {"expected_loss_minor": 5, "segment": "s1", "stage": "active"}})
    body = known.call("GET", "/v1/customers").json()
    assert set(body) == set(examples.WORK_LIST)
    assert set(body["customers"][0]) == set(examples.WORK_LIST["customers"][0])
    changes = known.call("GET", "/v1/scores/changes").json()
    assert set(changes) == set(examples.CHANGES)
    assert set(changes["changes"][0]) == set(examples.CHANGES["changes"][0])
    assert json.dumps(examples.WARNINGS)
