"""The command `judge-ranking`: what a release's recommender would have earned, told from what was shown."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.context import CliContext

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("judge-ranking")(judge_ranking_command)


def judge_ranking_command(
    context: typer.Context,
    release: Annotated[str | None, typer.Argument(help="A release; by default the newest.")] = None,
    kinds: Annotated[str, typer.Option(help="What counts as a response, with commas.")] = "view,cart,purchase",
    window_days: Annotated[float, typer.Option(help="How long a response may take, from when it was shown.")] = 1.0,
    since: Annotated[
        str | None, typer.Option(help="Decisions from this instant on; by default from when the release was made.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of folds and intervals.")] = 1,
) -> None:
    """Tell from the log what a release's ranking would earn on the places that explored, without showing it to anybody.

    Needs places that explored, impressions with their recommendation_id, and a log that was sealed. Says so where the
    log has hardly seen what the ranking would show.

    Example: `holdfast judge-ranking r-20240301 --kinds purchase --window-days 3`
    """
    import numpy as np

    from features.instants import parse_instant
    from training.logged_recommendations import LoggedRecommendationSettings
    from training.off_policy import OffPolicySettings
    from training.ranking_job import judge_ranking

    session: CliContext = context.obj
    wanted = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    with Console(stderr=True, quiet=session.json).status("starting ...") as status:
        done = judge_ranking(
            session.workspace,
            release,
            rewards=LoggedRecommendationSettings(wanted, window_days, explored_only=True),
            off_policy=OffPolicySettings(),
            rng=np.random.default_rng(seed),
            since_us=None if since is None else parse_instant(since),
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    if session.json:
        written = json.dumps(dataclasses.asdict(done))
        typer.echo(json.dumps(json.loads(written, parse_constant=lambda _: None)))  # an estimate of nothing is null
        return
    report = done.report
    table = Table(title=f"{done.release} on {report.n_rounds:,} explored places, {done.since} to {done.until}")
    for name in ("", "responses per 100", "95%"):
        table.add_column(name, justify="left" if not name else "right")
    for one in (report.logged, *report.estimates):
        table.add_row(one.estimator, f"{100 * one.value:.2f}", f"{100 * one.ci_low:.2f} .. {100 * one.ci_high:.2f}")
    Console().print(table)
    typer.echo(report.verdict)
    typer.echo(
        f"{done.n_not_shown:,} decided places without an impression, {done.n_open:,} with an open window, "
        f"{done.n_unplaced:,} explored at no placement of the release"
    )
