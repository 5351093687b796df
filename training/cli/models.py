"""Commands about models: `train`, `backtest`, `promote`, `release`; the modules beside hold the other commands."""

from __future__ import annotations

import getpass
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from training.cli import comparing, feature_commands, monitoring, ranking_commands, scoring, warning_commands
from training.cli.context import CliContext
from training.cli.sessions import open_registry, stages
from training.cli.table_options import (
    AsOf,
    ChurnedValue,
    Delimiter,
    Encoding,
    HorizonDays,
    IdColumn,
    Ignored,
    Label,
    TablePath,
    table_of,
)
from training.cli.tuning_options import Minutes, Trials, Tune, tuner_of

if TYPE_CHECKING:
    from training.jobs import Trained

__all__ = ["NOT_PROMOTED", "register"]

NOT_PROMOTED = 7
"""Exit code of `promote` where the figures do not carry a promotion."""

train_app = typer.Typer(no_args_is_help=True, help="Train a model, judge it, register it as the challenger.")


class Model(StrEnum):
    """The models there are, by the word that commands take."""

    churn = "churn"
    recommender = "recommender"

    @property
    def registered(self) -> str:
        """The name in the registry."""
        return f"holdfast-{self.value}"


_Model = Annotated[Model, typer.Argument(help="Which model.")]
_Problem = Annotated[
    str | None,
    typer.Option(help="The churn question: silence, cycle, cancel, or your own TOML file; default: of the settings."),
]
_Version = Annotated[str, typer.Argument(help="A version number, challenger or champion.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module and of those beside it on models, features and scores."""
    app.add_typer(train_app, name="train")
    app.command("backtest")(backtest_command)
    app.command("promote")(promote_command)
    app.command("release")(release_command)
    comparing.register(app)
    monitoring.register(app)
    feature_commands.register(app)
    scoring.register(app)
    warning_commands.register(app)
    ranking_commands.register(app)


@train_app.command("churn")
def train_churn_command(
    context: typer.Context,
    problem: _Problem = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Judge the recipe at 6 to 8 cut-offs too, and show them in the card.")
    ] = False,
    tune: Tune = False,
    tune_minutes: Minutes = None,
    trials: Trials = None,
    table: TablePath = None,
    label: Label = None,
    id_column: IdColumn = None,
    churned_value: ChurnedValue = None,
    ignore: Ignored = None,
    horizon_days: HorizonDays = None,
    table_as_of: AsOf = None,
    delimiter: Delimiter = ",",
    encoding: Encoding = "utf-8",
) -> None:
    """Train the churn model on the event log, or on a table with a label, and register it as the challenger.

    Example: `holdfast train churn && holdfast promote churn`, or `holdfast train churn --problem cycle`,
    or `holdfast train churn --tune --tune-minutes 5 --trials 40`,
    or `holdfast train churn --table customers.csv --label Churn --id customerID`
    """
    from training.jobs import train_churn_job
    from training.tracking import code_version

    session: CliContext = context.obj
    given = table_of(
        table, label, id_column, churned_value, ignore, horizon_days, table_as_of, delimiter, encoding, problem
    )
    if given is not None:
        given.refuse({"--backtest": backtest, "--tune": tune})
        _show_trained(session, *given.train(session))
        return
    with stages(session) as progress:
        settings = session.settings(problem)
        trained = train_churn_job(
            session.workspace,
            settings,
            code_version=code_version(),
            backtest=backtest,
            tuner=tuner_of(settings, tune, tune_minutes, trials, progress),
            progress=progress,
        )
    _show_trained(session, trained)


@train_app.command("recommender")
def train_recommender_command(context: typer.Context) -> None:
    """Train the recommender on the event log and register it as the challenger.

    Example: `holdfast train recommender && holdfast promote recommender`
    """
    from training.jobs import train_recommender_job
    from training.tracking import code_version

    session: CliContext = context.obj
    with stages(session) as progress:
        trained = train_recommender_job(
            session.workspace, session.settings(), code_version=code_version(), progress=progress
        )
    _show_trained(session, trained)


@train_app.command("all")
def train_all_command(context: typer.Context, problem: _Problem = None) -> None:
    """Train both models, promote them by the rule, make a release of the champions and build a feature snapshot.

    Example: `holdfast import orders.csv --mapping orders && holdfast train all && holdfast serve`
    """
    from training.feature_jobs import build_features
    from training.pipeline import run_pipeline
    from training.tracking import code_version

    session: CliContext = context.obj
    with stages(session) as progress:
        made = run_pipeline(
            session.workspace,
            session.settings(problem),
            code_version=code_version(),
            who=getpass.getuser(),
            now_us=time.time_ns() // 1_000,
            progress=progress,
        )
        build_features(session.workspace, session.settings(problem).churn, progress=progress)
    if session.json:
        promoted = {name: decision.promote for name, decision in made.decisions.items()}
        typer.echo(json.dumps({"release": made.released.name, "tag": made.released.tag, "promoted": promoted}))
        return
    for trained in (made.churn, made.recommender):
        _show_trained(session, trained)
        for reason in made.decisions[trained.version.name].reasons:
            typer.echo(f"  {reason}")
    typer.echo(f"release {made.released.name} is ready; next: holdfast serve")


def backtest_command(
    context: typer.Context,
    model: _Model = Model.churn,
    cutoffs: Annotated[
        int | None, typer.Option(min=1, help="How many; default: 6 to 8 for churn, 3 for the recommender.")
    ] = None,
) -> None:
    """Refit and judge at several cut-offs in the past, as if it were then; registers nothing.

    Example: `holdfast backtest churn`
    """
    session: CliContext = context.obj
    with stages(session) as progress:
        found = _backtest(session, model, cutoffs, progress)
    if session.json:
        rows = [_defined(row) for row in found["rows"]]
        typer.echo(json.dumps({"rows": rows, **{name: found[name] for name in ("skipped", "sentences", "card")}}))
        return
    rows = found["table"]
    table = Table(
        *(Column(name.replace("_", " "), no_wrap=name == "as_of", overflow="fold") for name in rows[0]), padding=(0, 0)
    )
    for row in rows:
        table.add_row(*(value[:10] if name == "as_of" else _cell(value, 3) for name, value in row.items()))
    Console().print(table)
    for sentence in found["sentences"]:
        typer.echo(sentence)
    for sentence in found["skipped"]:
        typer.echo(f"skipped: {sentence}")
    if found["card"]:
        typer.echo(f"report: {found['card']}")


def _backtest(
    session: CliContext, model: Model, cutoffs: int | None, progress: Callable[[str], None]
) -> dict[str, Any]:
    from features.instants import format_instant
    from training.jobs import backtest_churn_job, backtest_recommender_job, recommender_baselines, recommender_metrics
    from training.tracking import code_version

    settings = session.settings()
    if model is Model.churn:
        done = backtest_churn_job(
            session.workspace, settings, code_version=code_version(), cutoffs=cutoffs, progress=progress
        )
        found = done.backtest
        skipped = [why for _, why in found.skipped]
        said = {"skipped": skipped, "sentences": found.sentences, "card": str(done.card)}
        return {"rows": found.rows(), "table": found.table(), **said}
    rows: list[dict[str, Any]] = []
    for report in backtest_recommender_job(session.workspace, settings, cutoffs=cutoffs or 3, progress=progress):
        for source, figures in {"ours": recommender_metrics(report), **recommender_baselines(report)}.items():
            shown = {name: figures[name] for name in ("ndcg_at_10", "recall_at_20", "hit_rate_at_10")}
            as_of = format_instant(report.as_of_us)
            rows.append({"as_of": as_of, "model": source, "customers": report.n_judged, **shown})
    return {"rows": rows, "table": rows, "skipped": [], "sentences": (), "card": ""}


def promote_command(
    context: typer.Context,
    model: _Model,
    version: Annotated[str, typer.Option(help="A version number, or challenger.")] = "challenger",
    force: Annotated[bool, typer.Option("--force", help="Promote against the figures; needs --why.")] = False,
    why: Annotated[str, typer.Option(help="Kept with the promotion.")] = "",
) -> None:
    """Make the challenger the champion if the figures carry it. Exit code 7: they do not, and nothing was changed.

    Figures decide; where chance explains a difference, the reasons say so, and are kept with the promotion. To promote
    all the same, a first champion that a baseline equals say: `--force --why "..."`.

    Example: `holdfast promote churn`, or `holdfast promote churn --force --why "new label window"`
    """
    from features.errors import ConfigurationError
    from training.comparing import decide_promotion
    from training.promotion import force as forced

    if force and not why.strip():
        raise ConfigurationError("--force needs --why and a reason; it is kept with the promotion")
    session: CliContext = context.obj
    settings = session.settings()
    registry = open_registry(session, settings)
    chosen = registry.version(model.registered, version)
    with stages(session) as progress:
        decision = decide_promotion(session.workspace, registry, chosen, settings, progress)
    if force:
        decision = forced(decision, why)
    if decision.promote:
        registry.promote(chosen, decision, who=getpass.getuser(), at_us=time.time_ns() // 1_000)
    if session.json:
        figures = _defined(decision.figures)
        outcome = {"promoted": decision.promote, "version": chosen.version, "forced": decision.forced}
        typer.echo(json.dumps({**outcome, "reasons": decision.reasons, "figures": figures}))
    else:
        typer.echo(
            f"{chosen.name} {chosen.version} {'is now the champion' if decision.promote else 'was not promoted'}"
        )
        for reason in decision.reasons:
            typer.echo(f"  {reason}")
        if not decision.promote:
            which = "" if version == "challenger" else f" --version {version}"
            typer.echo(f'to promote it all the same: holdfast promote {model.value}{which} --force --why "..."')
    if not decision.promote:
        raise typer.Exit(NOT_PROMOTED)


def release_command(
    context: typer.Context,
    churn_version: Annotated[str, typer.Option(help="A version number or alias.")] = "champion",
    recommender_version: Annotated[str, typer.Option(help="A version number or alias.")] = "champion",
) -> None:
    """Assemble a release from the champions, verify it, and copy it into BentoML's model store.

    Example: `holdfast release`, then `holdfast serve`
    """
    from features.churn_features import CHURN_FEATURES
    from training.releasing import release

    session: CliContext = context.obj
    settings = session.settings()
    with stages(session) as progress:
        progress("assembling and verifying the release")
        made = release(
            session.workspace,
            open_registry(session, settings),
            CHURN_FEATURES,
            settings.release,
            created_at_us=time.time_ns() // 1_000,
            churn=churn_version,
            recommender=recommender_version,
            costs=settings.churn.costs,
        )
    if session.json:
        shown = {"name": made.name, "folder": str(made.folder), "tag": made.tag, "provenance": made.provenance}
        typer.echo(json.dumps(shown))
    else:
        typer.echo(f"release {made.name} in {made.folder}; BentoML's model store has it as {made.tag}")


def _show_trained(session: CliContext, trained: Trained, columns: Sequence[Mapping[str, object]] | None = None) -> None:
    version = trained.version
    if session.json:
        shown = {
            "model": version.name,
            "version": version.version,
            "run_id": trained.run_id,
            "metrics": _defined(trained.metrics),
            "baselines": {name: _defined(figures) for name, figures in trained.baselines.items()},
            "sentences": trained.sentences,
        }
        typer.echo(json.dumps(shown if columns is None else {**shown, "columns": columns}))
        return
    typer.echo(f"{version.name} {version.version} is registered as the challenger (run {trained.run_id})")
    everyone: Sequence[tuple[str, Mapping[str, float]]] = [("ours", trained.metrics), *trained.baselines.items()]
    table = Table("figure", *(name for name, _ in everyone))
    for name in trained.metrics:
        if all(name in figures for _, figures in everyone):
            table.add_row(name, *(_cell(figures[name]) for _, figures in everyone))
    Console().print(table)
    for sentence in trained.sentences:
        typer.echo(sentence)
    typer.echo(f"model card: {version.folder.parent / 'card' / 'card.html'}")


def _cell(value: object, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("_", " ")


def _defined(figures: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: an undefined figure is null."""
    undefined = {name for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)}
    return {name: None if name in undefined else value for name, value in figures.items()}
