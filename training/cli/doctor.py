"""`holdfast doctor`: whether this installation is whole, and what state the workspace is in."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import typer
from rich.console import Console
from rich.table import Table

from features.errors import HoldfastError
from features.workspace import Workspace
from training.cli.context import CliContext

__all__ = ["Finding", "examine", "register"]

EXTRAS = {
    "base": ("numpy", "scipy", "pyarrow", "deltalake", "typer", "rich"),
    "serving": (
        "alembic",
        "bentoml",
        "cryptography",
        "lightgbm",
        "orjson",
        "prometheus_client",
        "psycopg",
        "pydantic",
        "sqlalchemy",
        "starlette",
        "uvloop",
    ),
    "training": ("implicit", "matplotlib", "mlflow", "optuna", "pandas", "sklearn"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `state` is ok, absent (not installed or not made yet: no fault) or broken."""

    what: str
    state: str
    detail: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(context: typer.Context) -> None:
    """Look at the installation and the workspace; exit code 5 if anything is broken."""
    session: CliContext = context.obj
    findings = examine(session.workspace)
    if session.json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("what", "state", "detail")
        colours = {"ok": "green", "absent": "yellow", "broken": "red"}
        for finding in findings:
            table.add_row(finding.what, f"[{colours[finding.state]}]{finding.state}[/]", finding.detail)
        Console().print(table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(5)


def examine(workspace: Workspace) -> list[Finding]:
    """Findings about Python, the packages of each extra, the shipped files, and the workspace."""
    wanted = sys.version_info[:2] == (3, 11)
    findings = [Finding("python", "ok" if wanted else "broken", f"{platform.python_version()}; 3.11 is supported")]
    findings += [_packages(extra, names) for extra, names in EXTRAS.items()]
    findings.append(_shipped())
    findings += [_try(what, look, workspace) for what, look in WORKSPACE_CHECKS.items()]
    return findings


def _packages(extra: str, names: tuple[str, ...]) -> Finding:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return Finding(f"packages: {extra}", "ok", ", ".join(names))
    state = "broken" if extra == "base" else "absent"
    hint = "pip install holdfast" if extra == "base" else f"pip install holdfast[{extra}]"
    return Finding(f"packages: {extra}", state, f"missing {', '.join(missing)}; {hint}")


def _shipped() -> Finding:
    mappings = importlib.resources.files("features") / "mappings"
    names = sorted(entry.name for entry in mappings.iterdir() if entry.name.endswith(".toml"))
    return Finding("shipped mappings", "ok" if names else "broken", ", ".join(names) or "none in the package")


def _event_log(workspace: Workspace) -> Finding:
    from features.event_log import EventLog

    if not workspace.event_log.exists():
        return Finding("event log", "absent", "make one with `holdfast import`")
    log = EventLog.open(workspace.event_log)
    return Finding("event log", "ok", f"{log.n_events:,} events, version {log.version}")


def _releases(workspace: Workspace) -> Finding:
    folders = sorted(path.parent for path in workspace.releases.glob("*/manifest.json"))
    if not folders:
        return Finding("releases", "absent", "make one with `holdfast release`")
    from features.churn_features import CHURN_FEATURES
    from serving.release import load_release
    from serving.release_signature import TrustedKeys

    trusted = TrustedKeys.load(workspace.trusted_release_keys)
    for folder in folders:
        load_release(folder, CHURN_FEATURES, trusted)
    return Finding("releases", "ok", f"{len(folders)} verified: {', '.join(folder.name for folder in folders)}")


def _store(workspace: Workspace) -> Finding:
    from serving.store import Store

    if not Store.exists(workspace.store):
        return Finding("service store", "absent", "made by `holdfast serve`")
    from serving.rollouts.state import read_rollout

    store = Store.open(workspace.store)
    try:
        store.check()
        state = read_rollout(store)
    finally:
        store.close()
    return Finding("service store", "ok", f"champion {state.champion}" if state else "no release served yet")


WORKSPACE_CHECKS: dict[str, Callable[[Workspace], Finding]] = {
    "event log": _event_log,
    "releases": _releases,
    "service store": _store,
}


def _try(what: str, look: Callable[[Workspace], Finding], workspace: Workspace) -> Finding:
    try:
        return look(workspace)
    except HoldfastError as error:
        return Finding(what, "broken", str(error))
    except ImportError as error:
        return Finding(what, "absent", f"needs a package that is not installed: {error.name}")
