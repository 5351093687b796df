"""The real service under load, stopped and with a worker killed: counts alone, since the machine may be busy."""

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import uvloop

from benchmarks.bench_http import Server, started
from benchmarks.bench_overload import IN_CONTAINER, killed, stopped
from benchmarks.http_load import request
from benchmarks.paced_load import LOST, REFUSED, Load, hold
from benchmarks.workers import wait_for_workers
from serving.settings import ServiceSettings, serve_command
from tests.tiny_shop import TinyShop, tiny_shop
from training.demo import free_port

pytestmark = pytest.mark.service
T = TypeVar("T")
During = Callable[[Load, Server], Coroutine[Any, Any, T]]

CALLS = [
    request("POST", "/v1/recommendations", {"customer_id": f"c{number}", "limit": 3})
    if number % 3 == 2
    else request("GET", f"/v1/customers/c{number}/churn")
    for number in range(30)
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    made = tiny_shop(tmp_path_factory.mktemp("loaded") / "shop")
    made.release("first")
    return made


def run(shop: TinyShop, log: Path, workers: int, rate: float, meanwhile: During[T]) -> tuple[Load, T]:
    """Load, and what happens in the middle of it, in an environment as an image of BentoML has."""
    port = free_port(0)
    command = serve_command(ServiceSettings(shop.workspace.root, release="first", port=port, workers=workers))
    with started(list(command.argv), command.env | IN_CONTAINER, port, "/readyz", log) as server:
        wait_for_workers(port, server.pid, workers)
        made = Load(port, CALLS, seconds=60.0, callers=8, rate=rate)
        return made, uvloop.run(meanwhile(made, server))


def test_under_overload_there_are_answers_and_refusals_and_nothing_else(shop: TinyShop, tmp_path: Path) -> None:
    port = free_port(0)
    command = serve_command(ServiceSettings(shop.workspace.root, release="first", port=port))
    with started(list(command.argv), command.env, port, "/readyz", tmp_path / "log") as server:
        before = psutil.Process(server.pid).num_fds()
        outcomes = hold(port, CALLS, seconds=4.0, callers=64).outcomes  # they never pause
        assert set(outcomes) == {"200", "429"}
        assert min(outcomes.values()) > 20
        afterwards = hold(port, CALLS, seconds=2.0, callers=1, rate=10.0).outcomes
        assert psutil.Process(server.pid).num_fds() <= before
    assert set(afterwards) <= {"200", "429"}
    assert afterwards["200"] >= 10  # within a second it is as ever


@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_that_was_taken_is_lost_when_the_service_is_stopped(
    shop: TinyShop, tmp_path: Path, workers: int
) -> None:
    load, _ = run(shop, tmp_path / "log", workers, 60.0, partial(stopped, after_s=1.0))
    assert set(load.run.outcomes) - {"429"} == {"200", REFUSED}  # refused: after the door was closed


def test_a_killed_worker_takes_with_it_what_it_had_been_sent_alone_and_a_new_one_answers(
    shop: TinyShop, tmp_path: Path
) -> None:
    load, told = run(shop, tmp_path / "log", 2, 20.0, partial(killed, after_s=1.0))
    assert set(load.run.outcomes) <= {"200", "429", LOST}
    assert load.run.outcomes[LOST] <= load.callers
    assert all(sent <= told.gone for sent in load.run.lost_at)
