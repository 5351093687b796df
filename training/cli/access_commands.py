"""Commands about who may call the service: `access-keys make`, `list`, `revoke`, `rotate`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.instants import DAY_US, format_instant
from training.cli.context import CliContext

if TYPE_CHECKING:
    from serving.access.keys import AccessKey
    from serving.store import Store

__all__ = ["register"]

access_app = typer.Typer(no_args_is_help=True, help="Keys for those who call the service: make, list, revoke, rotate.")

_HOUR_US = DAY_US // 24


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(access_app, name="access-keys")


@access_app.command("make")
def make_command(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="The system that will use it, such as crm; no person, no address.")],
    scopes: Annotated[str, typer.Option(help="Commas between: predict, recommend, events, rollout, admin, audit.")],
    origins: Annotated[
        str | None,
        typer.Option(help="Makes a publishable key, for pages of these origins alone: https://shop.example,..."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="It ends after so many days; without it, never.")] = None,
    per_minute: Annotated[int | None, typer.Option(min=1, help="At most so many calls a minute.")] = None,
    per_day: Annotated[int | None, typer.Option(min=1, help="At most so many calls a day of UTC.")] = None,
) -> None:
    """Make a key and show it, this once: the store keeps only its hash. It works within half a second.

    Example: `holdfast access-keys make --owner crm --scopes predict --days 365`
    """
    from serving.access.keys import RANDOM_BYTES, KeyWish, make_key

    now_us = time.time_ns() // 1_000
    wish = KeyWish(
        owner,
        tuple(part.strip() for part in scopes.split(",") if part.strip()),
        publishable=origins is not None,
        origins=tuple(part.strip() for part in (origins or "").split(",") if part.strip()),
        per_minute=per_minute,
        per_day=per_day,
        expires_us=None if days is None else now_us + days * DAY_US,
    )
    with _store(context.obj) as store:
        _tell_new(context.obj, make_key(store, wish, secrets.token_bytes(RANDOM_BYTES), now_us))


@access_app.command("list")
def list_command(context: typer.Context) -> None:
    """All keys ever made: whose, for what, until when; never the keys themselves."""
    from serving.access.keys import list_keys

    session: CliContext = context.obj
    with _store(session) as store:
        keys = list_keys(store)
    now_us = time.time_ns() // 1_000
    if session.json:
        typer.echo(json.dumps([_described(key, now_us) for key in keys]))
        return
    table = Table("key", "owner", "scopes", "pages", "limits", "until", "state")
    for key in keys:
        shown = _described(key, now_us)
        limits = [f"{shown[name]} {name.replace('_', ' ')}" for name in ("per_minute", "per_day") if shown[name]]
        until = str(shown["expires_at"] or "")
        scopes, origins = " ".join(key.wish.scopes), " ".join(key.wish.origins)
        table.add_row(key.key_id, key.wish.owner, scopes, origins, ", ".join(limits), until, key.state(now_us))
    Console(width=160).print(table)


@access_app.command("revoke")
def revoke_command(
    context: typer.Context, key_id: Annotated[str, typer.Argument(help="The key's name, as `list` shows it.")]
) -> None:
    """End a key for good: within a second no process takes it any more."""
    from serving.access.keys import revoke_key

    with _store(context.obj) as store:
        revoke_key(store, key_id, time.time_ns() // 1_000)
    typer.echo(json.dumps({"revoked": key_id}) if context.obj.json else f"{key_id} is revoked")


@access_app.command("rotate")
def rotate_command(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The key's name, as `list` shows it.")],
    overlap_hours: Annotated[int, typer.Option(min=0, help="So long the old one works beside the new one.")] = 72,
) -> None:
    """Make a key that may do the same; the old one ends after the overlap, in which its users change over."""
    from serving.access.keys import RANDOM_BYTES, rotate_key

    fresh, now_us = secrets.token_bytes(RANDOM_BYTES), time.time_ns() // 1_000
    with _store(context.obj) as store:
        _tell_new(context.obj, rotate_key(store, key_id, fresh, now_us, overlap_hours * _HOUR_US))


@contextmanager
def _store(session: CliContext) -> Iterator[Store]:
    """Made where there is none yet: keys come before the first start of a service that asks for them."""
    from serving.store import Store

    store = Store.open(session.workspace.store)
    try:
        yield store
    finally:
        store.close()


def _tell_new(session: CliContext, key: str) -> None:
    if session.json:
        typer.echo(json.dumps({"key": key, "key_id": key.partition(".")[0]}))
    else:
        typer.echo(f"{key}\nKeep it now: it is shown this once. Callers send it as  Authorization: Bearer KEY")


def _described(key: AccessKey, now_us: int) -> dict[str, object]:
    wish = key.wish
    return {
        "key_id": key.key_id,
        "owner": wish.owner,
        "scopes": wish.scopes,
        "publishable": wish.publishable,
        "origins": wish.origins,
        "per_minute": wish.per_minute,
        "per_day": wish.per_day,
        "created_at": format_instant(key.created_us),
        "expires_at": None if wish.expires_us is None else format_instant(wish.expires_us),
        "state": key.state(now_us),
    }
