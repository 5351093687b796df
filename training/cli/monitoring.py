"""The command `monitor`: drift of the inputs, and how good the model is now as far as it can be told without labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from training.cli.context import CliContext, past_instant
from training.cli.sessions import open_registry, stages

if TYPE_CHECKING:
    from training.monitoring import Monitored

__all__ = ["register"]

_MOST_INPUTS = 12


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("monitor")(monitor_command)


def monitor_command(
    context: typer.Context,
    which: Annotated[
        str, typer.Argument(help="A release, or a version number or alias of the churn model.")
    ] = "champion",
    as_of: Annotated[
        str | None, typer.Option(help="Exclusive instant with an offset; default: after the last recorded event.")
    ] = None,
) -> None:
    """Tell how the churn model is doing now: drift, and quality as far as it can be told without labels.

    Example: `holdfast monitor`, or `holdfast monitor r-1f00c5 --as-of 2025-12-01T00:00:00Z`
    """
    from training.monitoring import monitor_churn
    from training.release_moves import contender

    session: CliContext = context.obj
    settings = session.settings()
    side = contender(which, session.workspace, open_registry(session, settings), settings)
    with stages(session) as progress:
        found = monitor_churn(session.workspace, side, settings.churn, as_of_us=past_instant(as_of), progress=progress)
    if as_of is None and which == "champion":
        keep_found(session.workspace.monitored, found)  # the service shows it among its metrics
    if session.json:
        typer.echo(json.dumps(found.to_json()))
        return
    _show(found)


def keep_found(path: Path, found: Monitored) -> None:
    """Write the figures down, whole or not at all: a service may be reading."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(found.to_json()), encoding="utf-8")
    beside.replace(path)


def _show(found: Monitored) -> None:
    console = Console()
    typer.echo(f"{found.name} as of {found.to_json()['as_of']}")
    for sentence in found.sentences:
        typer.echo(sentence)
    shown = found.moved[:_MOST_INPUTS]
    if shown:
        table = Table(Column("input", no_wrap=True), "PSI", "by chance", "missing", Column("in a word", no_wrap=True))
        for drift in shown:
            missing = f"{drift.missing_before:.0%}, now {drift.missing_now:.0%}"
            table.add_row(drift.name, f"{drift.psi:.2f}", f"{drift.by_chance:.3f}", missing, drift.level)
        console.print(table)
    table = Table("figure", "expected now", "95% range")
    for figure in found.estimate.figures:
        name = figure.name.replace("_", " ")
        table.add_row(name, f"{figure.expected:.3f}", f"{figure.low:.3f} to {figure.high:.3f}")
    console.print(table)
    if found.past:
        _show_past(console, found)


def _show_past(console: Console, found: Monitored) -> None:
    names = ("churned_share", "auc", "brier")
    table = Table(
        "past snapshot", "customers", *(f"{name.replace('_', ' ')}: expected, came" for name in names), "held"
    )
    for row in found.to_json()["past"]:
        cells = (f"{row['figures'][name]['expected']:.3f}, {row['figures'][name]['true']:.3f}" for name in names)
        table.add_row(row["as_of"][:10], f"{row['customers']:,}", *cells, "yes" if row["calibrated"] else "no")
    console.print(table)
