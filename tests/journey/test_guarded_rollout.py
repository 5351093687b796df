"""A real service with a challenger that goes bad: it is rolled back by itself, and nobody is answered by it afterwards.

A release that answers NaN or a constant is refused when it is loaded, so each goes bad later, as when a feature breaks:
a fault is put into the processes of the service from outside.
"""

import dataclasses
import itertools
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from features.instants import DAY_US, format_instant
from serving.rollouts.plan import Limits, RolloutPlan, Step
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import Change, read_rollout, set_champion, start_rollout
from serving.settings import ServiceSettings, serve_command
from serving.store import Store
from tests.journey.test_http_service import Service
from tests.tiny_shop import NOW_US, tiny_shop
from training.demo import free_port

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
INTERVAL_S = 1
CUSTOMERS = [f"c{number}" for number in range(120)]
PLAN = RolloutPlan((Step(0.5, 60.0, min_requests=1_000_000),), Limits())
FAULTY = """
import os
import time
from pathlib import Path

import numpy as np

from serving.churn_model import ChurnModel

HOW = Path(os.environ["FAULT_FILE"])
sound = ChurnModel.calibrated


def calibrated(model, margins, as_of_us=None):
    found, how = sound(model, margins, as_of_us), HOW.read_text() if HOW.exists() else ""
    if not how or model.calibrator.c != 2.0:
        return found
    if how == "errs":
        raise RuntimeError("a bug")
    if how == "slow":
        time.sleep(0.4)
        return found
    return np.full_like(found, np.nan if how == "answers NaN" else 0.5)


ChurnModel.calibrated = calibrated
"""


class Guarded(Service):
    """A service whose challenger can be made to fail."""

    @property
    def fault(self) -> Path:
        return self.watched / "fault"

    def start(self) -> None:
        (self.watched / "sitecustomize.py").write_text(FAULTY)
        command = serve_command(self.settings)
        path = os.pathsep.join((str(self.watched), str(ROOT)))
        environment = {**os.environ, **command.env, "PYTHONPATH": path, "FAULT_FILE": str(self.fault)}
        with (self.watched / "service.log").open("ab") as log:
            self.process = subprocess.Popen(command.argv, env=environment, cwd=ROOT, stdout=log, stderr=log)
        self.wait_until_ready()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    shop = tiny_shop(folder / "shop")
    shop.release("first")
    shop.release("second", base=2.0)
    settings = ServiceSettings(
        shop.workspace.root,
        release="first",
        port=free_port(0),
        workers=2,
        rollout_interval_s=INTERVAL_S,
        clock_shift_us=NOW_US - time.time_ns() // 1_000,
    )
    made = Guarded(shop, settings, folder)
    try:
        made.start()
        for number, customer in enumerate(CUSTOMERS[40:]):
            at = format_instant(NOW_US - number * DAY_US)
            event = {"event_id": f"new-{number}", "customer_id": customer, "occurred_at": at, "kind": "purchase"}
            line = {"item_id": "apple", "order_id": f"n{number}", "amount_minor": 100, "currency": "EUR"}
            told = made.post("/v1/events", {"events": [event | line]}).json()
            assert told["accepted"] == 1, told
        yield made
    finally:
        made.kill()


@dataclasses.dataclass
class Traffic:
    """Callers who ask for everybody's score, over and over; of each answer when it came, its status and its arm."""

    url: str
    seen: list[tuple[float, int, dict[str, Any]]] = dataclasses.field(default_factory=list)
    _over: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._callers = [threading.Thread(target=self._call, args=(start,)) for start in range(0, 120, 30)]
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join()

    def _call(self, start: int) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for customer in itertools.chain(CUSTOMERS[start:], itertools.cycle(CUSTOMERS)):
                if self._over.is_set():
                    return
                answer = client.get(f"/v1/customers/{customer}/churn?include=")
                told = answer.json().get("experiment", {}) | {
                    "release": answer.headers.get("x-release"),
                    "customer": customer,
                }
                self.seen.append((time.monotonic(), answer.status_code, told))
                time.sleep(0.01)

    def last_of_the_challenger(self) -> float:
        return max(at for at, _, told in self.seen if told.get("arm") == "challenger")


def until(holds: Any, seconds: float) -> float:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)
    return time.monotonic()


@pytest.mark.parametrize(
    ("how", "gate"),
    [("errs", "errors"), ("slow", "latency"), ("answers NaN", "errors"), ("a constant", "constant_scores")],
)
def test_a_release_that_goes_bad_is_rolled_back_within_an_interval_and_five_seconds(
    service: Guarded, how: str, gate: str
) -> None:
    store = Store.open(service.shop.workspace.store, lock_timeout_ms=10_000)
    service.fault.unlink(missing_ok=True)
    change = Change("ada", time.time_ns() // 1_000, "a test")
    set_champion(store, "first", change)
    with Traffic(service.url) as traffic:
        start_rollout(store, "second", 0.5, secrets.token_hex(4), change, PLAN.to_json())
        until(lambda: sum(told["release"] == "second" for _, _, told in traffic.seen) > 30, 20)
        state = read_rollout(store)
        assert state is not None
        assert state.challenger == "second"
        service.fault.write_text(how)
        broken = time.monotonic()
        until(lambda: getattr(read_rollout(store), "challenger", None) is None, INTERVAL_S + 5)
        time.sleep(3.0)
    last = traffic.last_of_the_challenger() - broken
    print(f"{how}: the last answer of the challenger came {last:.2f} s after it went bad")
    newest = read_history(store, 1)[0]
    store.close()
    assert last < INTERVAL_S + 5
    assert (
        len([at for at, _, _ in traffic.seen if at > broken + last]) > 50
    )  # there was traffic, none of it to the release
    assert (newest["action"], newest["who"]) == ("rollback", "controller")
    assert newest["figures"][gate]["ruling"] == "break"
    assert {status for _, status, _ in traffic.seen} == {200}, {
        one[2].get("customer") for one in traffic.seen if one[1] != 200
    }
    if how in {"errs", "answers NaN"}:
        stood_in = [told for at, _, told in traffic.seen if "stood_in_for" in told]
        assert {told["release"] for told in stood_in} == {"first"}
        assert stood_in


def test_a_sound_release_goes_from_the_shadow_to_champion_by_itself(service: Guarded) -> None:
    store = Store.open(service.shop.workspace.store, lock_timeout_ms=10_000)
    service.fault.unlink(missing_ok=True)
    change = Change("ada", time.time_ns() // 1_000, "a test")
    gates = ("errors", "fallbacks")
    steps = tuple(Step(share, 0.03, min_requests=50, gates=gates) for share in (0.0, 0.5, 1.0))
    set_champion(store, "first", change)
    with Traffic(service.url) as traffic:
        start_rollout(store, "second", 0.0, secrets.token_hex(4), change, RolloutPlan(steps).to_json())
        until(lambda: getattr(read_rollout(store), "champion", None) == "second", 90)
        time.sleep(1.5)
        newest = time.monotonic()
        time.sleep(1.0)
    made = read_history(store, 4)
    store.close()
    assert [row["action"] for row in made] == ["finish", "step", "step", "start"]
    assert {row["who"] for row in made[:3]} == {"controller"}
    assert {status for _, status, _ in traffic.seen} == {200}
    assert {told["release"] for at, _, told in traffic.seen if at > newest} == {"second"}
