"""The command `score`: every customer's churn score in one file, and in a book that the service reads."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from training.cli.context import CliContext, past_instant
from training.cli.table_options import Delimiter, Encoding, written_at

if TYPE_CHECKING:
    from training.batch_scoring import Scored
    from training.score_sources import SnapshotFeatures

__all__ = ["register"]

Out = Annotated[
    Path | None,
    typer.Argument(
        help="The file to write, .csv or .parquet, or a folder; default: here, named after model and instant."
    ),
]
ReleaseName = Annotated[
    str | None, typer.Option(help="Name of a release; default: the one that is served, else the one made last.")
]
AsOf = Annotated[
    str | None, typer.Option(help="Exclusive instant with an offset; default: after the last recorded event.")
]
FromSnapshot = Annotated[
    bool, typer.Option("--from-snapshot", help="Read the newest snapshot (features build), not the event log.")
]
ReasonsCount = Annotated[int, typer.Option(min=0, max=10, help="Reasons a customer.")]
ReasonsFor = Annotated[
    str,
    typer.Option(
        help="Who gets them: band:medium, everybody from that band's cut-off up; band:high; riskiest:SHARE; none; or "
        "all, many times slower."
    ),
]
ReasonLanguage = Annotated[str, typer.Option(help="Of reasons and of the names of segments: en or zh.")]
Book = Annotated[
    bool | None,
    typer.Option(
        "--book/--no-book",
        help="Keep the scores for the service's work list; default: unless --as-of or --table is given. --book refuses "
        "--table.",
    ),
]
GivenFile = Annotated[
    Path | None,
    typer.Option(help="Customers to score into a file alone, for a release of a table; default: those stored."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score")(score_command)


def score_command(
    context: typer.Context,
    out: Out = None,
    release: ReleaseName = None,
    as_of: AsOf = None,
    from_snapshot: FromSnapshot = False,
    reasons: ReasonsCount = 3,
    reasons_for: ReasonsFor = "band:medium",
    language: ReasonLanguage = "en",
    book: Book = None,
    table: GivenFile = None,
    delimiter: Delimiter = ",",
    encoding: Encoding = "utf-8",
) -> None:
    """Score every customer and write one file, in the shop's own customer ids.

    The scores are also kept as a book in the workspace, from which the service answers the work list, who changed
    band, and trends. Every score in the band medium or high carries its reasons, unless --reasons-for says otherwise.

    A release of a table scores the stored table, or a new one by `--table new.csv`, of which the service learns
    nothing: `holdfast features build --table new.csv` puts it in the place of the stored one.

    Example: `holdfast score --from-snapshot --reasons-for riskiest:0.1 --language zh scores.parquet`
    """
    from features.errors import ConfigurationError
    from training.batch_scorer import ScoreOptions, language_of
    from training.batch_scoring import score_job
    from training.reason_choice import reasons_for as chosen_by
    from training.table_scoring import GivenTable

    session: CliContext = context.obj
    if from_snapshot and as_of:
        raise ConfigurationError("a snapshot has one instant; leave out --as-of, or --from-snapshot")
    settings = session.settings()
    kept = as_of is None and table is None if book is None else book
    options = ScoreOptions(
        reasons_for=chosen_by(reasons_for),
        reasons_count=reasons,
        language=language_of(language),
        keep_books=settings.scores.keep_books if kept else None,
        threads=len(os.sched_getaffinity(0)),
    )
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:
        scored = score_job(
            session.workspace,
            out,
            settings.churn,
            options,
            release_name=release,
            as_of_us=past_instant(as_of),
            source=_snapshot(session) if from_snapshot else None,
            given=None if table is None else GivenTable(table, written_at(as_of), delimiter, encoding),
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    _tell(session, scored)


def _tell(session: CliContext, scored: Scored) -> None:
    if session.json:
        typer.echo(json.dumps({**dataclasses.asdict(scored), "path": str(scored.path)}))
        return
    bands = ", ".join(f"{count:,} {band}" for band, count in scored.bands.items())
    typer.echo(f"{scored.n_scored:,} customers scored by {scored.release} as of {scored.as_of}, in {scored.path}")
    typer.echo(f"{scored.n_eligible:,} of them are asked about: {bands}; the others have left, or nearly so")
    for note in scored.notes:
        typer.echo(note)
    if scored.book is not None:
        typer.echo(f"book {scored.book} of scores is kept for the service")
    if scored.n_nameless:
        typer.echo(f"{scored.n_nameless:,} customers were left out: no customer id of theirs is known")


def _snapshot(session: CliContext) -> SnapshotFeatures:
    from features.churn_features import CHURN_FEATURES
    from training.score_sources import newest_snapshot

    return newest_snapshot(session.workspace, CHURN_FEATURES)
