"""The real service with a full disk, a locked database, a wrong clock, without MLflow: it answers and loses nothing."""

import os

import pytest

from benchmarks.bench_faults import Drill, drills
from benchmarks.faults import why_no_disk
from benchmarks.steady_callers import reasons
from tests.tiny_shop import tiny_shop

pytestmark = pytest.mark.service

SECONDS, LOCK_TIMEOUT_MS = 2.5, 300
CUSTOMERS = [f"c{number}" for number in range(20)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drill]:
    folder = tmp_path_factory.mktemp("faults")
    shop = tiny_shop(folder / "shop")
    shop.release("first")
    found = drills(shop.workspace, "first", CUSTOMERS, folder, SECONDS, lock_timeout_ms=LOCK_TIMEOUT_MS)
    return {one.fault.name: one for one in found}


@pytest.mark.parametrize("fault", ["database locked", "MLflow gone", "clock a day back", "clock a day ahead"])
def test_answers_go_on_and_nothing_acknowledged_is_lost(found: dict[str, Drill], fault: str) -> None:
    limits = found[fault].limits()
    assert limits == dict.fromkeys(limits, True), found[fault].row()


def test_on_a_full_disk_answers_go_on_and_events_are_507(found: dict[str, Drill]) -> None:
    refused = why_no_disk()
    if refused is not None and "CI" not in os.environ:
        pytest.skip(refused)
    drill = found["disk full"]
    limits = drill.limits()
    assert limits == dict.fromkeys(limits, True), drill.row()
    assert 507 in {one.status for one in drill.sent}


def test_only_answers_under_a_clock_that_was_set_back_are_degraded(found: dict[str, Drill]) -> None:
    told = {name: reasons(drill.asked) for name, drill in found.items() if name != "clock a day ahead"}
    assert told.pop("clock a day back") == {"clock_behind"}
    assert set().union(*told.values()) == set()
