"""Load by the clock: requests are due whether or not earlier ones are answered, on connections of their own callers."""

from __future__ import annotations

import asyncio
import itertools
import select
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import uvloop

CALLERS = 64
PATIENCE_S = 60.0

LOST, REFUSED = "lost", "refused"


@dataclass
class Run:
    """What came of one stretch: how many of each outcome; of each 200, when it came and how long it took, seconds.

    lost_at: when those that got no whole answer were sent. refused_at: when those turned away were told.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: list[tuple[float, float]] = field(default_factory=list)
    lost_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)

    def quantile_ms(self, share: float, *, since: float = 0.0) -> float:
        """Of the 200s that came after an instant."""
        took = sorted(seconds for at, seconds in self.answered if at >= since)
        return 1e3 * took[min(int(len(took) * share), len(took) - 1)] if took else float("nan")


class Load:
    """Callers with a connection each; at a rate, or as fast as answers come where none is given.

    A list of calls is gone through again and again; of other calls each is sent once.
    """

    def __init__(self, port: int, calls: Iterable[bytes], *, seconds: float, callers: int, rate: float | None) -> None:
        self.port, self.callers, self.rate = port, callers, rate
        self._calls = itertools.cycle(calls) if isinstance(calls, Sequence) else iter(calls)
        self.run = Run()
        self.seconds = seconds
        self.stopped = False
        self._numbers = itertools.count()

    async def send(self) -> Run:
        """Until the time is over, or `stopped` is set."""
        began = time.perf_counter()
        await asyncio.gather(*(self._caller(began) for _ in range(self.callers)))
        return self.run

    async def _caller(self, began: float) -> None:
        streams = None
        while not self.stopped and (now := time.perf_counter()) < began + self.seconds:
            number = next(self._numbers)
            if self.rate is not None:
                await asyncio.sleep(max(0.0, began + number / self.rate - now))
            call = next(self._calls, None)
            if call is None:
                break
            streams = await self._ask(call, streams)
        if streams is not None:
            streams[1].close()

    async def _ask(
        self, call: bytes, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """One request; the connection if it stays open. Connecting is no part of the time it takes."""
        if streams is not None and _is_closed(streams[1]):  # between two requests: nothing was under way
            streams[1].close()
            streams = None
        try:
            reader, writer = streams or await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            self.run.outcomes[REFUSED] += 1
            await asyncio.sleep(0.05)
            return None
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(call)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        except (OSError, asyncio.IncompleteReadError):
            self.run.outcomes[LOST] += 1
            self.run.lost_at.append(sent)
            writer.close()
            return None
        status = head[9:12].decode()
        self.run.outcomes[status] += 1
        if status == "429":
            self.run.refused_at.append(time.perf_counter())
        elif status == "200":
            self.run.answered.append((time.perf_counter(), time.perf_counter() - sent))
        if b"connection: close" in head:
            writer.close()
            return None
        return reader, writer


def _is_closed(writer: asyncio.StreamWriter) -> bool:
    """Whether an idle connection was closed by the other side, as clients with a pool of connections look."""
    return bool(select.select([writer.get_extra_info("socket").fileno()], [], [], 0.0)[0])


def hold(
    port: int, calls: Iterable[bytes], *, seconds: float, callers: int = CALLERS, rate: float | None = None
) -> Run:
    """One stretch of load."""
    return uvloop.run(Load(port, calls, seconds=seconds, callers=callers, rate=rate).send())
