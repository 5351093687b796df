"""The real service on loopback: BentoML's processes, sockets, kill -9, and no name look-up that leaves the machine."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from features.instants import MINUTE_US, format_instant
from serving.rollouts.state import Change, rollback, start_rollout
from serving.settings import ServiceSettings, serve_command
from serving.store import Store
from tests.tiny_shop import NOW_US, TinyShop, tiny_shop
from tests.watched_names import asked_outside, watching
from training.demo import free_port

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
START_S = 90


@dataclass
class Service:
    """A started service."""

    shop: TinyShop
    settings: ServiceSettings
    watched: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def start(self) -> None:
        command = serve_command(self.settings)
        log = (self.watched / "service.log").open("ab")
        self.process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env, **watching(self.watched, ROOT)},
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        log.close()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError((self.watched / "service.log").read_text()[-4_000:])

    def kill(self) -> None:
        """SIGKILL to every process of it; workers lead groups of their own and would go on answering alone."""
        if self.process is not None:
            leader = psutil.Process(self.process.pid)
            everyone = [leader, *leader.children(recursive=True)]
            for one in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait(10)
            psutil.wait_procs(everyone, 10)
            self.process = None

    def stop(self) -> float:
        """SIGTERM; how many seconds it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(30)
        self.process = None
        return time.monotonic() - started

    def get(self, path: str) -> httpx.Response:
        """On a connection of its own, so that any worker may answer."""
        return httpx.get(self.url + path, timeout=30)

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    shop = tiny_shop(folder / "shop")
    shop.release("first")
    shop.release("second", base=2.0)
    settings = ServiceSettings(shop.workspace.root, release="first", port=free_port(0), workers=2)
    made = Service(shop, settings, folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()


def view(event_id: str, customer: str) -> dict[str, Any]:
    at = format_instant(NOW_US - MINUTE_US)
    return {"event_id": event_id, "customer_id": customer, "occurred_at": at, "kind": "view", "item_id": "apple"}


def n_events(service: Service, customer: str) -> int:
    return int(service.get(f"/v1/customers/{customer}/churn").json()["data_quality"]["events_count"])


def test_the_service_scores_and_names_its_release(service: Service) -> None:
    answer = service.get("/v1/customers/c3/churn")
    assert (answer.status_code, answer.headers["x-release"]) == (200, "first")
    assert service.get("/readyz").json() == {"status": "ready", "release": "first"}


def test_no_name_is_looked_up_and_nothing_is_connected_to_beyond_this_machine(service: Service) -> None:
    service.get("/v1/customers/c3/churn")
    assert asked_outside(service.watched, n_processes=3) == set()  # the command, and two workers


def test_an_event_taken_by_one_worker_counts_in_every_other(service: Service) -> None:
    assert service.process is not None
    workers = [
        child
        for child in psutil.Process(service.process.pid).children(recursive=True)
        if any("_bentoml_impl.worker" in word for word in child.cmdline())
    ]
    assert len(workers) == 2
    before = n_events(service, "c5")
    assert service.post("/v1/events", {"events": [view("w1", "c5")]}).json()["accepted"] == 1
    assert {n_events(service, "c5") for _ in range(40)} == {before + 1}


def test_an_acknowledged_event_survives_kill_nine(service: Service) -> None:
    before = n_events(service, "c7")
    for number in range(20):
        assert service.post("/v1/events", {"events": [view(f"k{number}", "c7")]}).status_code == 202
    service.kill()
    with pytest.raises(httpx.ConnectError):
        service.get("/livez")
    service.start()
    assert n_events(service, "c7") == before + 20
    assert service.post("/v1/events", {"events": [view("k3", "c7")]}).json()["deduplicated"] == 1


def test_bentoml_s_own_routes_are_ours_or_problems(service: Service) -> None:
    assert service.get("/livez").json() == {"status": "alive"}
    assert b"holdfast_requests_total" in service.get("/metrics").content
    for path in ("/schema.json", "/docs.json", "/healthz", "/static_content/index.css", "/v1/recommendations/"):
        answer = service.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    sent = httpx.post(
        f"{service.url}/v1/events", content=b"\x80\x04.", headers={"content-type": "application/vnd.bentoml+pickle"}
    )
    assert (sent.status_code, sent.json()["code"]) == (415, "unsupported_media_type")


def test_swagger_s_files_come_from_this_machine(service: Service) -> None:
    assert "/docs/swagger-ui-bundle.js" in service.get("/docs").text
    assert len(service.get("/docs/swagger-ui-bundle.js").content) > 100_000
    assert service.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_a_rollback_from_another_process_takes_effect_within_two_seconds(service: Service) -> None:
    store = Store.open(service.shop.workspace.store)
    change = Change("ada", NOW_US, "a test")
    start_rollout(store, "second", 1.0, "s", change)
    assert seconds_until(service, "second") < 5.0
    rollback(store, change)
    assert seconds_until(service, "first") < 2.0
    store.close()


def seconds_until(service: Service, release: str) -> float:
    """Until ten answers in a row, from any worker, come from a release."""
    started, in_a_row = time.monotonic(), 0
    while in_a_row < 10:
        answered = service.get("/v1/customers/c3/churn?include=").headers["x-release"]
        in_a_row = in_a_row + 1 if answered == release else 0
        assert time.monotonic() - started < 30
    return time.monotonic() - started


def test_workers_leave_when_their_leader_is_killed(service: Service) -> None:
    assert service.process is not None
    workers = psutil.Process(service.process.pid).children(recursive=True)
    service.process.kill()
    service.process.wait(10)
    _, left = psutil.wait_procs(workers, 15)
    assert left == []
    service.process = None
    service.start()


def test_the_service_stops_when_it_is_told(service: Service) -> None:
    assert service.stop() < 15
