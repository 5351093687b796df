"""The command `score`: every customer's churn score in one file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.context import CliContext

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score")(score_command)


def score_command(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="The file to write: .csv or .parquet.")],
    release: Annotated[str | None, typer.Option(help="Name of a release; default: the one made last.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Exclusive instant with an offset; default: after the last recorded event.")
    ] = None,
    reasons: Annotated[int, typer.Option(min=0, max=10, help="Reason codes a customer.")] = 3,
) -> None:
    """Score every customer and write one file, in the shop's own customer ids.

    Example: `holdfast score scores.csv --as-of 2025-12-01T00:00:00Z`
    """
    from features.instants import parse_instant
    from training.batch_scoring import score_job

    session: CliContext = context.obj
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:
        scored = score_job(
            session.workspace,
            out,
            session.settings().churn,
            release_name=release,
            as_of_us=parse_instant(as_of) if as_of else None,
            reasons_count=reasons,
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    if session.json:
        typer.echo(json.dumps({**dataclasses.asdict(scored), "path": str(scored.path)}))
        return
    bands = ", ".join(f"{count:,} {band}" for band, count in scored.bands.items())
    typer.echo(f"{scored.n_scored:,} customers scored by {scored.release} as of {scored.as_of}, in {scored.path}")
    typer.echo(f"{scored.n_eligible:,} of them have a recent order: {bands}; the others have left, or nearly so")
    if scored.n_nameless:
        typer.echo(f"{scored.n_nameless:,} customers were left out: no customer id of theirs is known")
