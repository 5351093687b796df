"""Who is let in and who is turned away, on a clock that the work itself moves."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest

from serving.admission import MOST_AT_ONCE, MOST_OWED_S, PATIENCE_S, PATIENCE_TURNS, Admission, Line
from serving.metrics import Metrics
from tests.serving.conftest import Running

LIMIT_S = 0.02
WORK_S = 0.004
REFUSAL_S = 0.0001


class Shop:
    """A handler that takes 4 ms of the clock for each request that is let in."""

    def __init__(self) -> None:
        self.now = 100.0
        self.line = Line(LIMIT_S, lambda: self.now)
        self.took: list[float] = []
        self.answers: list[bool] = []

    async def ask(self) -> bool:
        came = self.now
        let_in = await self.line.enter()
        if let_in:
            self.now += WORK_S
            self.took.append(self.now - came)
        self.answers.append(let_in)
        return let_in

    async def keep_asking(self, until: float) -> None:
        """A caller who asks again as soon as an answer comes."""
        while self.now < until:
            if not await self.ask():
                self.now += REFUSAL_S
            await asyncio.sleep(0)
            await asyncio.sleep(0)


def overloaded(shop: Shop, callers: int, seconds: float) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(shop.keep_asking(shop.now + seconds) for _ in range(callers)))

    asyncio.run(all_of_them())


def test_one_caller_after_another_is_never_turned_away() -> None:
    shop = Shop()
    overloaded(shop, callers=1, seconds=1.0)
    assert set(shop.answers) == {True}
    assert max(shop.took) == pytest.approx(WORK_S)


def test_a_burst_after_a_quiet_time_is_worked_off() -> None:
    shop = Shop()

    async def burst() -> list[bool]:
        return await asyncio.gather(*(shop.ask() for _ in range(20)))  # 20 x 4 ms: within the patience

    assert asyncio.run(burst()) == [True] * 20


def test_callers_who_take_turns_within_the_limit_are_never_turned_away() -> None:
    shop = Shop()
    overloaded(shop, callers=5, seconds=2.0)  # each waits for the four others: 16 ms of 20
    assert set(shop.answers) == {True}


def test_under_overload_who_is_let_in_is_answered_about_as_quickly_as_alone() -> None:
    shop = Shop()
    overloaded(shop, callers=16, seconds=2.0)
    told = Counter(shop.answers)
    assert told[False] > 0
    began = int((PATIENCE_S + 32 * WORK_S) / WORK_S) + PATIENCE_TURNS  # let in before it counted as overload
    assert max(shop.took[began:]) <= 3 * WORK_S  # its own work, that of one before, and refusals
    assert told[True] >= 0.8 * 2.0 / WORK_S  # and the time is used for answers


def test_after_overload_a_burst_is_worked_off_again() -> None:
    shop = Shop()
    overloaded(shop, callers=16, seconds=1.0)
    assert shop.line.overloaded
    shop.now += MOST_OWED_S + 0.001
    shop.answers.clear()

    async def burst() -> list[bool]:
        return await asyncio.gather(*(shop.ask() for _ in range(10)))

    assert asyncio.run(burst()) == [True] * 10


def test_overload_ends_under_a_load_that_can_be_carried() -> None:
    shop = Shop()
    overloaded(shop, callers=16, seconds=1.0)

    async def pairs_at_four_fifths(n: int) -> list[bool]:
        answers = []
        for _ in range(n):
            answers += await asyncio.gather(shop.ask(), shop.ask())
            shop.now += 0.5 * WORK_S
        return answers

    answers = asyncio.run(pairs_at_four_fifths(400))
    assert not shop.line.overloaded
    assert answers[400:] == [True] * 400


def test_a_process_held_up_by_something_else_turns_nobody_away() -> None:
    shop = Shop()

    async def held_up() -> list[bool]:
        asked = [asyncio.ensure_future(shop.ask()) for _ in range(3)]
        await asyncio.sleep(0)
        shop.now += 5.0
        return await asyncio.gather(*asked)

    assert asyncio.run(held_up()) == [True] * 3


def test_a_caller_who_hangs_up_in_the_line_takes_nobody_s_turn() -> None:
    shop = Shop()

    async def hang_up() -> list[bool]:
        asked = [asyncio.ensure_future(shop.ask()) for _ in range(4)]
        await asyncio.sleep(0)
        asked[1].cancel()
        return [await one for one in (asked[0], asked[2], asked[3])]

    assert asyncio.run(hang_up()) == [True] * 3
    assert len(shop.line) == 0


def test_no_more_than_a_bounded_number_is_inside_at_once() -> None:
    metrics = Metrics()
    admission = Admission(metrics)
    admission.limit(5)
    admission.in_flight = MOST_AT_ONCE

    async def ask() -> list[bool]:
        return [await admission.admits(path) for path in ("/v1/rank", "/livez", "/readyz", "/metrics", "/v1/rollouts")]

    assert asyncio.run(ask()) == [False, True, True, True, True]
    assert b'holdfast_shed_requests_total{reason="too_many"} 1.0' in metrics.render()


@pytest.fixture
def full(running: Running) -> Callable[[Callable[[httpx.AsyncClient], Awaitable[object]]], object]:
    """The application with nobody let in any more."""

    def run(talk: Callable[[httpx.AsyncClient], Awaitable[object]]) -> object:
        async def filled(client: httpx.AsyncClient) -> object:
            running.app.state.warming.admission.in_flight = MOST_AT_ONCE
            return await talk(client)

        return running.run(filled)

    return run


def test_a_request_turned_away_is_told_when_to_come_again(
    full: Callable[[Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]], httpx.Response],
) -> None:
    answer = full(lambda client: client.get("/v1/customers/c3/churn", headers={"X-Request-Id": "mine"}))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["request_id"]) == ("overloaded", "mine")
    assert "c3" not in answer.text


def test_health_is_told_however_full_it_is(
    full: Callable[[Callable[[httpx.AsyncClient], Awaitable[list[int]]]], list[int]],
) -> None:
    async def ask(client: httpx.AsyncClient) -> list[int]:
        return [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/metrics", "/v1/rollouts")]

    assert full(ask) == [200] * 4


def test_a_service_that_is_told_to_stop_is_not_ready_answers_on_and_closes_connections(running: Running) -> None:
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        running.app.state.warming.admission.leaving = True
        return [await client.get(path) for path in ("/readyz", "/livez", "/v1/customers/c3/churn", "/v1/none")]

    answers = running.run(ask)
    assert [one.status_code for one in answers] == [503, 200, 200, 404]
    assert {one.headers["connection"] for one in answers} == {"close"}
    assert answers[0].json()["code"] == "leaving"
