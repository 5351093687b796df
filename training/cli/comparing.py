"""The command `compare`: two versions judged on the same customers, or who changes band between two releases."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from training.cli.context import CliContext, past_instant
from training.cli.sessions import open_registry, stages

if TYPE_CHECKING:
    from training.release_moves import ReleaseMoves

__all__ = ["register"]

_MODELS = {"churn": "holdfast-churn", "recommender": "holdfast-recommender"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare_command)


def compare_command(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[churn|recommender] A B",
            help="Two releases, or versions of the churn model: who changes band, and why. With churn or recommender "
            "before them two versions (by default challenger and champion): which is better on the same customers.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Write the customers who change band to this CSV.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Exclusive instant with an offset; default: after the last recorded event.")
    ] = None,
) -> None:
    """Who changes band between two releases, and why; or which of two versions is better.

    Example: `holdfast compare r-1f00c5 r-77ab21 --out movers.csv`, or `holdfast compare churn 3 2`
    """
    from features.errors import ConfigurationError

    session: CliContext = context.obj
    if what[0] in _MODELS:
        versions = what[1:] + ["challenger", "champion"][len(what) - 1 :]
        if len(versions) != 2:
            raise ConfigurationError(f"compare {what[0]} takes two versions, not {len(what) - 1}")
        _compare_quality(session, what[0], *versions)
    elif len(what) != 2:
        raise ConfigurationError(
            f"compare takes two releases or two versions of the churn model, not {len(what)}; or a model's name and "
            "two versions"
        )
    else:
        _compare_bands(session, what[0], what[1], out, past_instant(as_of))


def _compare_quality(session: CliContext, model: str, first: str, second: str) -> None:
    from training.comparing import compare_versions

    settings = session.settings()
    registry = open_registry(session, settings)
    ours, theirs = registry.version(_MODELS[model], first), registry.version(_MODELS[model], second)
    with stages(session) as progress:
        found = compare_versions(session.workspace, registry, ours, theirs, settings, progress)
    rule = settings.promotion.churn if model == "churn" else settings.promotion.recommender
    both = (found.challenger, found.champion)
    if session.json:
        measured = [{"name": m.name, "slice": m.slice_name, "metrics": _defined(m.metrics)} for m in both]
        difference = [bound if math.isfinite(bound) else None for bound in found.difference]
        typer.echo(json.dumps({"metric": rule.metric, "difference": difference, "versions": measured}))
        return
    table = Table("figure", *(m.name for m in both), title=found.challenger.slice_name)
    for name in found.challenger.metrics:
        if name in found.champion.metrics and not name.startswith("baseline."):
            table.add_row(name, *(f"{m.metrics[name]:.4f}" for m in both))
    Console().print(table)
    low, high = found.difference
    typer.echo(f"{rule.metric}: {both[0].name} minus {both[1].name} lies in {low:+.4f} to {high:+.4f} (95%)")


def _compare_bands(session: CliContext, first: str, second: str, out: Path | None, as_of_us: int | None) -> None:
    from training.release_moves import compare_releases, contender, write_movers

    settings = session.settings()
    registry = open_registry(session, settings)
    sides = [contender(name, session.workspace, registry, settings) for name in (first, second)]
    with stages(session) as progress:
        found = compare_releases(session.workspace, sides[0], sides[1], settings, as_of_us=as_of_us, progress=progress)
        written = None if out is None else write_movers(session.workspace, found, out)
    if session.json:
        typer.echo(json.dumps({**found.to_json(), "out": None if out is None else str(out), "written": written}))
        return
    _show(found)
    if out is not None:
        typer.echo(f"{written:,} customers who change band, in {out}")


def _show(found: ReleaseMoves) -> None:
    said = found.to_json()
    console = Console()
    bands = list(said["table"])
    table = Table(f"{said['first']} | {said['second']}", *bands, title=f"customers at {said['as_of'][:10]}")
    for before, row in said["table"].items():
        table.add_row(before, *(f"{row[after]:,}" for after in bands))
    console.print(table)
    for sentence in said["sentences"]:
        typer.echo(sentence)
    if said["transitions"]:
        why = Table("from", "to", "customers", "by cut-offs alone", "mean rise", "what moved them most (log-odds)")
        for row in said["transitions"]:
            causes = ", ".join(
                f"{cause['reason'].replace('_', ' ')} {cause['log_odds']:+.2f}" for cause in row["causes"]
            )
            cells = (f"{row['customers']:,}", f"{row['by_cutoffs']:,}", f"{row['mean_rise']:+.3f}", causes)
            why.add_row(row["before"], row["after"], *cells)
        console.print(why)
        typer.echo("Level for all: what the base rate, the calibration and the season moved for everybody alike.")


def _defined(figures: Any) -> dict[str, Any]:
    """JSON has no NaN: an undefined figure is null."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
