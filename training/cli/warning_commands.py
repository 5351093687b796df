"""The command `warnings`: who is drifting away since last week."""

from __future__ import annotations

import dataclasses
import json
import os

import typer
from rich.console import Console

from training.cli.context import CliContext

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("warnings")(warnings_command)


def warnings_command(context: typer.Context) -> None:
    """Warn of customers whose risk rose fast since last week, by the newest scores; read them at GET /v1/warnings.

    Each customer once a cool-down, no more a week than can be seen to, the largest expected losses first: see
    [warnings] in holdfast.toml. Running it again warns of nobody twice.

    Example: `holdfast score --from-snapshot && holdfast warnings`
    """
    from training.warning_job import warning_job

    session: CliContext = context.obj
    settings = session.settings()
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:
        done = warning_job(
            session.workspace,
            settings.warnings,
            settings.churn,
            threads=len(os.sched_getaffinity(0)),
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    given = done.given
    if session.json:
        typer.echo(json.dumps(dataclasses.asdict(done)))
        return
    source = "the scores kept then" if done.basis == "book" else "scores computed again from the log"
    typer.echo(f"as of {done.as_of} by {done.release}, against {source} ({done.since}):")
    typer.echo(f"{given.n_compared:,} customers compared; the risk of {given.n_risen:,} rose by the threshold or more")
    typer.echo(f"{given.n_warned:,} warned of now; {given.n_held_back:,} wait for this week's capacity")
