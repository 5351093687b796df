"""The real service with keys, two workers: exact limits, keys that die everywhere at once, bombs, and no unpickling."""

import asyncio
import contextlib
import itertools
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.access.keys import revoke_key
from serving.settings import ServiceSettings, serve_command
from serving.store import Store
from tests.callers import bearer, key_of
from tests.tiny_shop import tiny_shop
from training.demo import free_port

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
MIB, GIB = 1 << 20, 1 << 30
JSON = {"content-type": "application/json"}
WATCHER = """
import os, sys
def _watch(event, arguments):
    if event.startswith("pickle.") or event == "exec" and arguments[0].co_filename == "<string>":
        with open(os.environ["WATCHED_CODE"], "a") as file:
            file.write(f"{event} {arguments}" + chr(10))
sys.addaudithook(_watch)
"""


@dataclass
class Guarded:
    """A started service that asks for keys."""

    url: str
    process: subprocess.Popen[bytes]
    store: Store
    watched: Path

    def key(self, *scopes: str, **wish: Any) -> dict[str, str]:
        """The header of a new key that every worker knows."""
        made = bearer(key_of(self.store, *scopes, now_us=time.time_ns() // 1_000, **wish))
        time.sleep(1.0)
        return made

    def resident(self) -> int:
        """Bytes of all its processes."""
        leader = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [leader, *leader.children(recursive=True)])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    shop = tiny_shop(folder / "shop")
    shop.release("first")
    settings = ServiceSettings(
        shop.workspace.root, release="first", port=free_port(0), workers=2, access="keys", max_wait_ms=60_000
    )
    (folder / "sitecustomize.py").write_text(WATCHER)
    watched = folder / "code.txt"
    watched.touch()
    command = serve_command(settings)
    path = os.pathsep.join((str(folder), str(ROOT)))
    environment = os.environ | command.env | {"PYTHONPATH": path, "WATCHED_CODE": str(watched)}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command.argv, env=environment, cwd=ROOT, stdout=log, stderr=log)
    store = Store.open(shop.workspace.store)
    made = Guarded(f"http://127.0.0.1:{settings.port}", process, store, watched)
    try:
        deadline, in_a_row = time.monotonic() + 90, 0
        while in_a_row < 10 and time.monotonic() < deadline:  # so often that both workers were asked
            with contextlib.suppress(httpx.HTTPError):
                in_a_row = in_a_row + 1 if httpx.get(f"{made.url}/readyz", timeout=5).status_code == 200 else 0
            time.sleep(0.05)
        yield made
    finally:
        store.close()
        process.terminate()
        process.wait(30)


def test_strangers_get_401_on_every_call_but_the_public_ones(guarded: Guarded) -> None:
    statuses = {path: httpx.get(guarded.url + path).status_code for path in ("/livez", "/readyz", "/docs", "/")}
    assert set(statuses.values()) <= {200, 307}, statuses
    for path in ("/v1/customers/c1/churn", "/metrics", "/v1/rollouts", "/schema.json", "/healthz"):
        answer = httpx.get(guarded.url + path)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), path


def test_a_limit_holds_to_the_very_call_across_workers(guarded: Guarded) -> None:
    key = guarded.key("predict", per_day=700)

    async def ask() -> Counter[int]:
        found: Counter[int] = Counter()
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)  # a new connection a call: any worker

        async def caller() -> None:
            async with httpx.AsyncClient(base_url=guarded.url, headers=key, limits=limits, timeout=30) as client:
                for _ in range(75):
                    found[(await client.get("/v1/customers/c1/churn?include=")).status_code] += 1

        await asyncio.gather(*(caller() for _ in range(12)))
        return found

    if time.time() % 86_400 > 86_340:  # not over midnight
        time.sleep(61)
    assert asyncio.run(ask()) == {200: 700, 429: 200}


def test_a_revoked_key_is_dead_in_every_worker_within_a_second(guarded: Guarded) -> None:
    key = guarded.key("audit")
    assert {httpx.get(f"{guarded.url}/v1/rollouts", headers=key).status_code for _ in range(20)} == {200}
    revoke_key(guarded.store, key["Authorization"].split()[1].partition(".")[0], time.time_ns() // 1_000)
    time.sleep(1.0)
    assert {httpx.get(f"{guarded.url}/v1/rollouts", headers=key).status_code for _ in range(40)} == {401}


async def stream(url: str, headers: dict[str, str], parts: Iterable[bytes]) -> int:
    """POST events in parts, listening while sending as a browser does; the status that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))

    async def send() -> None:
        lines = ["POST /v1/events HTTP/1.1", "host: 127.0.0.1", "transfer-encoding: chunked"]
        writer.write("\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode())
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(b"%x\r\n" % len(part) + part + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")

    sending = asyncio.create_task(send())
    status = int((await reader.readline()).split()[1])
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.transport.abort()  # what was not sent is of no use any more
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return status


def test_bombs_are_refused_within_a_second_and_fifty_megabytes(guarded: Guarded) -> None:
    key = guarded.key("events") | JSON
    deep = b"[" * 10_000 + b"]" * 10_000
    bombs: dict[str, tuple[bytes | None, dict[str, str], int]] = {
        "two gigabytes": (None, {}, 413),
        "two gigabytes without a key": (None, {"Authorization": "Bearer nobody"}, 401),
        "gzip": (b"\x1f\x8b" + bytes(1_000), {"content-encoding": "gzip"}, 415),
        "depth": (deep, {}, 400),
        "a million keys": (b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}", {}, 413),
        "many values": (b"[" + b"{}," * 340_000 + b"{}]", {}, 413),
        "NaN": (b'{"events":[NaN]}', {}, 400),
        "half a surrogate pair": (rb'{"events":["\ud800"]}', {}, 400),
    }
    before, took = guarded.resident(), {}
    for name, (body, headers, status) in bombs.items():
        started = time.perf_counter()
        parts = itertools.repeat(b" " * MIB, 2 * GIB // MIB) if body is None else [body]
        answered = asyncio.run(stream(guarded.url, key | headers, parts))
        took[name] = time.perf_counter() - started
        assert answered == status, name
    assert max(took.values()) < 1.0, took
    assert guarded.resident() - before < 50 * MIB
    assert httpx.get(f"{guarded.url}/livez").status_code == 200


def test_nothing_that_is_sent_is_unpickled_or_run(guarded: Guarded) -> None:
    key, before = guarded.key("admin"), guarded.watched.read_text()
    pickled = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."
    for kind in ("application/vnd.bentoml+pickle", "application/octet-stream", "application/json"):
        for path in ("/v1/events", "/v1/recommendations", "/v1/churn/score:batch"):
            sent = httpx.post(guarded.url + path, content=pickled, headers=key | {"content-type": kind})
            assert sent.status_code in (400, 415)
    for path in ("/v1/customers/c1/churn", "/v1/recommendations?customer_id=c1", "/v1/rollouts", "/metrics"):
        assert httpx.get(guarded.url + path, headers=key).status_code == 200
    assert guarded.watched.read_text() == before
