"""A small HTTP client for measuring: keep-alive raw sockets, a fixed concurrency, the server's own CPU time."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
import uvloop

CONCURRENCY = 8
PAUSE_S = 0.02
"""Between two connections that are opened: of many at once, the process that wakes first would take all."""


@dataclass(frozen=True)
class Load:
    """What one stretch gave: answers a second, the server's CPU microseconds an answer, latencies in milliseconds."""

    rps: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of one HTTP/1.1 call."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all below it; of all threads, by the scheduler's own clock of ns."""
    leader = psutil.Process(pid)
    return sum(_of_threads(one.pid) for one in (leader, *leader.children(recursive=True)))


def _of_threads(pid: int) -> float:
    found = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
            found += int(path.read_text().split()[0])
    return found / 1e9


def measure(port: int, pid: int, calls: Iterator[bytes], seconds: float, wanted: int) -> Load:
    """Send calls from eight connections at once for some seconds; every answer must have the wanted status."""
    return asyncio.run(_measure(port, pid, calls, seconds, wanted))


async def _measure(port: int, pid: int, calls: Iterator[bytes], seconds: float, wanted: int) -> Load:
    statuses: Counter[int] = Counter()
    took: list[float] = []
    used, started = cpu_seconds(pid), time.perf_counter()
    stop = started + seconds
    await asyncio.gather(
        *(_connection(port, calls, stop, statuses, took, number * PAUSE_S) for number in range(CONCURRENCY))
    )
    lasted, used = time.perf_counter() - started, cpu_seconds(pid) - used
    if set(statuses) != {wanted}:
        raise SystemExit(f"wanted only status {wanted}, got {dict(statuses)}")
    took.sort()
    answers = statuses[wanted]
    return Load(
        answers / lasted,
        1e6 * used / answers,
        1e3 * took[answers // 2],
        1e3 * took[min(int(answers * 0.99), answers - 1)],
    )


async def _connection(
    port: int, calls: Iterator[bytes], stop: float, statuses: Counter[int], took: list[float], after_s: float
) -> None:
    await asyncio.sleep(after_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (sent := time.perf_counter()) < stop:
        writer.write(next(calls))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        took.append(time.perf_counter() - sent)
        statuses[int(head[9:12])] += 1
    writer.close()
    await writer.wait_closed()


def due_times(rng: Random, rate: float, seconds: float) -> list[float]:
    """When requests that know nothing of each other come: a Poisson stream, seconds from its beginning."""
    found, at = [], rng.expovariate(rate)
    while at < seconds:
        found.append(at)
        at += rng.expovariate(rate)
    return found


def waits(port: int, calls: Iterator[bytes], due: Sequence[float], connections: int = 64) -> list[float]:
    """Send each call when it is due, whether or not earlier ones were answered; milliseconds from then, ascending."""
    return uvloop.run(_waits(port, calls, due, connections))


async def _waits(port: int, calls: Iterator[bytes], due: Sequence[float], connections: int) -> list[float]:
    took: list[float] = []
    order = iter(due)
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    began = time.perf_counter()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in order:
            await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
            writer.write(next(calls))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
            if head[9:12] != b"200":
                raise SystemExit(f"wanted only status 200, got {head[9:12].decode()}")
            took.append(1e3 * (time.perf_counter() - began - at))
        writer.close()

    await asyncio.gather(*(send(*streams) for streams in opened))
    return sorted(took)


def middle(loads: Sequence[Load]) -> Load:
    """The median of each figure over the rounds."""
    names = ("rps", "cpu_us", "p50_ms", "p99_ms")
    return Load(**{name: statistics.median(getattr(load, name) for load in loads) for name in names})
