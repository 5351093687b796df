"""Commands about the running service: `serve`, `seal`, `rollout`."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from features.errors import ArtefactError
from features.instants import format_instant
from features.workspace import Workspace
from training.cli.context import CliContext

if TYPE_CHECKING:
    from serving.rollouts.state import Change, RolloutState
    from serving.store import Store

__all__ = ["register"]

rollout_app = typer.Typer(no_args_is_help=True, help="Which release serves whom: start, share, finish, rollback.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("serve")(serve_command)
    app.command("seal")(seal_command)
    app.add_typer(rollout_app, name="rollout")


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


@rollout_app.command("start")
def start(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="The challenger, such as r-0123456789ab.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Part of the customers who get it.")] = 0.05,
    why: Annotated[str, typer.Option(help="Kept in the promotion log.")] = "",
    older: Annotated[bool, typer.Option("--older", help="Though it was made before what is served.")] = False,
) -> None:
    """Give a share of customers a second release; each customer stays on one side.

    Example: `holdfast rollout start r-0123456789ab --share 0.1 --why "new season"`
    """
    from serving.rollouts.promotion_log import OLDER_ALLOWED
    from serving.rollouts.state import start_rollout

    session: CliContext = context.obj
    _refuse_unknown(session.workspace, release)
    change = dataclasses.replace(_change(why), figures={OLDER_ALLOWED: 1.0} if older else {})
    _changed(session, lambda store: start_rollout(store, release, share, secrets.token_hex(8), change))


@rollout_app.command("share")
def share_command(
    context: typer.Context,
    share: Annotated[float, typer.Argument(min=0, max=1, help="The new share of customers, at least the one now.")],
    why: Annotated[str, typer.Option(help="Kept in the promotion log.")] = "",
) -> None:
    """Widen the share of the challenger: nobody moves out. It never narrows; `rollback` takes it to nothing.

    Example: `holdfast rollout share 0.5 --why "no complaints in a week"`
    """
    from serving.rollouts.state import set_share

    _changed(context.obj, lambda store: set_share(store, share, _change(why)))


@rollout_app.command("finish")
def finish(context: typer.Context, why: Annotated[str, typer.Option(help="Kept in the promotion log.")] = "") -> None:
    """Make the challenger the champion for everybody."""
    from serving.rollouts.state import finish_rollout

    _changed(context.obj, lambda store: finish_rollout(store, _change(why)))


@rollout_app.command("rollback")
def rollback_command(
    context: typer.Context, why: Annotated[str, typer.Option(help="Kept in the promotion log.")] = ""
) -> None:
    """Take the challenger away at once; without a rollout, go back to the champion before."""
    from serving.rollouts.state import rollback

    _changed(context.obj, lambda store: rollback(store, _change(why)))


@rollout_app.command("status")
def status(context: typer.Context) -> None:
    """What is served, and to whom."""
    from serving.rollouts.state import read_rollout

    session: CliContext = context.obj
    store = _open(session.workspace)
    try:
        _show(session, read_rollout(store))
    finally:
        store.close()


@rollout_app.command("history")
def history(context: typer.Context, limit: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """Every change: who, when, from, to, why."""
    from serving.rollouts.promotion_log import read_history

    session: CliContext = context.obj
    store = _open(session.workspace)
    try:
        rows = read_history(store, limit)
    finally:
        store.close()
    if session.json:
        typer.echo(json.dumps(rows))
        return
    table = Table("when", "who", "action", "champion", "challenger", "share", "why")
    for row in rows:
        after: dict[str, Any] = row["after"]
        challenger = str(after.get("challenger", ""))
        share = f"{after['share']:.0%}" if challenger else ""
        table.add_row(
            format_instant(row["at_us"]), row["who"], row["action"], after["champion"], challenger, share, row["why"]
        )
    Console().print(table)


def _open(workspace: Workspace) -> Store:
    from serving.store import Store

    if not Store.exists(workspace.store):
        raise ArtefactError("the service has no store yet; start it once with `holdfast serve`")
    return Store.open(workspace.store)


def _refuse_unknown(workspace: Workspace, release: str) -> None:
    from serving.releases import known_releases

    known = known_releases(workspace.releases)
    if release not in known:
        raise ArtefactError(f"there is no such release in this workspace; known: {', '.join(known) or 'none'}")


def _change(why: str) -> Change:
    from serving.rollouts.state import Change

    return Change(getpass.getuser(), time.time_ns() // 1_000, why)


def _changed(session: CliContext, change: Any) -> None:
    store = _open(session.workspace)
    try:
        _show(session, change(store))
    finally:
        store.close()


def _show(session: CliContext, state: RolloutState | None) -> None:
    if session.json:
        typer.echo(json.dumps(state.to_dict() if state else None))
    elif state is None:
        typer.echo("nothing is served yet; `holdfast serve` makes the newest release the champion")
    else:
        typer.echo(f"champion {state.champion} (revision {state.revision})")
        if state.challenger:
            typer.echo(f"challenger {state.challenger}, {state.share:.0%} of customers")
        if state.previous:
            typer.echo(f"previous {state.previous}; `holdfast rollout rollback` goes back to it")
