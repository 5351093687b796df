"""Two services with a folder each, as on two machines, and one PostgreSQL: they tell one truth."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from features.workspace import Workspace
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import Change, rollback, start_rollout
from serving.settings import ServiceSettings
from serving.store import Store
from tests.journey.test_http_service import Service, n_events, view
from tests.postgres_server import PostgresServer
from tests.tiny_shop import N_CUSTOMERS, NOW_US, TinyShop, tiny_shop
from training.demo import free_port

pytestmark = pytest.mark.service

CUSTOMERS = [f"c{number}" for number in range(N_CUSTOMERS)]
BY = Change("ada", NOW_US, "a test")


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.empty()


@pytest.fixture(scope="module")
def services(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Started at once on an empty database, with the settings that every service has."""
    folder = tmp_path_factory.mktemp("two")
    shop = tiny_shop(folder / "here")
    shop.release("first")
    shop.release("second", base=2.0)
    shutil.copytree(folder / "here", folder / "there")
    made = tuple(_service(TinyShop(Workspace(folder / name), shop.pseudonyms), url) for name in ("here", "there"))
    try:
        with ThreadPoolExecutor(2) as starting:
            list(starting.map(Service.start, made))
        yield made
    finally:
        for one in made:
            one.kill()


def _service(shop: TinyShop, url: str) -> Service:
    log = shop.workspace.root.with_name(f"{shop.workspace.root.name}-log")
    log.mkdir()
    settings = ServiceSettings(shop.workspace.root, release="first", port=free_port(0), store=url)
    return Service(shop, settings, log)


def served(service: Service) -> dict[str, str]:
    """By customer, the release that answers."""
    return {name: service.get(f"/v1/customers/{name}/churn?include=").headers["x-release"] for name in CUSTOMERS}


def seconds_until(service: Service, customer: str, release: str, since: float) -> float:
    """From an instant until a customer is answered by a release."""
    while service.get(f"/v1/customers/{customer}/churn?include=").headers["x-release"] != release:
        assert time.monotonic() - since < 30
    return time.monotonic() - since


def test_an_event_that_one_accepts_counts_in_the_other(services: tuple[Service, Service]) -> None:
    here, there = services
    before = n_events(there, "c5")
    assert here.post("/v1/events", {"events": [view("w1", "c5")]}).json()["accepted"] == 1
    assert there.post("/v1/events", {"events": [view("w1", "c5")]}).json()["deduplicated"] == 1
    assert n_events(here, "c5") == n_events(there, "c5") == before + 1


def test_they_agree_on_assignment_and_on_a_rollback_within_a_second(
    services: tuple[Service, Service], url: str
) -> None:
    store = Store.open(url)
    assert [entry["action"] for entry in read_history(store)] == ["set_champion"]  # both started, one was the first
    start_rollout(store, "second", 0.5, "s", BY)
    time.sleep(5)  # the challenger is loaded and warmed
    here, there = (served(one) for one in services)
    assert here == there
    assert set(here.values()) == {"first", "second"}
    moved = next(name for name, release in here.items() if release == "second")
    for _ in range(5):
        rollback(store, BY)
        since = time.monotonic()
        with ThreadPoolExecutor(2) as asking:
            asked = [asking.submit(seconds_until, one, moved, "first", since) for one in services]
        took = [one.result() for one in asked]
        print(f"rolled back after {took[0]:.2f} s and {took[1]:.2f} s")
        assert max(took) < 1.0
        start_rollout(store, "second", 0.5, "s", BY)
        since = time.monotonic()
        for one in services:
            seconds_until(one, moved, "second", since)
    store.close()
