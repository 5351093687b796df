"""Experiment tracking: one MLflow database and one artefact folder a workspace, no server needed.

The client is explicit everywhere: no tracking address, active run or experiment is kept in module or process state.
Model files are logged as plain bytes beside a manifest with their sizes and SHA-256; nothing here pickles.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from features.workspace import Workspace

# MLflow reads these once, while it is imported; an entry point may have set them already.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

__all__ = [
    "MODEL_FOLDER",
    "RunLog",
    "Tracking",
    "code_version",
    "mlflow_errors",
    "open_tracking",
    "page_command",
    "page_environment",
    "read_files",
    "recorded_run",
]

MODEL_FOLDER = "model"
_MANIFEST = "manifest.json"
_BATCH = 100  # MLflow takes at most 100 parameters or tags in one call


@dataclass(frozen=True)
class Tracking:
    """An open MLflow database: the client, where its files lie, and how long a locked database is waited for."""

    client: MlflowClient
    database: Path
    artefacts: Path
    wait_seconds: float

    def require_unlocked(self) -> None:
        """Wait until the database takes a write, for at most `wait_seconds`; MLflow itself would wait far longer.

        Raises:
            UnavailableError: it is still locked.
        """
        _require_unlocked(self.database, self.wait_seconds)

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name; it is made where absent, with its artefacts in the workspace."""
        with mlflow_errors():
            found = self.client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            return str(self.client.create_experiment(name, artifact_location=str(self.artefacts / name)))


def open_tracking(workspace: Workspace, *, wait_seconds: float = 5.0) -> Tracking:
    """Open the workspace's MLflow database, made where absent.

    Raises:
        UnavailableError: it is locked by another process for longer than `wait_seconds`.
    """
    database = workspace.mlflow_database.resolve()
    database.parent.mkdir(parents=True, exist_ok=True)
    if database.exists():
        _require_unlocked(database, wait_seconds)
    address = f"sqlite:///{database}"
    with mlflow_errors():
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        client.search_experiments(max_results=1)  # lays the tables now, not in the middle of a run
    return Tracking(client, database, workspace.mlflow_artefacts.resolve(), wait_seconds)


def _require_unlocked(database: Path, wait_seconds: float) -> None:
    try:
        with closing(sqlite3.connect(database, timeout=wait_seconds, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise UnavailableError(
            f"the MLflow database {database.name} was still locked after {wait_seconds:g} s ({error}); "
            "another training, promotion or page is writing to it: wait for it to end and try again"
        ) from None
    except sqlite3.DatabaseError as error:
        raise ArtefactError(
            f"{database.name} is not an MLflow database ({error}); move it away to start a new one"
        ) from None


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Turn MLflow's errors into ours: a locked database is unavailable, anything else an unusable artefact."""
    try:
        yield
    except MlflowException as error:
        first_line = str(error).splitlines()[0] if str(error) else error.error_code
        if error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise UnavailableError(f"the MLflow database is locked or gone ({first_line}); try again") from None
        raise ArtefactError(f"MLflow refused: {first_line}") from error


@dataclass(frozen=True)
class RunLog:
    """One run being recorded."""

    tracking: Tracking
    run_id: str
    folder: Path
    started_ms: int

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings and data facts as text; nested mappings become dotted names."""
        rows = [Param(key, str(value)) for key, value in _flat(values)]
        for start in range(0, len(rows), _BATCH):
            self._batch(params=rows[start : start + _BATCH])

    def metrics(self, values: Mapping[str, float], prefix: str = "") -> None:
        """Record numbers. An undefined one (not finite) is left out and named in the tag `undefined_metrics`."""
        named = {f"{prefix}{key}": float(value) for key, value in values.items()}
        undefined = sorted(key for key, value in named.items() if not math.isfinite(value))
        rows = [Metric(key, value, self.started_ms, 0) for key, value in named.items() if math.isfinite(value)]
        self._batch(metrics=rows)
        if undefined:
            self.tags({f"undefined_metrics.{prefix.rstrip('.') or 'model'}": ", ".join(undefined)})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record words that a search should find."""
        self._batch(tags=[RunTag(key, value) for key, value in values.items()])

    def files(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Record files under `folder` of the run's artefacts."""
        with tempfile.TemporaryDirectory() as temporary, mlflow_errors():
            for name, content in files.items():
                path = Path(temporary) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.tracking.client.log_artifacts(self.run_id, temporary, folder or None)

    def model_files(self, files: Mapping[str, bytes]) -> str:
        """Record a model's files with their manifest; return the manifest's SHA-256, the model's digest."""
        manifest = _manifest(files)
        self.files(MODEL_FOLDER, {**files, _MANIFEST: manifest})
        return hashlib.sha256(manifest).hexdigest()

    def _batch(self, **entities: Any) -> None:
        with mlflow_errors():
            self.tracking.client.log_batch(self.run_id, **entities)


@contextmanager
def recorded_run(tracking: Tracking, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[RunLog]:
    """Record one run; it ends FINISHED, or FAILED on an error, or KILLED on Ctrl-C.

    Raises:
        UnavailableError: the database is locked.
    """
    tracking.require_unlocked()
    experiment_id = tracking.experiment(experiment)
    with mlflow_errors():
        run = tracking.client.create_run(experiment_id, tags=dict(tags), run_name=name)
    run_id = str(run.info.run_id)
    status = "FAILED"
    try:
        yield RunLog(tracking, run_id, Path(run.info.artifact_uri), int(run.info.start_time))
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _end(tracking, run_id, status)


def _end(tracking: Tracking, run_id: str, status: str) -> None:
    """Write a run's end. While another error is on its way, a second one must not hide it."""
    try:
        tracking.require_unlocked()
        with mlflow_errors():
            tracking.client.set_terminated(run_id, status)
    except (UnavailableError, ArtefactError):
        if status == "FINISHED":
            raise


def _manifest(files: Mapping[str, bytes]) -> bytes:
    rows = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }
    return (json.dumps({"files": rows}, indent=2, sort_keys=True) + "\n").encode()


def read_files(folder: Path, digest: str) -> dict[str, bytes]:
    """The files of a logged model, every one checked against the manifest, and the manifest against `digest`.

    Raises:
        ArtefactError: a file is missing, altered or unknown to the manifest, or the manifest itself was altered.
    """
    try:
        manifest = (folder / _MANIFEST).read_bytes()
    except OSError:
        raise ArtefactError(f"the model's folder {folder.name} has no {_MANIFEST}; train again") from None
    if hashlib.sha256(manifest).hexdigest() != digest:
        raise ArtefactError("the model's manifest was altered since it was registered; train again")
    expected: dict[str, dict[str, Any]] = json.loads(manifest)["files"]
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {_MANIFEST}
    if present != set(expected):
        odd = sorted(present ^ set(expected))
        raise ArtefactError(f"the model's files are not those of its manifest; look at: {', '.join(odd)}")
    files = {name: (folder / name).read_bytes() for name in expected}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != expected[name]["sha256"]:
            raise ArtefactError(f"model file {name} was altered or cut short since it was logged; train again")
    return files


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def code_version() -> str:
    """The git commit of this code, with `-changed` where files differ from it; the version number outside of git."""
    git, here = shutil.which("git"), Path(__file__).parent
    if git is not None and (here.parent / ".git").exists():
        asked = ([git, "rev-parse", "HEAD"], [git, "diff", "--quiet", "HEAD"])
        commit, changed = (
            subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
            for command in asked
        )
        if commit.returncode == 0:
            return commit.stdout.strip() + ("-changed" if changed.returncode else "")
    try:
        return f"holdfast {importlib.metadata.version('holdfast')}"
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def page_command(workspace: Workspace, port: int) -> list[str]:
    """The command that shows the workspace's MLflow page on loopback, with one worker.

    Raises:
        ConfigurationError: full MLflow is not installed (the tracking here needs mlflow-skinny only).
    """
    if importlib.util.find_spec("flask") is None:
        raise ConfigurationError("MLflow's page is not installed; install it with: pip install 'holdfast[page]'")
    return [
        sys.executable,
        *("-m", "mlflow", "server"),
        *("--backend-store-uri", f"sqlite:///{workspace.mlflow_database.resolve()}"),
        *("--default-artifact-root", str(workspace.mlflow_artefacts.resolve())),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def page_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for `page_command`: no telemetry, and none of the job runners that the page does not need."""
    return {
        **environment,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
