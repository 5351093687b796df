"""Commands about features: `features build`, `features show`, `features catalogue`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from training.cli.context import CliContext, past_instant
from training.cli.table_options import Delimiter, Encoding, written_at

__all__ = ["register"]

features_app = typer.Typer(no_args_is_help=True, help="What is known about customers: build, show, catalogue.")
_AsOf = Annotated[
    str | None,
    typer.Option(
        help="Exclusive instant with an offset, 2025-10-01T00:00:00Z; default: after the last recorded event."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(features_app, name="features")


@features_app.command("build")
def build(
    context: typer.Context,
    as_of: _AsOf = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="For a release of a table: keep this one, of the same columns, in the place of the stored table; "
            "--as-of says when it was written, by default now."
        ),
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="With --table: whose columns; default: the served one, else the one made last.")
    ] = None,
    delimiter: Delimiter = ",",
    encoding: Encoding = "utf-8",
) -> None:
    """Compute every customer's features and keep them as a snapshot, from which the service answers at once.

    Example: `holdfast features build --as-of 2025-10-01T00:00:00Z`, or `holdfast features build --table new.csv`
    """
    from features.errors import ConfigurationError
    from training.feature_jobs import build_features
    from training.table_refresh import refresh_table
    from training.table_scoring import GivenTable

    session: CliContext = context.obj
    if table is None and release is not None:
        raise ConfigurationError(
            "--release says whose columns a table has; name the file with --table, or leave it out"
        )
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:

        def progress(stage: str) -> None:
            status.update(f"{stage} ...")

        if table is None:
            instant = past_instant(as_of)
            built = build_features(session.workspace, session.settings().churn, as_of_us=instant, progress=progress)
        else:
            given = GivenTable(table, written_at(as_of), delimiter, encoding)
            built = refresh_table(session.workspace, given, release_name=release, progress=progress)
    if session.json:
        typer.echo(json.dumps({**dataclasses.asdict(built), "path": str(built.path)}))
    else:
        typer.echo(f"{built.n_features} features of {built.n_customers:,} customers at {built.as_of} in {built.path}")
        for note in built.notes:
            typer.echo(note)


@features_app.command("show")
def show(
    context: typer.Context,
    customer_id: Annotated[str, typer.Argument(help="The customer, as the shop writes it.")],
    as_of: _AsOf = None,
) -> None:
    """One customer's features, each with its meaning; a missing value says why it is missing.

    Example: `holdfast features show C0000042`
    """
    from training.feature_jobs import customer_features

    session: CliContext = context.obj
    instant, values = customer_features(session.workspace, customer_id, as_of_us=past_instant(as_of))
    if session.json:
        shown = {value.name: value.value for value in values}
        typer.echo(json.dumps({"customer_id": customer_id, "as_of": instant, "features": shown}))
        return
    table = Table(Column("feature", no_wrap=True), "value", "unit", "meaning", title=f"as of {instant}, exclusive")
    for value in values:
        text = f"{value.value:,.4g}" if value.value is not None else f"missing: {value.missing}"
        table.add_row(value.name, text, value.unit, value.meaning)
    Console().print(table)


@features_app.command("catalogue")
def catalogue(
    out: Annotated[Path | None, typer.Option(help="Write to this file, such as docs/features.md.")] = None,
) -> None:
    """The catalogue of all features as Markdown: meaning, unit, window, what missing means, purposes.

    Example: `holdfast features catalogue --out docs/features.md`
    """
    from features.catalogue import catalogue_markdown
    from features.churn_features import CHURN_FEATURES

    text = catalogue_markdown(CHURN_FEATURES)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
