"""Commands about data: `import` and `simulate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.errors import ConfigurationError
from training.cli.context import CliContext

if TYPE_CHECKING:
    from features.importing.report import ImportReport

__all__ = ["print_report", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("import")(import_command)
    app.command("simulate")(simulate_command)


def import_command(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="CSV, Parquet or JSONL, plain or .gz or .zst.")],
    mapping: Annotated[
        str, typer.Option("--mapping", "-m", help="Name of a shipped mapping, or the path of a TOML file.")
    ] = "events",
    table: Annotated[str, typer.Option(help="What the rows are: events, items or customers.")] = "events",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen; write nothing.")] = False,
    max_quarantined_share: Annotated[
        float, typer.Option(min=0, max=1, help="Abort, changing nothing, above this share of unusable rows.")
    ] = 0.05,
) -> None:
    """Bring a file into the event log (or the item or customer table).

    Shipped mappings: `events` (the log's own form), `orders` (any order table), `online_retail_ii`, `cdnow`.

    Example: `holdfast import orders.csv --mapping orders --dry-run`
    """
    from features.importing.job import import_file
    from features.importing.mapping import load_mapping
    from features.importing.table_job import import_table
    from features.instants import DAY_US
    from features.schema import CUSTOMERS, ITEMS

    session: CliContext = context.obj
    console = Console(stderr=True)
    with console.status("reading ...") as status:

        def progress(n_rows: int) -> None:
            status.update(f"{n_rows:,} rows read")

        if table == "events":
            report = import_file(
                source,
                load_mapping(mapping),
                session.workspace,
                max_quarantined_share=max_quarantined_share,
                dry_run=dry_run,
                before_us=time.time_ns() // 1_000 + DAY_US,  # a day of grace for clocks that differ
                progress=progress,
            )
        elif table in {"items", "customers"}:
            schema = ITEMS if table == "items" else CUSTOMERS
            report = import_table(source, schema, session.workspace, dry_run=dry_run, progress=progress)
        else:
            raise ConfigurationError(f"there is no table {table}; write events, items or customers")
    if session.json:
        typer.echo(report.to_json())
    else:
        print_report(Console(), report)


def print_report(console: Console, report: ImportReport) -> None:
    """Totals, then why rows were left out."""
    verb = "would be" if report.dry_run else "were"
    console.print(
        f"[bold]{report.n_read:,}[/] rows read: [bold]{report.n_accepted:,}[/] {verb} accepted, "
        f"{report.n_duplicates:,} duplicates, {report.n_quarantined:,} quarantined, "
        f"{report.n_dropped:,} left out by the mapping's rules"
    )
    if report.table == "events":
        console.print(f"{report.n_customers:,} customers, {report.n_items:,} items, log version {report.log_version}")
    if report.dropped or report.reasons:
        table = Table("why", "field", "rows", "first row")
        for rule, count in report.dropped:
            table.add_row(f"left out: {rule}", "", f"{count:,}", "")
        for reason in report.reasons:
            table.add_row(f"quarantined: {reason.reason}", reason.field, f"{reason.n_rows:,}", f"{reason.first_row:,}")
        console.print(table)
    if report.quarantine_file:
        console.print(f"quarantined rows are kept in {report.quarantine_file}")


def simulate_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if absent.")],
    scale: Annotated[float | None, typer.Option(min=0.001, help="1 is 20,000 customers.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same shop.")] = 7,
) -> None:
    """Write a simulated shop: events, items and customers as ordinary files, and the truth about them apart.

    Example: `holdfast simulate shop --scale 0.1 && holdfast import shop/events.parquet`
    """
    import dataclasses
    import json

    from training.simulate import simulate, write_shop

    session: CliContext = context.obj
    settings = session.settings().simulation
    if scale is not None:
        settings = dataclasses.replace(settings, scale=scale)
    with Console(stderr=True).status("simulating ..."):
        shop = simulate(settings, seed)
        files = write_shop(shop, folder)
    if session.json:
        typer.echo(json.dumps({"events": shop.events.num_rows, "folder": str(folder)}))
    else:
        typer.echo(f"{shop.events.num_rows:,} events of {shop.customers.num_rows:,} customers in {files.events}")
        typer.echo(f"next: holdfast import {files.events}")
