"""`holdfast demo`: the whole road on a simulated shop, then a running service to play with."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from features.errors import UnavailableError
from features.instants import DAY_US, format_instant
from training.cli.context import CliContext

if TYPE_CHECKING:
    from features.workspace import Workspace
    from training.demo import Call, Shop
    from training.pipeline import Pipelined
    from training.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Option(help="Folder of the demo; what an earlier demo left there is replaced.")
    ] = Path("holdfast-demo"),
    scale: Annotated[float, typer.Option(min=0.01, help="1 is 20,000 customers and more than a million events.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same shop.")] = 7,
    port: Annotated[int, typer.Option(help="Port of the service; another is taken if it is in use.")] = 3000,
    leave: Annotated[
        bool, typer.Option("--exit", help="End when everything was shown, instead of serving on.")
    ] = False,
) -> None:
    """Simulate a shop, train, release, serve, and call the service as a CRM and as a storefront would."""
    from training.demo import beside, free_port, is_alive, prepare, serving, simulate_and_import, tour
    from training.pipeline import run_pipeline
    from training.tracking import code_version, page_command, page_environment

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped, too
    session: CliContext = context.obj
    console = Console(width=None if Console().is_terminal else 110)
    steps = _Steps(console)
    now_us = time.time_ns() // 1_000
    settings = session.settings()
    # the shop's last day is yesterday, so that a score as of now is one of today
    until_today = dataclasses.replace(settings.simulation, scale=scale, end=format_instant(now_us - now_us % DAY_US))
    settings = dataclasses.replace(settings, simulation=until_today)
    workspace = prepare(folder)
    shop = simulate_and_import(workspace, settings, seed, steps)
    made = run_pipeline(
        workspace,
        settings,
        code_version=code_version(),
        who="demo",
        now_us=now_us,
        progress=steps,
    )
    _score_everybody(workspace, settings, steps)
    steps("starting the service")
    page = free_port(5000)
    with serving(workspace, made.released.name, free_port(port)) as base:
        steps("asking it, as a CRM and as a storefront would")
        _show_models(console, shop, made)
        for answered in tour(base, _customer_at_risk(workspace), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())):
            _show_call(console, answered)
        with beside(page_command(workspace, page), page_environment(os.environ), workspace.root / "mlflow-page.log"):
            _what_next(console, workspace, base, page)
            console.print(f"everything above took {time.monotonic() - steps.started:.0f} s")
            if leave:
                return
            console.print("serving on; Ctrl-C ends it")
            with contextlib.suppress(KeyboardInterrupt):
                while is_alive(base):
                    time.sleep(2)
                raise UnavailableError("the service ended; read service.log in the demo's folder")


def _score_everybody(workspace: Workspace, settings: Settings, steps: _Steps) -> None:
    """A snapshot, and from it a file of scores and a book for the service, as every night."""
    from features.churn_features import CHURN_FEATURES
    from training.batch_scorer import ScoreOptions
    from training.batch_scoring import score_job
    from training.feature_jobs import build_features
    from training.reason_choice import ReasonsFor
    from training.score_sources import newest_snapshot

    build_features(workspace, settings.churn, progress=steps)
    score_job(
        workspace,
        workspace.root / "scores.csv",
        settings.churn,
        ScoreOptions(keep_books=settings.scores.keep_books, reasons_for=ReasonsFor("band", band="medium")),
        source=newest_snapshot(workspace, CHURN_FEATURES),
        progress=steps,
    )


class _Steps:
    """Says each step with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self.started = time.monotonic()
        self._console = console
        self._last = ""

    def __call__(self, step: str) -> None:
        if step.startswith(("scored ", "computed ")):  # one line a chunk is too many here
            return
        self._console.print(f"[dim]{time.monotonic() - self.started:6.1f} s[/]  {step}", highlight=False)


def _customer_at_risk(workspace: Workspace) -> str:
    """The customer_id with the highest churn probability of the score file among the eligible."""
    with (workspace.root / "scores.csv").open(newline="", encoding="utf-8") as file:
        eligible = [row for row in csv.DictReader(file) if row["eligible"] == "true"]
    return max(eligible, key=lambda row: (float(row["churn_probability"]), row["customer_id"]))["customer_id"]


def _show_models(console: Console, shop: Shop, made: Pipelined) -> None:
    lines = [f"{shop.n_customers:,} customers, {shop.n_events:,} events; release {made.released.name}"]
    for trained in (made.churn, made.recommender):
        lines += ["", f"[bold]{trained.version.name} {trained.version.version}[/]"]
        lines += [f"  {sentence}" for sentence in trained.sentences]
        lines += [f"  promoted: {reason}" for reason in made.decisions[trained.version.name].reasons]
    console.print(Panel("\n".join(lines), title="the models, judged on a later cut-off"))


def _show_call(console: Console, answered: Call) -> None:
    console.print(f"\n[bold]{answered.who}[/]: {answered.why}")
    console.print(f"  {answered.method} {answered.path}  ->  {answered.status} in {answered.milliseconds:.0f} ms")
    if answered.body is not None:
        console.print(f"  body {json.dumps(answered.body)}", highlight=False)
    console.print(Syntax(json.dumps(_shortened(answered.answer), indent=2), "json", background_color="default"))


def _shortened(answer: object) -> object:
    """The answer as it is, but of lists only the first three."""
    if isinstance(answer, dict):
        return {name: _shortened(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [_shortened(value) for value in answer[:3]] + ([f"... {len(answer) - 3} more"] if answer[3:] else [])
    return answer


def _shown_program() -> str:
    """What to type for `holdfast` here: the path of this very program, relative where it lies below."""
    program = Path(sys.argv[0]).absolute()
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else program.name


def _what_next(console: Console, workspace: Workspace, base: str, page: int) -> None:
    program = _shown_program()
    holdfast = f"{program} -w {workspace.root}"
    console.print(
        Panel(
            f"API page        {base}/docs\n"
            f"metrics         {base}/metrics\n"
            f"MLflow's page   http://127.0.0.1:{page}  (runs, figures, pictures, model cards; up in some seconds)\n"
            f"all scores      {workspace.root / 'scores.csv'}\n\n"
            "what to type next, in another terminal:\n"
            f"  {holdfast} rollout status             which release serves whom\n"
            f"  {holdfast} backtest churn             the model at many past cut-offs\n"
            f"  {holdfast} seal                       what the service accepted goes into the log\n"
            f"  {program} import orders.csv --mapping orders --dry-run      your own orders",
            title="where to look, what to do",
        )
    )
