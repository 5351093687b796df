"""Bodies made to break a server: refused at once, with little memory, and always with a problem that says why."""

import time
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from serving.api.bodies import EventsBody
from serving.api.exchange import parsed
from serving.problems import Problem
from tests.serving.conftest import Running

JSON = {"content-type": "application/json"}
MIB = 1 << 20
GIB = 1 << 30


async def endless(n_bytes: int) -> AsyncIterator[bytes]:
    """A body without a length."""
    part = b" " * 65_536
    for _ in range(n_bytes // len(part)):
        yield part


def bombs() -> dict[str, tuple[int, Any, dict[str, str]]]:
    deep = b"[" * 10_000 + b"]" * 10_000
    return {
        "two gigabytes, streamed": (413, endless(2 * GIB), {}),
        "two gigabytes, declared": (413, b"{}", {"content-length": str(2 * GIB)}),
        "gzip": (415, b"\x1f\x8b\x08\x00", {"content-encoding": "gzip"}),
        "deflate after identity": (415, b"{}", {"content-encoding": "identity, deflate"}),
        "depth": (400, deep, {}),
        "depth in an event": (400, b'{"events":[{"text":' + deep + b"}]}", {}),
        "a million keys": (413, b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}", {}),
        "half a million values": (413, b"[" + b"0," * 500_000 + b"0]", {}),
        "as many lists": (413, b"[" + b"[]," * 300_000 + b"[]]", {}),
        "as many objects": (413, b"[" + b"{}," * 300_000 + b"{}]", {}),
        "NaN": (400, b'{"events":[NaN]}', {}),
        "Infinity": (400, b'{"events":[-Infinity]}', {}),
        "half a surrogate pair": (400, rb'{"events":["\ud800"]}', {}),
        "half a surrogate pair in bytes": (400, b'{"events":["\xed\xa0\x80"]}', {}),
        "a number of a million digits": (400, b'{"events":[' + b"9" * 1_000_000 + b"x]}", {}),
        "a string that never ends": (400, b'{"events":["' + rb"\"" * 400_000, {}),
        "a byte order mark": (400, b"\xef\xbb\xbf{}", {}),
    }


@pytest.mark.parametrize("path", ["/v1/events", pytest.param("/v1/recommendations", marks=pytest.mark.slow)])
def test_every_bomb_is_refused_within_a_second_and_fifty_megabytes(running: Running, path: str) -> None:
    made, running.settings = bombs(), replace(running.settings, max_wait_ms=60_000)

    async def talk(client: httpx.AsyncClient) -> dict[str, Any]:
        found = {}
        for name, (status, content, headers) in made.items():
            tracemalloc.start()
            started = time.perf_counter()
            answer = await client.post(path, content=content, headers=JSON | headers)
            seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            found[name] = (answer.status_code, answer.headers["content-type"], seconds < 1, peak < 50 * MIB)
            assert answer.status_code == status, (name, answer.text)
        return found

    found = running.run(talk)
    assert {kept[1:] for kept in found.values()} == {("application/problem+json", True, True)}


@pytest.mark.parametrize("n", [1, 99])
def test_commas_and_brackets_in_texts_are_not_counted_as_values(n: int) -> None:
    text = ",[{" * 3_000
    event = {"event_id": "e", "customer_id": "c", "kind": "support", "text": text}
    import orjson

    assert len(parsed(orjson.dumps({"events": [event] * n}), EventsBody).events) == n


@pytest.mark.parametrize("tail", [b'"', b"", b'\\"', b'\\\\"', b"\\"])
def test_a_text_that_hides_its_end_takes_no_longer(tail: bytes) -> None:
    data = b'{"events":["' + b'\\",' * 330_000 + tail
    started = time.perf_counter()
    with pytest.raises(Problem) as refused:
        parsed(data, EventsBody)
    assert refused.value.status in (400, 413)
    assert time.perf_counter() - started < 0.5
