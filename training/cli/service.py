"""Commands about the running service: `serve`, `seal`."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from features.errors import ArtefactError
from features.workspace import Workspace
from training.cli.context import CliContext

if TYPE_CHECKING:
    from serving.store import Store

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("serve")(serve_command)
    app.command("seal")(seal_command)


def serve_command(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(envvar="HOLDFAST_PORT", help="Port on the loopback interface, or on --host.")
    ] = 3000,
    host: Annotated[
        str, typer.Option(envvar="HOLDFAST_HOST", help="Interface; other than loopback is open to others.")
    ] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, envvar="HOLDFAST_WORKERS", help="Worker processes.")] = 1,
    store: Annotated[
        str | None, typer.Option(help="URL of a PostgreSQL database in place of the workspace's file.")
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(help="Start the service's clock here (ISO-8601 with offset): for a log that ended in the past."),
    ] = None,
) -> None:
    """Serve the champion release over HTTP until Ctrl-C; on the first start, the newest release becomes champion.

    Every setting of the service (`HOLDFAST_...`, see docs/operations.md) is read from the environment.

    Example: `holdfast serve --port 3000`, then open http://127.0.0.1:3000/docs
    """
    from features.instants import parse_instant
    from serving.releases import newest_release
    from serving.settings import serve_command as command_of
    from serving.settings import service_settings

    session: CliContext = context.obj
    given = service_settings({**os.environ, "HOLDFAST_WORKSPACE": str(session.workspace.root)})
    settings = dataclasses.replace(
        given,
        release=given.release or newest_release(session.workspace.releases),
        host=host,
        port=port,
        workers=workers,
        store=store or session.workspace.store_url,
        clock_shift_us=given.clock_shift_us if now is None else parse_instant(now) - time.time_ns() // 1_000,
    )
    command = command_of(settings)
    typer.echo(f"serving {settings.release} on http://{host}:{port} (API page: /docs, state: /readyz); Ctrl-C stops it")
    if not settings.asks_for_keys:
        typer.secho(settings.openness, fg=typer.colors.YELLOW, err=True)
    elif settings.tokens is None:
        typer.echo("callers show a key; holdfast access-keys make gives one")
    os.execve(command.argv[0], list(command.argv), os.environ | command.env)  # noqa: S606 - our own command, no shell


def seal_command(context: typer.Context) -> None:
    """Move the events that the service accepted into the event log, so that the next training sees them.

    Without an event log, as where a labelled table alone was learnt from, nothing is moved and nothing lost.
    """
    from features.event_log import EventLog
    from serving.met_customers import MetCustomers
    from serving.sealing import count_unsealed, seal

    session: CliContext = context.obj
    store = _open(session.workspace)
    try:
        if not session.workspace.event_log.exists():
            raise ArtefactError(
                f"this workspace has no event log to seal into; {count_unsealed(store):,} accepted events stay in the "
                "service's store, and nothing is lost. Make a log with holdfast import and seal again; a model of a "
                "labelled table learns from no events and needs no sealing"
            )
        sealed = seal(store, EventLog.open(session.workspace.event_log))
    finally:
        store.close()
    n_met = MetCustomers(session.workspace.met_identities).fold_into(session.workspace.identities)
    if session.json:
        told = {"sealed": sealed.n_sealed, "known": sealed.n_known, "new_customers": n_met}
        typer.echo(json.dumps(told | {"log_version": sealed.version}))
    else:
        typer.echo(f"{sealed.n_sealed:,} events sealed, {sealed.n_known:,} known already; log version {sealed.version}")
        typer.echo(f"{n_met:,} customers were met by the service first; their ids are kept now with the others")


def _open(workspace: Workspace) -> Store:
    from serving.store import Store

    if not Store.exists(workspace.store):
        raise ArtefactError("the service has no store yet; start it once with `holdfast serve`")
    return Store.open(workspace.store)
