"""Every error is one shape, says what to do, lists all faults, and echoes nothing that was sent."""

from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect

from serving.problems import problem_of
from tests.serving.conftest import Running

BATCH, SLATE, EVENTS = "/v1/churn/score:batch", "/v1/recommendations", "/v1/events"
JSON = {"content-type": "application/json"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:holdfast:problem:{code}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    return body


def test_a_caller_who_hangs_up_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert problem_of(ClientDisconnect()).status == 400
    assert not caplog.records


CASES: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", EVENTS, {"content": b'{"events": [', "headers": JSON}, 400, "syntax"),
    ("POST", EVENTS, {"content": b"\xff\xfe", "headers": JSON}, 400, "syntax"),
    ("POST", SLATE, {"content": b'{"limit": NaN}', "headers": JSON}, 400, "syntax"),
    ("POST", SLATE, {"json": []}, 422, "invalid"),
    ("POST", SLATE, {"json": {"limit": "5"}}, 422, "invalid"),
    ("POST", SLATE, {"json": {"limit": 101}}, 422, "invalid"),
    ("POST", SLATE, {"json": {"context": {"weather": "x"}}}, 422, "not_supported"),
    ("POST", BATCH, {"json": {"customer_ids": ["a"] * 1001}}, 422, "invalid"),
    ("POST", BATCH, {"json": {"customer_ids": []}}, 422, "invalid"),
    ("POST", BATCH, {"json": {"customer_ids": ["a"], "as_of": "2024-02-01T00:00:00"}}, 422, "invalid"),
    ("POST", BATCH, {"json": {"customer_ids": ["x" * 257]}}, 422, "invalid"),
    ("GET", "/v1/customers/c1/churn?as_of=2024-02-01T00:00:00", {}, 422, "invalid"),
    ("GET", "/v1/customers/c1/churn?as_of=yesterday", {}, 422, "invalid"),
    ("GET", "/v1/customers/c1/churn?as_of=2030-01-01T00:00:00Z", {}, 422, "in_the_future"),
    ("GET", "/v1/customers/c1/churn?as_of=2024-02-01T00:00:00Z&freshness=stored", {}, 422, "invalid"),
    ("GET", "/v1/customers/c1/churn?include=everything", {}, 422, "invalid"),
    ("GET", "/v1/customers/c1/churn?colour=red", {}, 422, "invalid"),
    ("GET", "/v1/customers/c1/churn?include=&include=reasons", {}, 422, "repeated"),
    ("GET", f"/v1/customers/{'x' * 257}/churn", {}, 422, "data"),
    ("GET", "/v1/customers/stranger/churn", {}, 404, "unknown_customer"),
    ("GET", f"/v1/items/{'x' * 257}/similar", {}, 422, "invalid"),
    ("POST", "/v1/items//similar", {"json": {}}, 422, "invalid"),
    ("GET", "/v1/items/apple/similar?limit=1.5", {}, 422, "invalid"),
    ("GET", "/v1/recommendations?diversity=9e999", {}, 422, "invalid"),
    ("GET", "/v1/recommendations?diversity=1_0", {}, 422, "invalid"),
    ("GET", "/v1/nothing", {}, 404, "not_found"),
    ("GET", "/v1/recommendations/", {}, 404, "not_found"),
    ("GET", "/docs/../../etc/passwd", {}, 404, "not_found"),
    ("DELETE", SLATE, {}, 405, "method_not_allowed"),
    ("GET", EVENTS, {}, 405, "method_not_allowed"),
    ("POST", EVENTS, {"content": b"a=b", "headers": {"content-type": "application/x-www-form-urlencoded"}}, 415, ""),
    ("POST", EVENTS, {"content": b"{}"}, 415, ""),
    *(
        ("POST", path, {"content": b"\x80\x04.", "headers": {"content-type": kind}}, 415, "unsupported_media_type")
        for path in (EVENTS, SLATE, BATCH)
        for kind in ("application/vnd.bentoml+pickle", "application/octet-stream", "application/x-pickle")
    ),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_each_fault_has_its_documented_problem(answers: list[httpx.Response], number: int) -> None:
    _, _, _, status, code = CASES[number]
    problem(answers[number], status, code or "unsupported_media_type")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, laid_shop: Any) -> list[httpx.Response]:
    """All cases against one service."""
    from serving.settings import ServiceSettings

    settings = ServiceSettings(laid_shop.workspace.root, release="first", rollout_poll_ms=50)

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.request(method, path, **arguments) for method, path, arguments, _, _ in CASES]

    found: list[httpx.Response] = Running(laid_shop, settings).run(talk)
    return found


def test_all_faults_are_listed_at_once_with_pointers(running: Running) -> None:
    sent = {"customer_id": 5, "limit": 0, "seed_items": ["ok", ""], "colour": "red"}
    body = problem(running.call("POST", SLATE, json=sent), 422, "invalid")
    assert {(one["pointer"], one["code"]) for one in body["errors"]} == {
        ("/customer_id", "wrong_type"),
        ("/limit", "out_of_range"),
        ("/seed_items/1", "too_short"),
        ("/colour", "unknown_field"),
    }


def test_nothing_that_was_sent_comes_back(running: Running) -> None:
    secret = "anna@example.org"
    calls = [
        ("POST", SLATE, {"json": {"customer_id": [secret], "placement": secret * 9, secret: secret}}),
        ("POST", BATCH, {"json": {"customer_ids": [secret * 40], "as_of": secret}}),
        ("POST", EVENTS, {"json": {"events": [{"event_id": secret, "kind": secret, secret: 1}]}}),
        ("POST", EVENTS, {"content": secret.encode(), "headers": JSON}),
        ("GET", f"/v1/customers/{secret}/churn", {}),
        ("GET", f"/v1/customers/c1/churn?as_of={secret}", {}),
        ("GET", f"/{secret}", {}),
    ]

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.request(method, path, **arguments) for method, path, arguments in calls]

    for answer in running.run(talk):
        assert "anna" not in answer.text
        assert "Traceback" not in answer.text


def test_a_body_is_counted_as_it_arrives_whatever_its_header_says(running: Running) -> None:
    limit = running.settings.max_body_bytes

    async def parts() -> Any:
        for _ in range(limit // 65_536 + 2):
            yield b" " * 65_536

    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        streamed = await client.post(EVENTS, content=parts(), headers=JSON)  # chunked: no length is declared
        return streamed, await client.post(EVENTS, content=b" " * (limit + 1), headers=JSON)

    for answer in running.run(talk):
        problem(answer, 413, "too_large")


def test_before_the_release_is_loaded_the_answer_is_503_with_retry_after(running: Running) -> None:
    import threading

    go_on = threading.Event()
    opened = running.open

    def slow(settings: Any) -> Any:
        go_on.wait(10)
        return opened(settings)

    running.app.state.warming._open = slow

    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        found = await client.get("/readyz"), await client.get("/v1/customers/c1/churn"), await client.get("/livez")
        go_on.set()
        return found

    not_ready, score, alive = running.run(talk, ready=False)
    for answer in (not_ready, score):
        problem(answer, 503, "warming")
        assert int(answer.headers["retry-after"]) >= 1
    assert alive.status_code == 200


def test_an_unforeseen_fault_is_a_500_without_its_cause(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        running.runtime.storefronts = None  # type: ignore[assignment]
        return await client.post(SLATE, json={"customer_id": "c1"}, headers={"x-request-id": "mine"})

    answer = running.run(talk)
    body = problem(answer, 500, "internal")
    assert body["request_id"] == "mine"
    assert "AttributeError" not in answer.text
    assert "AttributeError" in caplog.text


def test_request_id_and_traceparent_are_echoed_and_a_bad_id_is_replaced(running: Running) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        good = await client.get("/livez", headers={"x-request-id": "abc-1", "traceparent": trace})
        return good, await client.get("/livez", headers={"x-request-id": "x" * 129})

    good, replaced = running.run(talk)
    assert (good.headers["x-request-id"], good.headers["traceparent"]) == ("abc-1", trace)
    assert len(replaced.headers["x-request-id"]) == 32
