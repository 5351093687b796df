"""Commands about the keys that sign releases: `release-keys list`, `rotate`, `trust`, `distrust`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.context import CliContext

__all__ = ["register"]

keys_app = typer.Typer(no_args_is_help=True, help="Whose releases are served: list, rotate, trust, distrust.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(keys_app, name="release-keys")


@keys_app.command("list")
def list_command(context: typer.Context) -> None:
    """The public keys whose releases are served, and which of them signs here."""
    _show(context.obj)


@keys_app.command("rotate")
def rotate_command(context: typer.Context) -> None:
    """Sign with a fresh key from now on; releases of the former keys are still served.

    Machines that only serve are given the new public key before a release of it: they read HOLDFAST_TRUSTED_KEYS, or
    `keys/release-trusted.json`. When no release of a former key serves any more: `holdfast release-keys distrust`.
    """
    from training.release_keys import rotate

    session: CliContext = context.obj
    rotate(session.workspace)
    _show(session)


@keys_app.command("trust")
def trust_command(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="A public key, 64 hexadecimal digits, as `list` shows it.")],
) -> None:
    """Serve the releases of one more key, as of another machine that trains."""
    from training.release_keys import trust

    session: CliContext = context.obj
    trust(session.workspace, key)
    _show(session)


@keys_app.command("distrust")
def distrust_command(
    context: typer.Context, key_id: Annotated[str, typer.Argument(help="The key's name, as `list` shows it.")]
) -> None:
    """Load no release of this key any more. One that serves already does so until the service is restarted."""
    from training.release_keys import distrust

    session: CliContext = context.obj
    distrust(session.workspace, key_id)
    _show(session)


def _show(session: CliContext) -> None:
    from training.release_keys import signing_key_id, trusted_keys

    trusted, signs = trusted_keys(session.workspace).keys, signing_key_id(session.workspace)
    if session.json:
        shown = [{"key_id": key_id, "public": key.hex(), "signs": key_id == signs} for key_id, key in trusted.items()]
        typer.echo(json.dumps(shown))
        return
    if not trusted:
        typer.echo("no key is trusted yet; `holdfast release` makes one")
        return
    table = Table("key", "public key", "signs here")
    for key_id, key in trusted.items():
        table.add_row(key_id, key.hex(), "yes" if key_id == signs else "")
    Console(width=120).print(table)
