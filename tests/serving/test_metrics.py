"""Series for operators: by release and arm, bounded, and added up over the workers that live."""

import json
import os
import subprocess
import sys

import pytest

from serving.metrics import ROLLOUT_STATES, Metrics
from serving.request_context import RequestContext
from serving.rollouts.controller import WHO
from serving.rollouts.plan import load_plan
from serving.rollouts.state import Change, pause, rollback, set_champion, start_rollout
from serving.store import EVENT_FIELDS, Store
from serving.vital_signs import report_signs
from tests.serving.conftest import Running


def endpoint():
    """Stands for one of the application's."""


def text(metrics):
    return metrics.render().decode()


def test_time_to_answer_is_told_by_endpoint_release_and_arm():
    metrics = Metrics()
    metrics.observe({"endpoint": endpoint}, RequestContext("0", "r-1", "challenger"), 200, 0.004)
    metrics.observe({"endpoint": endpoint}, RequestContext("0", "r-1", "champion"), 200, 0.3)
    told = text(metrics)
    here = 'holdfast_request_seconds_bucket{arm="challenger",endpoint="endpoint",le="%s",release="r-1"} %s'
    assert here % ("0.0025", "0.0") in told
    assert here % ("0.005", "1.0") in told
    assert 'holdfast_request_seconds_count{arm="champion",endpoint="endpoint",release="r-1"} 1.0' in told
    assert 'holdfast_requests_total{endpoint="endpoint",status="200"} 2.0' in told


def test_however_many_releases_were_served_the_series_stay_few():
    metrics = Metrics()
    for number in range(500):
        metrics.predicted("churn", f"r-{number}", "champion")
        metrics.observe({"endpoint": endpoint}, RequestContext("0", f"r-{number}", "champion"), 200, 0.001)
    told = text(metrics)
    assert told.count("holdfast_predictions_total{") == 25
    assert 'holdfast_predictions_total{arm="champion",kind="churn",release="other"} 476.0' in told
    assert told.count("holdfast_request_seconds_count{") == 25


def test_rollout_is_in_one_state():
    metrics = Metrics()
    for state in ROLLOUT_STATES:
        metrics.signs.rollout_is(state, 0.25)
    told = text(metrics)
    assert 'holdfast_rollout_state{state="broken"} 1.0' in told
    assert told.count("holdfast_rollout_state{") == len(ROLLOUT_STATES)
    assert sum(line.endswith(" 1.0") for line in told.splitlines() if line.startswith("holdfast_rollout_state{")) == 1
    assert "holdfast_rollout_share 0.25" in told


WORKER = """
import os, sys
from serving.metrics import Metrics
metrics = Metrics(os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics.events.labels("accepted").inc(3)
metrics.signs.workers.set(1)
metrics.signs.resident.set(1000)
sys.stdout.write(f"{os.getpid()}\\n{metrics.render().decode()}")
"""


def test_counts_of_workers_add_up_and_gauges_of_dead_ones_go(tmp_path):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for n_started in (1, 2):
        command = [sys.executable, "-c", WORKER]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        pid, _, told = done.stdout.partition("\n")
        assert f'holdfast_events_total{{outcome="accepted"}} {3.0 * n_started}' in told
        assert f'holdfast_process_resident_bytes{{pid="{pid}"}} 1000.0' in told
        assert told.count("holdfast_process_resident_bytes{") == 1
        assert "holdfast_workers 1.0" in told


def test_what_is_mapped_into_memory_has_its_room_on_the_disk(tmp_path):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, check=True)
    found = {path.name.rpartition("_")[0]: path.stat() for path in tmp_path.iterdir()}
    assert set(found) == {"counter", "histogram", "gauge_livemostrecent", "gauge_liveall", "gauge_livesum"}
    assert all(512 * one.st_blocks >= one.st_size >= 1 << 16 for one in found.values())


@pytest.fixture
def opened(running: Running):
    runtime = running.open(running.settings)
    yield runtime
    runtime.close()


def test_freshness_backlog_memory_and_rollout_are_told(running, opened):
    event = {"event_id": "e-new", "customer_key": "k", "occurred_at": running.now_us, "kind": "view"}
    with opened.store.write() as connection:
        opened.store.append_events(connection, [dict.fromkeys(EVENT_FIELDS) | event], running.now_us)
    running.now_us += 90_000_000
    report_signs(opened)
    told = text(running.metrics)
    assert "holdfast_unsealed_events 1.0" in told
    assert "holdfast_unsealed_age_seconds 90.0" in told
    assert 'holdfast_rollout_state{state="none"} 1.0' in told
    assert "holdfast_releases_refused 0.0" in told
    rss, files = (
        float(told.partition(f"\nholdfast_process_{one} ")[2].split()[0]) for one in ("resident_bytes", "open_files")
    )
    assert rss > 50e6
    assert files >= 3
    assert "holdfast_store_seconds_count " in told
    assert 'holdfast_age_seconds{of="drift"}' not in told


def test_drift_is_told_as_the_monitor_wrote_it_down(running, opened):
    inputs = [("a", 0.31, "moved much"), ("b", 0.12, "moved"), ("c", 0.01, "steady")]
    found = {
        "as_of": "2026-01-01T00:00:00+00:00",
        "inputs": [{"name": name, "psi": psi, "level": level} for name, psi, level in inputs],
        "scores": {"psi": 0.07},
    }
    opened.settings.places.monitored.write_text(json.dumps(found), encoding="utf-8")
    report_signs(opened)
    told = text(running.metrics)
    assert 'holdfast_drift_psi{of="largest_input"} 0.31' in told
    assert 'holdfast_drift_psi{of="scores"} 0.07' in told
    assert 'holdfast_drift_inputs{level="moved"} 1.0' in told
    assert 'holdfast_drift_inputs{level="moved_much"} 1.0' in told
    assert 'holdfast_age_seconds{of="drift"}' in told


def test_state_of_the_rollout_follows_what_is_done_to_it(running, opened):
    store, plan = opened.store, load_plan("default").to_json()

    def told():
        opened.poll()
        report_signs(opened)
        lines = [line for line in text(running.metrics).splitlines() if line.startswith("holdfast_rollout_state{")]
        (state,) = [line.partition('"')[2].partition('"')[0] for line in lines if line.endswith(" 1.0")]
        return state

    def by(who, why=""):
        return Change(who, running.now_us, why)

    assert told() == "none"
    start_rollout(store, "second", 0.25, "salt", by("ann"))
    assert told() == "by_hand"
    rollback(store, by("ann"))
    assert told() == "none"
    start_rollout(store, "second", 0.0, "salt2", by("ann"))
    assert told() == "shadow"
    rollback(store, by("ann"))
    start_rollout(store, "second", 0.25, "salt3", by("ann"), plan)
    assert told() in {"ramping", "held"}
    pause(store, True, by("ann"))
    assert told() == "paused"
    rollback(store, by(WHO, "errors: 3 of 4 failed"))
    assert told() == "broken"
    set_champion(store, "first", by("ann"))
    assert told() == "none"


def test_look_at_the_gates_is_counted_and_dated():
    metrics = Metrics()
    metrics.judged("hold", 1_700_000_000_500_000)
    metrics.judged("hold", 1_700_000_060_500_000)
    assert 'holdfast_rollout_verdicts_total{action="hold"} 2.0' in text(metrics)
    assert "holdfast_rollout_judged_timestamp_seconds 1.7000000605e+09" in text(metrics)


@pytest.mark.parametrize("text_of", ["{", "[]", '{"as_of": "yesterday"}', '{"as_of": 3}'])
def test_file_of_the_monitor_that_says_nothing_is_passed_over(running, opened, text_of):
    opened.settings.places.monitored.write_text(text_of, encoding="utf-8")
    report_signs(opened)
    assert "holdfast_drift_psi{" not in text(running.metrics)


def test_change_of_the_store_that_fails_is_not_timed(tmp_path):
    store, seconds = Store.open(tmp_path / "service.db"), []
    store.timed = seconds.append
    with store.write():
        pass
    with pytest.raises(RuntimeError), store.write():
        raise RuntimeError
    store.close()
    assert len(seconds) == 1
    assert 0 < seconds[0] < 5
