"""The options of a labelled table, and what is told of it before training: every column as it was understood."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.errors import ConfigurationError
from training.cli.context import CliContext, past_instant
from training.cli.sessions import stages

if TYPE_CHECKING:
    from features.labelled_table import TableForm
    from training.churn_problem import ChurnProblem
    from training.jobs import Trained

__all__ = [
    "AsOf",
    "ChurnedValue",
    "Delimiter",
    "Encoding",
    "GivenLabels",
    "HorizonDays",
    "IdColumn",
    "Ignored",
    "Label",
    "TablePath",
    "table_of",
    "written_at",
]

TablePath = Annotated[
    Path | None, typer.Option("--table", help="A table of customers, CSV or Parquet, instead of the event log.")
]
Label = Annotated[str | None, typer.Option(help="The table's column that says who churned.")]
IdColumn = Annotated[str | None, typer.Option("--id", help="The table's column that names the customer.")]
ChurnedValue = Annotated[
    str | None, typer.Option(help="The label that means churned; default: told by words such as Yes or 1.")
]
Ignored = Annotated[list[str] | None, typer.Option("--ignore", help="A column not to learn from; repeat for more.")]
HorizonDays = Annotated[
    int | None, typer.Option(min=1, help="Days that the label looks ahead, as answers say them. Default: 30.")
]
AsOf = Annotated[
    str | None,
    typer.Option("--table-as-of", help="When the table was written; its dates count from there. Default: now."),
]
Delimiter = Annotated[str, typer.Option(help="Of the table.")]
Encoding = Annotated[str, typer.Option(help="Of the table.")]

_HORIZON_DAYS = 30


@dataclass(frozen=True)
class GivenLabels:
    """A labelled table as named on the command line."""

    path: Path
    form: TableForm
    horizon_days: int
    as_of_us: int

    def refuse(self, others: Mapping[str, object]) -> None:
        """Refuse options that speak of an event log.

        Raises:
            ConfigurationError: one is given.
        """
        given = [name for name, value in others.items() if value]
        if given:
            raise ConfigurationError(f"{given[0]} is for an event log and has no meaning for a table; leave it out")

    def train(self, session: CliContext) -> tuple[Trained, list[dict[str, object]]]:
        """Read the table, show how it was understood, train, register; gives the columns as JSON too."""
        from training.table_jobs import read_table, shown_columns, train_table_job
        from training.tracking import code_version

        settings = session.settings()
        with stages(session) as progress:
            progress("reading the table")
            read = read_table(self.path, self.form, self.as_of_us)
            columns = list(shown_columns(read))
            if not session.json:
                table = Table("column", "kind", "holds", "missing")
                for one in columns:
                    share = "" if one.missing_share is None else f"{one.missing_share:.1%}"
                    table.add_row(one.name, one.kind, one.holds, share)
                Console().print(table)
            trained = train_table_job(
                session.workspace,
                read,
                settings,
                horizon_days=self.horizon_days,
                code_version=code_version(),
                progress=progress,
            )
        return trained, [asdict(one) for one in columns]


def table_of(
    path: Path | None,
    label: str | None,
    id_column: str | None,
    churned_value: str | None,
    ignored: list[str] | None,
    horizon_days: int | None,
    as_of: str | None,
    delimiter: str,
    encoding: str,
    problem: str | None = None,
) -> GivenLabels | None:
    """The table that is named, or None where none is; what is not named is taken from `problem`, of kind label.

    Raises:
        ConfigurationError: its label or id is not named, its options are given without it, or the problem is about an
            event log.
    """
    told: dict[str, object] = {
        "--label": label,
        "--id": id_column,
        "--churned-value": churned_value,
        "--ignore": ignored,
    }
    told |= {"--horizon-days": horizon_days, "--table-as-of": as_of}
    if path is None:
        given = [name for name, value in told.items() if value]
        if given:
            raise ConfigurationError(f"{given[0]} speaks of a table; name the file with --table")
        return None
    if problem is not None:
        asked = _label_problem(problem)
        label, id_column = label or asked.label_column, id_column or asked.id_column or None
        horizon_days = horizon_days or asked.label_window_days
    if label is None or id_column is None:
        lacking = "--label" if label is None else "--id"
        raise ConfigurationError(f"a table needs {lacking} and a column's name: who churned, and who the customer is")
    from features.labelled_table import TableForm

    form = TableForm(id_column, label, churned_value, tuple(ignored or ()), delimiter, encoding)
    return GivenLabels(path, form, horizon_days or _HORIZON_DAYS, written_at(as_of))


def written_at(as_of: str | None) -> int:
    """When a table was written, microseconds: as told, or now."""
    told = past_instant(as_of)
    return time.time_ns() // 1_000 if told is None else told


def _label_problem(name_or_path: str) -> ChurnProblem:
    from training.churn_problem import load_problem

    asked = load_problem(name_or_path)
    if asked.kind != "label":
        raise ConfigurationError(
            f"the churn problem {asked.name} is of kind {asked.kind} and asks an event log; for a table write one of "
            "kind label, or leave out --problem and name --label and --id"
        )
    return asked
