"""Commands about rollouts: which release serves whom, by a plan or by hand, and every change of it."""

from __future__ import annotations

import dataclasses
import getpass
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from features.errors import ArtefactError, ConfigurationError, HoldfastError
from features.instants import format_instant, parse_instant
from training.cli.context import CliContext

if TYPE_CHECKING:
    from serving.rollouts.controller import Decision
    from serving.rollouts.state import Change, RolloutState
    from serving.store import Store

__all__ = ["register"]

rollout_app = typer.Typer(no_args_is_help=True, help="Which release serves whom: by a plan and its gates, or by hand.")

Why = Annotated[str, typer.Option(help="Kept in the promotion log.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(rollout_app, name="rollout")


@rollout_app.command("start")
def start(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="The challenger, such as r-0123456789ab.")],
    plan: Annotated[str, typer.Option(help="A shipped plan, or the path of your own TOML file.")] = "default",
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="No plan: this part of the customers, moved by hand; 0 is a shadow."),
    ] = None,
    why: Why = "",
    older: Annotated[bool, typer.Option("--older", help="Though it was made before what is served.")] = False,
) -> None:
    """Roll a second release out by a plan: a shadow, then wider shares by evidence; each customer stays on one side.

    The running service leads it, and takes it back where a gate breaks.

    Example: `holdfast rollout start r-0123456789ab --why "new season"`
    """
    from serving.releases import known_releases
    from serving.rollouts.plan import load_plan
    from serving.rollouts.promotion_log import OLDER_ALLOWED
    from serving.rollouts.state import start_rollout

    session: CliContext = context.obj
    known = known_releases(session.workspace.releases)
    if release not in known:
        raise ArtefactError(f"there is no such release in this workspace; known: {', '.join(known) or 'none'}")
    followed = None if share is not None else load_plan(plan)
    first = share if followed is None else followed.steps[0].share
    text = None if followed is None else followed.to_json()
    change = dataclasses.replace(_change(why), figures={OLDER_ALLOWED: 1.0} if older else {})
    _changed(session, lambda store: start_rollout(store, release, first or 0.0, secrets.token_hex(8), change, text))


@rollout_app.command("share")
def share_command(
    context: typer.Context,
    share: Annotated[float, typer.Argument(min=0, max=1, help="The new share of customers, at least the one now.")],
    why: Why = "",
) -> None:
    """Widen the share of a challenger without a plan: nobody moves out. It never narrows; `rollback` takes it away.

    Example: `holdfast rollout share 0.5 --why "no complaints in a week"`
    """
    from serving.rollouts.state import set_share

    _changed(context.obj, lambda store: set_share(store, share, _change(why)))


@rollout_app.command("step")
def step_command(context: typer.Context, why: Why = "") -> None:
    """End the step of the plan now, whatever its gates say; the log keeps that it was you, why, and what they said."""
    from serving.rollouts.controller import next_step

    _changed(context.obj, lambda store: next_step(store, _informed(store, _needed(why))))


@rollout_app.command("approve")
def approve_command(context: typer.Context, why: Why = "") -> None:
    """Let a step end that waits for a person; its gates and its time stand all the same."""
    from serving.rollouts.state import approve

    _changed(context.obj, lambda store: approve(store, _informed(store, _change(why))))


@rollout_app.command("pause")
def pause_command(context: typer.Context, why: Why = "") -> None:
    """Keep the plan at its step; a gate that breaks takes the release back all the same."""
    from serving.rollouts.state import pause

    _changed(context.obj, lambda store: pause(store, True, _change(why)))


@rollout_app.command("resume")
def resume_command(context: typer.Context, why: Why = "") -> None:
    """Let a paused plan go on."""
    from serving.rollouts.state import pause

    _changed(context.obj, lambda store: pause(store, False, _change(why)))


@rollout_app.command("promote")
def promote_command(context: typer.Context, why: Why = "") -> None:
    """Make the challenger the champion for everybody now, whatever its gates say."""
    from serving.rollouts.state import finish_rollout

    _changed(context.obj, lambda store: finish_rollout(store, _informed(store, _needed(why))))


@rollout_app.command("rollback")
def rollback_command(context: typer.Context, why: Why = "") -> None:
    """Take the challenger away at once; without a rollout, go back to the champion before."""
    from serving.rollouts.state import rollback

    _changed(context.obj, lambda store: rollback(store, _informed(store, _change(why))))


@rollout_app.command("holdout")
def holdout_command(
    context: typer.Context,
    share: Annotated[float, typer.Argument(min=0, max=0.5, help="Of all customers; meant to be set once.")],
    why: Why = "",
) -> None:
    """How many customers no rollout touches: always the champion, to compare with; 0.05 unless it is said."""
    from serving.rollouts.state import set_holdout

    _changed(context.obj, lambda store: set_holdout(store, share, _change(why)))


@rollout_app.command("status")
def status(context: typer.Context) -> None:
    """What is served and to whom; by a plan, what each gate says and what the step waits for."""
    from serving.rollouts.state import read_rollout

    session: CliContext = context.obj
    with _opened(session) as store:
        state = read_rollout(store)
        _show(session, state, None if state is None else _decision(store, state))


@rollout_app.command("history")
def history(context: typer.Context, limit: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """Every change: who, when, from, to, why."""
    from serving.rollouts.promotion_log import read_history

    session: CliContext = context.obj
    with _opened(session) as store:
        rows = read_history(store, limit)
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


@rollout_app.command("served")
def served(
    context: typer.Context,
    customer: Annotated[str, typer.Argument(help="The customer's own id.")],
    at: Annotated[str | None, typer.Option(help="ISO-8601 with an offset; now, where it is not said.")] = None,
) -> None:
    """Which release served a customer at a time, by the promotion log and the hash.

    Example: `holdfast rollout served 17850 --at 2026-03-01T09:30:00Z`
    """
    from features.pseudonyms import Pseudonyms
    from serving.rollouts.promotion_log import served_at

    session: CliContext = context.obj
    at_us = time.time_ns() // 1_000 if at is None else parse_instant(at)
    key = Pseudonyms.load(session.workspace.pseudonym_keys).of(customer)
    with _opened(session) as store:
        found = served_at(store, key, at_us)
    if found is None:
        raise ArtefactError("nothing was served at that time; the log begins later: holdfast rollout history")
    if session.json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    typer.echo(f"{found.release}, arm {found.arm}, experiment {found.experiment}")
    typer.echo(
        f"by change {found.seq} of {format_instant(found.since_us)}, {found.who}: {found.why or 'no reason given'}"
    )


@rollout_app.command("watch")
def watch(
    context: typer.Context,
    interval_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
) -> None:
    """Lead the rollout from here, as every running service does, and let MLflow's champion follow what is served."""
    from serving.rollouts.controller import Controller
    from training.release_aliases import follow_champion

    session: CliContext = context.obj
    with _opened(session) as store:
        controller = Controller(store, interval_s)
        while True:
            now_us = time.time_ns() // 1_000
            decision = controller.look(now_us)
            if decision is not None:
                typer.echo(f"{format_instant(now_us)} {decision.action}: {decision.why}")
            try:
                for moved in follow_champion(store, session.workspace, getpass.getuser(), now_us):
                    typer.echo(f"{format_instant(now_us)} {moved.name} version {moved.version} is MLflow's champion")
            except HoldfastError as error:  # the registry is behind for now; the next look tries again
                typer.secho(str(error), fg=typer.colors.YELLOW, err=True)
            if once:
                return
            time.sleep(interval_s)


@contextmanager
def _opened(session: CliContext) -> Iterator[Store]:
    from serving.store import Store

    if not Store.exists(session.workspace.store):
        raise ArtefactError("the service has no store yet; start it once with `holdfast serve`")
    store = Store.open(session.workspace.store)
    try:
        yield store
    finally:
        store.close()


def _change(why: str) -> Change:
    from serving.rollouts.state import Change

    return Change(getpass.getuser(), time.time_ns() // 1_000, why)


def _needed(why: str) -> Change:
    """Who overrules the gates says why.

    Raises:
        ConfigurationError: no reason is given.
    """
    if not why.strip():
        raise ConfigurationError('this goes past the gates; say why with --why "..."')
    return _change(why)


def _decision(store: Store, state: RolloutState) -> Decision | None:
    from serving.rollouts.controller import Controller

    return Controller(store, 1.0).status(state, time.time_ns() // 1_000)


def _informed(store: Store, change: Change) -> Change:
    """With what the gates say now, for the log."""
    from serving.rollouts.controller import with_figures
    from serving.rollouts.state import read_rollout

    state = read_rollout(store)
    return change if state is None else with_figures(change, _decision(store, state))


def _changed(session: CliContext, change: Callable[[Store], RolloutState]) -> None:
    with _opened(session) as store:
        _show(session, change(store), None)


def _show(session: CliContext, state: RolloutState | None, decision: Decision | None) -> None:
    if session.json:
        told = None if state is None else state.to_dict()
        if told is not None and decision is not None:
            told |= {"next": {"action": decision.action, "why": decision.why, "gates": decision.figures()}}
        typer.echo(json.dumps(told))
        return
    if state is None:
        typer.echo("nothing is served yet; `holdfast serve` makes the newest release the champion")
        return
    typer.echo(f"champion {state.champion} (revision {state.revision})")
    if state.challenger:
        typer.echo(f"challenger {state.challenger}, {_whom(state)}")
    if state.previous:
        typer.echo(f"previous {state.previous}; `holdfast rollout rollback` goes back to it")
    if decision is not None:
        table = Table("gate", "says", "because")
        for one in decision.verdicts:
            table.add_row(one.gate, one.ruling, one.words)
        Console().print(table)
        typer.echo(f"next: {decision.action}; {decision.why}")


def _whom(state: RolloutState) -> str:
    told = "as a shadow" if state.shadow else f"{state.share:.0%} of customers"
    if state.plan is None:
        return f"{told}, moved by hand"
    told += f", step {state.step + 1}"
    return f"{told}, paused" if state.paused else told
