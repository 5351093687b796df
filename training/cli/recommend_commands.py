"""The commands `recommend batch` and `recommend customers`: slates of everybody, and customers for an item."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.context import CliContext, past_instant

__all__ = ["register"]

recommend_app = typer.Typer(no_args_is_help=True, help="Slates of all customers, and customers for an item.")

Out = Annotated[Path, typer.Option(help="The file to write, .parquet.")]
ReleaseName = Annotated[
    str | None, typer.Option(help="Name of a release; default: the one that is served, else the one made last.")
]
AsOf = Annotated[
    str | None, typer.Option(help="Exclusive instant with an offset; default: after the last recorded event.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(recommend_app, name="recommend")


@recommend_app.command("batch")
def batch_command(
    context: typer.Context,
    out: Out = Path("slates.parquet"),
    top: Annotated[int, typer.Option(min=1, help="Items a customer.")] = 20,
    exclude_owned: Annotated[bool, typer.Option("--exclude-owned", help="Leave out what the customer bought.")] = False,
    where: Annotated[str, typer.Option(help="A filter on attributes of items, as in the API.")] = "",
    release: ReleaseName = None,
    as_of: AsOf = None,
) -> None:
    """Write the slates of all customers to one Parquet file, in the shop's own customer ids, in bounded memory.

    Example: `holdfast recommend batch --top 20 --exclude-owned --where "price_minor < 5000" --out slates.parquet`
    """
    from training.batch_recommendation import SlateOptions, recommend_job

    session: CliContext = context.obj
    options = SlateOptions(top, exclude_owned, where, threads=len(os.sched_getaffinity(0)))
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:
        done = recommend_job(
            session.workspace,
            out,
            options,
            release_name=release,
            as_of_us=past_instant(as_of),
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    if session.json:
        typer.echo(json.dumps({**dataclasses.asdict(done), "path": str(done.path)}))
        return
    typer.echo(f"{done.n_rows:,} items for {done.n_customers:,} customers by {done.release} as of {done.as_of}")
    typer.echo(f"in {done.path}")
    if done.n_nameless:
        typer.echo(f"{done.n_nameless:,} customers were left out: no customer id of theirs is known")


@recommend_app.command("customers")
def customers_command(
    context: typer.Context,
    item: Annotated[str, typer.Argument(help="The item's id.")],
    top: Annotated[int, typer.Option(min=1, help="Customers wanted.")] = 100,
    owners: Annotated[bool, typer.Option("--owners/--no-owners", help="Whether those who bought it may come.")] = False,
    release: ReleaseName = None,
    as_of: AsOf = None,
) -> None:
    """The customers whom an item suits best: a target list, with the source that speaks most for each.

    The score is a share of what the customer's own best item has: 1 is the best there is for them.

    Example: `holdfast recommend customers kettle-3 --top 500`
    """
    from training.batch_recommendation import customers_for

    session: CliContext = context.obj
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:
        found = customers_for(
            session.workspace,
            item,
            top,
            exclude_owners=not owners,
            release_name=release,
            as_of_us=past_instant(as_of),
            threads=len(os.sched_getaffinity(0)),
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    if session.json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found]))
        return
    table = Table("customer_id", "score", "source", title=f"customers for {item}")
    for one in found:
        table.add_row(one.customer_id, f"{one.score:.3f}", one.source)
    Console().print(table)
