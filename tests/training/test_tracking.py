import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from features.errors import ArtefactError, UnavailableError
from features.workspace import Workspace
from training.tracking import (
    MODEL_FOLDER,
    Tracking,
    open_tracking,
    page_command,
    page_environment,
    read_files,
    recorded_run,
)


@pytest.fixture
def tracking(workspace: Workspace) -> Tracking:
    return open_tracking(workspace, wait_seconds=0.2)


def test_a_run_keeps_parameters_metrics_tags_and_files(tracking: Tracking, workspace: Workspace) -> None:
    with recorded_run(tracking, "churn", "first", {"log_version": "7"}) as run:
        run.params({"trees": {"leaves": 15}, "gap_days": 0})
        run.metrics({"auc": 0.75})
        run.metrics({"auc": 0.5}, "baseline.recency.")
        run.files("plots", {"roc.png": b"\x89PNG"})
    kept = tracking.client.get_run(run.run_id)
    assert kept.data.params == {"trees.leaves": "15", "gap_days": "0"}
    assert kept.data.metrics == {"auc": 0.75, "baseline.recency.auc": 0.5}
    assert kept.data.tags["log_version"] == "7"
    assert kept.info.status == "FINISHED"
    assert (run.folder / "plots" / "roc.png").read_bytes() == b"\x89PNG"
    assert run.folder.is_relative_to(workspace.mlflow_artefacts)


def test_artefacts_do_not_go_to_the_working_directory(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with recorded_run(tracking, "churn", "first", {}) as run:
        run.files("", {"a.txt": b"a"})
    assert list(elsewhere.iterdir()) == []


def test_more_than_a_hundred_parameters_are_all_kept(tracking: Tracking) -> None:
    with recorded_run(tracking, "churn", "first", {}) as run:
        run.params({f"p{i}": i for i in range(250)})
    assert len(tracking.client.get_run(run.run_id).data.params) == 250


def test_an_undefined_metric_is_named_and_not_recorded(tracking: Tracking) -> None:
    with recorded_run(tracking, "churn", "first", {}) as run:
        run.metrics({"auc": float("nan"), "ece": 0.02})
    data = tracking.client.get_run(run.run_id).data
    assert data.metrics == {"ece": 0.02}
    assert data.tags["undefined_metrics.model"] == "auc"


def test_a_run_that_raises_ends_failed_and_one_that_is_interrupted_ends_killed(tracking: Tracking) -> None:
    with pytest.raises(ZeroDivisionError), recorded_run(tracking, "churn", "first", {}) as failed:
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), recorded_run(tracking, "churn", "second", {}) as killed:
        raise KeyboardInterrupt
    assert tracking.client.get_run(failed.run_id).info.status == "FAILED"
    assert tracking.client.get_run(killed.run_id).info.status == "KILLED"


def test_a_locked_database_is_unavailable_after_a_bounded_wait(workspace: Workspace, tracking: Tracking) -> None:
    with closing(sqlite3.connect(workspace.mlflow_database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match=r"still locked after 0\.2 s"):
            open_tracking(workspace, wait_seconds=0.2)
        with pytest.raises(UnavailableError), recorded_run(tracking, "churn", "first", {}):
            raise AssertionError("a run was started on a locked database")
        other.execute("ROLLBACK")
    assert [e.name for e in tracking.client.search_experiments()] == ["Default"]


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.mlflow_database.parent.mkdir(parents=True)
    workspace.mlflow_database.write_bytes(b"a letter to a friend, and not a database at all" * 40)
    with pytest.raises(ArtefactError, match="not an MLflow database"):
        open_tracking(workspace)
    assert workspace.mlflow_database.read_bytes().startswith(b"a letter")


@pytest.fixture
def logged(tracking: Tracking) -> tuple[Path, str]:
    with recorded_run(tracking, "churn", "first", {}) as run:
        digest = run.model_files({"booster.txt": b"tree", "sub/what.json": b"{}"})
    return run.folder / MODEL_FOLDER, digest


def test_model_files_come_back_as_they_were(logged: tuple[Path, str]) -> None:
    folder, digest = logged
    assert read_files(folder, digest) == {"booster.txt": b"tree", "sub/what.json": b"{}"}
    manifest = (folder / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == digest
    assert json.loads(manifest)["files"]["booster.txt"]["sha256"] == hashlib.sha256(b"tree").hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "booster.txt").write_bytes(b"tre"), "altered or cut short"),
        (lambda folder: (folder / "booster.txt").unlink(), "not those of its manifest.*booster.txt"),
        (lambda folder: (folder / "extra.pkl").write_bytes(b"x"), "not those of its manifest.*extra.pkl"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{}"), "manifest was altered"),
        (lambda folder: (folder / "manifest.json").unlink(), "no manifest.json"),
    ],
)
def test_an_altered_model_is_refused(logged: tuple[Path, str], change, message: str) -> None:
    folder, digest = logged
    change(folder)
    with pytest.raises(ArtefactError, match=message):
        read_files(folder, digest)


def test_the_page_listens_on_loopback_only_and_runs_no_jobs(workspace: Workspace) -> None:
    command = page_command(workspace, 5005)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5005"
    assert command[command.index("--workers") + 1] == "1"
    environment = page_environment({"PATH": "/bin"})
    assert environment["PATH"] == "/bin"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_importing_the_tracking_switches_telemetry_off() -> None:
    code = "import training.tracking; from mlflow.telemetry import get_telemetry_client as c; print(c())"
    environment = {"PATH": "", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
