"""Leaving without losing a request: told to stop, the service first says so, answers on, and only then closes its door.

1. `/readyz` is 503 and every answer closes its connection, for the drain time: whoever sends requests here notices.
2. Where no other worker answers any more, the port is closed, as soon as nobody stands before it: from then on callers
   are refused at once. A connection that is only queued by the system would be cut off without an answer later.
3. What is being answered is finished, then the server is told to stop as it was going to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import logging
import os
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from serving.admission import Admission
from serving.metrics import Metrics

__all__ = ["Leaving"]

log = logging.getLogger("holdfast")

LONGEST_S = 25.0
"""From closing the door to the end of the process: longer than any answer may take."""

_SETTLE_S = 0.2  # a connection that was taken last has sent its request by then
_LOOK_S = 0.01
_QUEUE_S = 1.0
_QUEUED = struct.Struct("=24xI")  # tcp_info.tcpi_unacked: of a listening socket, how many wait to be accepted
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_ONLY_KNOWN = b"".join(  # a packet filter: byte 13 of a TCP header has the flags; those with SYN are dropped
    struct.pack("=HBBI", *one) for one in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 65_535))
)
_PROGRAM = ctypes.create_string_buffer(_ONLY_KNOWN, len(_ONLY_KNOWN))
_DEAF = struct.pack("@HP", len(_ONLY_KNOWN) // 8, ctypes.addressof(_PROGRAM))

_Handler = Callable[[int, FrameType | None], object]


class Leaving:
    """Takes the server's place as the one who is told to stop, and passes it on when everything is done."""

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def listen(self, drain_s: float) -> None:
        """Be told of SIGTERM from now on; does nothing where no server has asked to be told."""
        if threading.current_thread() is not threading.main_thread():
            return
        before, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
        if not callable(before) or before is signal.default_int_handler:
            return
        stop: _Handler = before

        def told(number: int, frame: FrameType | None) -> None:
            if self._admission.leaving:  # told twice: at once
                stop(number, frame)
                return
            self._admission.leaving = True
            loop.call_soon_threadsafe(self._begin, drain_s, lambda: stop(number, None))

        signal.signal(signal.SIGTERM, told)

    def _begin(self, drain_s: float, stop: Callable[[], object]) -> None:
        own = contextvars.Context()  # the signal came while some request was answered
        self._task = asyncio.get_running_loop().create_task(self._leave(drain_s, stop), context=own)

    async def _leave(self, drain_s: float, stop: Callable[[], object]) -> None:
        log.warning("told to stop: not ready from now on, the door closes in %g s", drain_s)
        try:
            self._metrics.signs.workers.set(0)
            await asyncio.sleep(drain_s)
            if self._metrics.n_workers() == 0:
                await _close_door()
            until = time.monotonic() + LONGEST_S
            _end_at(until)
            settled = time.monotonic() + _SETTLE_S
            while time.monotonic() < settled or (self._admission.in_flight and time.monotonic() < until):
                await asyncio.sleep(_LOOK_S)
        finally:
            stop()


async def _close_door() -> None:
    """Stop listening, for every process that shares the socket, once nobody is left in the queue before it.

    Meanwhile no call to connect is heard; callers repeat it after a second and are refused then. Listening again opens
    the door again: a worker that is started anew does.
    """
    for door in _doors():
        with door, contextlib.suppress(OSError):
            door.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DEAF)
            try:
                until = time.monotonic() + _QUEUE_S
                while _n_queued(door) and time.monotonic() < until:
                    await asyncio.sleep(0)
                door.shutdown(socket.SHUT_RDWR)
            finally:
                door.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _doors() -> list[socket.socket]:
    """Copies of this process's listening sockets."""
    found = []
    own = Path("/proc/self/fd")
    for handle in [int(path.name) for path in own.iterdir()] if own.is_dir() else ():
        try:
            if not stat.S_ISSOCK(os.fstat(handle).st_mode):
                continue
            one = socket.socket(fileno=os.dup(handle))
        except OSError:  # closed meanwhile
            continue
        internet = one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM
        if internet and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found.append(one)
        else:
            one.close()
    return found


def _n_queued(door: socket.socket) -> int:
    (n,) = _QUEUED.unpack(door.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUED.size))
    return int(n)


def _end_at(until: float) -> None:
    """A caller who reads nothing could keep the server waiting for ever."""

    def end() -> None:
        time.sleep(max(0.0, until - time.monotonic()))
        log.error("somebody takes no answer; ending all the same")
        os._exit(1)

    threading.Thread(target=end, name="leaving", daemon=True).start()
