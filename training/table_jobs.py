"""The jobs behind `holdfast train churn --table`: read and understand a table, train, judge, record, register, store.

A table knows one moment and no history. What it says of each customer is kept in the workspace, so that the service
can answer from it; see `training.table_store`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from features.errors import ConfigurationError
from features.instants import format_instant
from features.labelled_table import (
    EncodedTable,
    LabelledTable,
    TableForm,
    encode,
    infer_features,
    read_labelled_table,
)
from features.pseudonyms import Pseudonyms
from features.table_features import TableColumn
from features.workspace import Workspace
from training.churn_recording import record_churn
from training.jobs import Progress, Trained, question_tags, silent
from training.registry import CHURN, Registry
from training.settings import Settings
from training.table_churn import table_problem, train_table
from training.table_store import check_names, store_table
from training.tracking import open_tracking, recorded_run

__all__ = ["TABLE", "ShownColumn", "TableInput", "read_table", "shown_columns", "train_table_job"]

TABLE = "table"
"""The tag `kind` of versions and runs that were made of a table."""

_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class TableInput:
    """A table as read and understood. as_of_us: when it was written; dates count back from there."""

    name: str
    form: TableForm
    table: LabelledTable = field(repr=False)
    encoded: EncodedTable = field(repr=False)
    as_of_us: int


@dataclass(frozen=True)
class ShownColumn:
    """A column as it was understood, for people. kind: `left out` where it is not learnt from, and holds says why."""

    name: str
    kind: str
    holds: str
    missing_share: float | None


def read_table(path: Path, form: TableForm, as_of_us: int) -> TableInput:
    """Read a labelled table and tell the kinds of its columns.

    Raises:
        ConfigurationError: there is no such file or column.
        DataError: a row, an id, the label or a column cannot be used; no value of a customer is told.
    """
    if form.label is None:
        raise ConfigurationError("a table is learnt from by its label; name the column with --label")
    table = read_labelled_table(path, form)
    encoded = encode(table, infer_features(table, form), as_of_us)
    check_names(encoded)
    return TableInput(path.name, form, table, encoded, as_of_us)


def shown_columns(given: TableInput) -> Iterator[ShownColumn]:
    """Every column but the id and the label: those learnt from, then those left out."""
    for place, column in enumerate(given.encoded.features.columns):
        values = given.encoded.values[:, place]
        yield ShownColumn(column.name, column.kind, _holds(column, values), float(np.isnan(values).mean()))
    for one in given.encoded.features.left_out:
        yield ShownColumn(one.name, "left out", one.why, None)


def _holds(column: TableColumn, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    if column.kind == "category":
        return column.meaning
    if column.kind == "flag":
        return f"{column.meaning}: {np.nanmean(values):.0%} yes"
    low, middle, high = np.nanquantile(values, (0.0, 0.5, 1.0))
    return f"{column.meaning}: {low:,.6g} to {high:,.6g}, half below {middle:,.6g}"


def train_table_job(
    workspace: Workspace,
    given: TableInput,
    settings: Settings,
    *,
    horizon_days: int,
    code_version: str,
    progress: Progress = silent,
) -> Trained:
    """Train on a table, judge beside the baselines, record the run, store the table, register a challenger.

    `horizon_days`: how many days after the table was written the label tells of.

    Raises:
        NotEnoughDataError: there are too few customers, or too few of one outcome.
        UnavailableError: the MLflow database is locked; nothing is registered.
    """
    form, features = given.form, given.encoded.features
    churn = dataclasses.replace(settings.churn, problem=table_problem(form.label or "", form.id_column, horizon_days))
    tracking = open_tracking(workspace, wait_seconds=settings.tracking.lock_wait_seconds)
    keys = Pseudonyms.load_or_create(workspace.pseudonym_keys).of_column(given.table.customer_ids)
    tags = {"kind": TABLE, "code_version": code_version, "fingerprint": features.fingerprint()}
    tags |= question_tags(churn.problem)
    with recorded_run(tracking, CHURN, f"churn, table of {len(given.table)} customers", tags) as run:
        run.params({"data": _facts(given), "churn": dataclasses.asdict(churn)})
        progress("fitting and judging the churn model")
        trained = train_table(
            given.encoded, given.table.labels, keys.to_pylist(), churn, as_of_us=given.as_of_us, progress=progress
        )
        progress("recording the run")
        tags |= trained.findings.tags() | {"drift_digest": trained.reference.digest}
        tags |= {"learnt_from": "everybody" if trained.refit else "all but those kept apart to judge by"}
        said = tags | {"question": churn.problem.sentence()}
        digest = record_churn(run, trained, said, table=features)
    progress("storing the table for the service")
    ids = given.table.customer_ids
    stored = store_table(workspace, given.encoded, ids, keys, given.table.labels, given.as_of_us)
    tags |= {"stored_table": stored.name, "test_as_of": format_instant(given.as_of_us)}
    progress("registering the challenger")
    version = Registry(tracking).register(CHURN, run.run_id, digest, tags)
    report = trained.report
    sentences = (*given.table.notes, *trained.sentences)
    return Trained(version, run.run_id, report.metrics(), report.baseline_metrics(), sentences, report)


def _facts(given: TableInput) -> dict[str, object]:
    """What names the data of a run; nothing about any one customer."""
    labels = given.table.labels
    return {
        "n_customers": len(given.table),
        "n_churned": int((labels == 1).sum()),
        "n_stayed": int((labels == 0).sum()),
        "n_columns": len(given.encoded.features),
        "label": given.form.label,
        "churned_value": given.table.churned_value,
        "as_of": format_instant(given.as_of_us),
    }
