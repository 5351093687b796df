"""The worker processes of a running service: who they are, whether they answer, and which one does."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.request
from collections.abc import Set as AbstractSet

import psutil

from benchmarks.bench_http import Server

PATIENCE_S = 120.0


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that a leader has started and that live."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie too
            if any("_bentoml_impl.worker" in word for word in child.cmdline()):
                found.append(child)
    return found


def answer_of(port: int, path: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return bytes(answer.read())


def wait_for_workers(port: int, pid: int, n: int) -> None:
    """Until so many workers are there and say that they answer."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        workers = workers_of(pid)
        if len(workers) == n and b"holdfast_workers %d.0" % n in answer_of(port, "/metrics"):
            return
        time.sleep(0.2)
    raise SystemExit("a worker did not come back")


def is_alive(process: psutil.Process) -> bool:
    """Whether any thread is left: until the last one is gone, its connections are open."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    return False


def wait_for_new_worker(server: Server, before: AbstractSet[int]) -> None:
    """Until a worker that was not there before has answered a request."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        new = [one for one in workers_of(server.pid) if one.pid not in before]
        if new and answered_by(server.port) in {one.pid for one in new}:
            return
        time.sleep(0.02)
    raise SystemExit("no new worker answers")


def answered_by(port: int) -> int | None:
    """Which process answers a request that comes on a new connection, if it is one of ours."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/readyz")
        status, own = connection.getresponse().status, connection.sock.getsockname()[1]
        for one in psutil.net_connections("tcp4"):
            if status == 200 and one.pid and one.raddr and (one.laddr.port, one.raddr.port) == (port, own):
                return int(one.pid)
    return None
