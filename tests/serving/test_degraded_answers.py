"""What is answered while the store, or a customer's history, cannot be read; and that it says so."""

from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.errors import UnavailableError
from features.event_log import EventLog
from serving.following import Following
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US, TinyShop

SLATE = {"customer_id": "c3", "limit": 3}


def write_snapshot(shop: TinyShop) -> None:
    view = CustomerView.from_events(EventLog.open(shop.workspace.event_log).read())
    table = compute(view, CHURN_FEATURES, NOW_US)
    shop.workspace.snapshots.mkdir(exist_ok=True)
    pq.write_table(table.to_arrow(), shop.workspace.snapshots / "0.parquet")


class Broken:
    """Histories of which some calls fail."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.calls = 0

        def fail(*_: Any, **__: Any) -> None:
            self.calls += 1
            raise UnavailableError("the store cannot be read") if "catch_up" in names else RuntimeError("unreadable")

        for name in names:
            monkeypatch.setattr(running.runtime.histories, name, fail)


def both(running: Running, monkeypatch: pytest.MonkeyPatch, *names: str) -> list[httpx.Response]:
    """A score and a slate, with parts of the histories broken; then what the metrics say."""

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        Broken(running, monkeypatch, *names)
        return [
            await client.get("/v1/customers/c3/churn"),
            await client.post("/v1/recommendations", json=SLATE),
            await client.get("/metrics"),
        ]

    answers: list[httpx.Response] = running.run(ask)
    return answers


def test_answers_are_not_degraded_while_all_is_well(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    score, slate, metrics = both(running, monkeypatch)
    assert score.json()["data_quality"]["degraded"] is False
    assert (slate.json()["degraded"], slate.json()["degraded_reason"]) == (False, None)
    assert "holdfast_degraded_answers_total{" not in metrics.text


def test_while_the_store_cannot_be_read_answers_are_of_what_is_in_memory_and_say_so(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = running.run(lambda client: client.get("/v1/customers/c3/churn")).json()
    score, slate, metrics = both(running, monkeypatch, "catch_up")
    assert score.status_code == slate.status_code == 200
    assert score.json()["churn_probability"] == whole["churn_probability"]
    assert score.json()["data_quality"]["degraded_reason"] == "history_behind"
    assert slate.json()["degraded_reason"] == "history_behind"
    assert slate.json()["fallback"] is False
    assert 'holdfast_degraded_answers_total{kind="churn",reason="history_behind"} 1.0' in metrics.text


def test_who_is_unknown_while_the_store_cannot_be_read_is_a_503_since_nobody_can_say(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(client: httpx.AsyncClient) -> list[int]:
        before = await client.get("/v1/customers/nobody/churn")
        Broken(running, monkeypatch, "catch_up")
        return [before.status_code, (await client.get("/v1/customers/nobody/churn")).status_code]

    assert running.run(ask) == [404, 503]


def test_where_a_history_cannot_be_read_the_stored_features_and_the_popular_list_stand_in(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_snapshot(running.shop)
    stored = running.run(lambda client: client.get("/v1/customers/c3/churn?freshness=stored")).json()
    score, slate, _ = both(running, monkeypatch, "many", "at_hand")
    assert (score.status_code, slate.status_code) == (200, 200)
    assert score.json()["churn_probability"] == stored["churn_probability"]
    assert score.json()["features_as_of"] == stored["features_as_of"]
    assert score.json()["data_quality"]["degraded_reason"] == "history_unreadable"
    assert (slate.json()["fallback"], slate.json()["strategy"]) == (True, "popularity")
    assert slate.json()["degraded_reason"] == "history_unreadable"


def test_a_wrong_request_is_refused_and_not_answered_in_a_degraded_way(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_snapshot(running.shop)

    async def ask(client: httpx.AsyncClient) -> list[int]:
        Broken(running, monkeypatch, "catch_up")
        asked = [
            client.get("/v1/customers/c3/churn?as_of=2999-01-01T00:00:00Z"),
            client.get("/v1/customers/c3/churn?as_of=yesterday"),
            client.post("/v1/recommendations", json=SLATE | {"filter": "colour ="}),
            client.post("/v1/recommendations", json=SLATE | {"placement": "nowhere"}),
        ]
        return [(await one).status_code for one in asked]

    assert running.run(ask) == [422] * 4


def test_a_store_that_hangs_is_not_asked_again_before_ten_times_as_long() -> None:
    now = [100.0]

    class Hanging:
        calls = 0

        def catch_up(self) -> int:
            self.calls += 1
            now[0] += 2.0
            raise UnavailableError("no answer")

    histories = Hanging()
    following = Following(histories, lambda: now[0])  # type: ignore[arg-type]
    told = []
    for _ in range(202):  # a request each 0.1 s
        told.append(following.catch_up())
        now[0] += 0.1
    assert not any(told)
    assert histories.calls == 2  # at 0 s, and 20 s after the first wait ended


def test_once_the_store_answers_again_so_do_the_histories() -> None:
    now = [100.0]

    class Recovering:
        broken = True

        def catch_up(self) -> int:
            if self.broken:
                raise UnavailableError("no answer")
            return 0

    histories = Recovering()
    following = Following(histories, lambda: now[0])  # type: ignore[arg-type]
    assert following.catch_up() is False
    histories.broken = False
    assert following.catch_up() is False  # not asked yet
    now[0] += 1.0
    assert following.catch_up() is True
