"""`holdfast store`: copy the service's database, and make it again of a copy, in a file or in PostgreSQL."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.errors import ArtefactError
from training.cli.context import CliContext

if TYPE_CHECKING:
    from serving.store_backup import Backup

__all__ = ["register"]

store_app = typer.Typer(no_args_is_help=True, help="The service's database: back it up, restore it, move it.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(store_app, name="store")


@store_app.command("backup")
def backup_command(
    context: typer.Context, path: Annotated[Path, typer.Argument(help="A new folder for the copy.")]
) -> None:
    """Copy the store as it is at this moment, while the service goes on.

    Example: `holdfast store backup backups/2026-03-01`
    """
    from serving.store import Store
    from serving.store_backup import back_up

    session: CliContext = context.obj
    if not Store.exists(session.workspace.store):
        raise ArtefactError("the service has no store yet; start it once with `holdfast serve`")
    store = Store.open(session.workspace.store)
    try:
        made = back_up(store, path, time.time_ns() // 1_000)
    finally:
        store.close()
    _tell(session, made, f"copied into {path}")


@store_app.command("restore")
def restore_command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder that `backup` made, of either kind of database.")],
    replace: Annotated[bool, typer.Option("--replace", help="Drop the rows that the store holds now.")] = False,
) -> None:
    """Make the store what a copy holds, verified row by row; all of it or nothing. Stop the service first.

    A copy of one kind of database goes into the other too: `holdfast --store URL store restore COPY` moves a shop.

    Example: `holdfast store restore backups/2026-03-01`
    """
    from serving.store import Store
    from serving.store_backup import restore

    session: CliContext = context.obj
    store = Store.open(session.workspace.store)
    try:
        made = restore(store, path, replace=replace)
    finally:
        store.close()
    _tell(session, made, "restored and verified")


def _tell(session: CliContext, backup: Backup, done: str) -> None:
    if session.json:
        typer.echo(json.dumps(dataclasses.asdict(backup)))
        return
    rows = ", ".join(f"{one.name} {one.rows:,}" for one in backup.tables if one.rows) or "no rows"
    typer.echo(f"{done}: {rows} (as of {backup.made_at}, schema {backup.schema})")
