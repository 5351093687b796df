"""A process whose work hangs does not call itself alive; one that refuses in time does."""

import asyncio
from typing import Any

import httpx
import pytest

import serving.app as module
from serving.pulse import Pulse
from serving.request_context import RequestContext
from tests.serving.conftest import Running

EVENT = {"event_id": "e", "customer_id": "c1", "kind": "view", "item_id": "i1", "occurred_at": "2024-03-01T00:00:00Z"}
POST, LIVEZ = ("POST", "/v1/events"), ("GET", "/livez")


async def statuses(client: httpx.AsyncClient, *calls: tuple[str, str]) -> list[int]:
    sent: dict[str, dict[str, Any]] = {"POST": {"json": {"events": [EVENT]}}, "GET": {}}
    return [(await client.request(method, path, **sent[method])).status_code for method, path in calls]


def test_five_requests_that_hang_on_end_are_the_end_and_an_answer_is_life_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.3)
    again = Running(running.shop, running.settings)  # it gives every request up soon

    async def talk(client: httpx.AsyncClient) -> list[int]:
        seen = await statuses(client, POST, LIVEZ)
        with monkeypatch.context() as held:
            held.setattr("serving.api.events._kept", lambda *_: asyncio.sleep(60))
            seen += await statuses(client, *[POST] * 4, LIVEZ, POST, LIVEZ)
        return seen + await statuses(client, POST, LIVEZ)

    assert again.run(talk) == [202, 200, 504, 504, 504, 504, 200, 504, 503, 202, 200]


def test_callers_who_never_send_their_body_and_answers_of_operation_say_nothing_of_it() -> None:
    pulse = Pulse()

    def ended(path: str, status: int, method: str = "GET") -> None:
        pulse({"path": path, "method": method}, RequestContext("r"), status, 20.0)

    for _ in range(9):
        ended("/v1/events", 504, "POST")
    assert not pulse.stuck
    for _ in range(5):
        ended("/v1/customers", 504)
        ended("/metrics", 200)
    assert pulse.stuck
    ended("/v1/customers", 503)
    assert not pulse.stuck
