"""A table of customers, one row each, with a label that says who churned: read, understood, and turned into values."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.churn_labels import CHURN_WORDS, read_labels
from features.errors import ConfigurationError, DataError
from features.importing.mapping import Source
from features.importing.readers import read_source
from features.schema import MAX_ID_LENGTH
from features.table_cells import Cells, days, flags, numbers, present, texts
from features.table_features import TableColumn, TableFeatures
from features.table_inference import infer_columns

__all__ = ["EncodedTable", "LabelledTable", "TableForm", "encode", "infer_features", "read_labelled_table"]

_BROKEN_SHARE = 0.01
_UNREAD_SHARE = 0.5
_NAMED = 5


@dataclass(frozen=True)
class TableForm:
    """How the file is written and what its columns are.

    label: None where nobody knows the outcome yet, as when scoring. churned_value: which label means churned; by
    default told by the words people use. ignored: columns not to be learnt from.
    """

    id_column: str
    label: str | None = None
    churned_value: str | None = None
    ignored: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """n customers with an id each.

    customer_ids: string array (n,), distinct, none null. columns: the others, by name. labels: int8 (n,), 1 churned, 0
    stayed, -1 not known. churned_value: the label that means churned, "" without labels. notes: what was left out or
    guessed, in words.
    """

    customer_ids: pa.Array
    columns: dict[str, pa.Array] = field(repr=False)
    labels: npt.NDArray[np.int8] = field(repr=False)
    churned_value: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.customer_ids)


@dataclass(frozen=True, eq=False)
class EncodedTable:
    """Values as the model reads them.

    values: float64 (n, f), NaN is missing. unseen: bool (n, f), where a cell holds something that is not of its kind or
    was not there in training; it counts as missing.
    """

    features: TableFeatures
    values: npt.NDArray[np.float64]
    unseen: npt.NDArray[np.bool_]


def read_labelled_table(path: Path, form: TableForm) -> LabelledTable:
    """Read CSV or Parquet, plain or .gz or .zst; rows without an id are left out and counted.

    Raises:
        ConfigurationError: there is no such file or column; the message names columns that look like it.
        DataError: there is no row, an id stands twice, or the label cannot be read; no value of a customer is told.
    """
    rows, notes = _rows(path, form)
    if form.id_column not in rows:
        raise ConfigurationError(_absent("id", form.id_column, rows, _look_like_ids(rows)))
    if form.label is not None and form.label not in rows:
        raise ConfigurationError(_absent("label", form.label, rows, _look_like_labels(rows)))
    unknown = [name for name in form.ignored if name not in rows]
    if unknown:
        raise ConfigurationError(_absent("ignored", unknown[0], rows, ()))
    ids = texts(rows[form.id_column])
    kept = present(ids)
    if not kept.all():
        notes.append(f"{int((~kept).sum()):,} rows have no customer id and were left out")
        ids, rows = ids.filter(pa.array(kept)), {name: cells.filter(pa.array(kept)) for name, cells in rows.items()}
    _check_ids(ids, path, form)
    labels, churned_value = np.full(len(ids), -1, np.int8), ""
    if form.label is not None:
        labels, churned_value = read_labels(rows[form.label], form.label, form.churned_value)
        n_unknown = int((labels < 0).sum())
        if n_unknown:
            notes.append(f"{n_unknown:,} rows have no label: they are not learnt from, and can be scored")
    others = {name: cells for name, cells in rows.items() if name not in {form.id_column, form.label}}
    return LabelledTable(ids, others, labels, churned_value, tuple(notes))


def infer_features(table: LabelledTable, form: TableForm) -> TableFeatures:
    """What the columns are, told by the customers whose label is known.

    Raises:
        DataError: no column can be learnt from.
    """
    known = pa.array(table.labels >= 0)
    columns = {name: cells.filter(known) for name, cells in table.columns.items()}
    learnt, left_out = infer_columns(columns, table.customer_ids.filter(known), form.ignored)
    if not learnt:
        why = "; ".join(f"{one.name}: {one.why}" for one in left_out[:_NAMED]) or "there is no other column"
        raise DataError(f"no column beside the id and the label can be learnt from ({why}); add columns to the table")
    return TableFeatures(form.id_column, form.label or "", table.churned_value, learnt, left_out)


def encode(table: LabelledTable, features: TableFeatures, as_of_us: int) -> EncodedTable:
    """Values of these features as of an instant, from which dates are counted back.

    Raises:
        DataError: a column is missing, or most of what it holds is of another kind than in training.
    """
    absent = [column.name for column in features.columns if column.name not in table.columns]
    if absent:
        more = f" and {len(absent) - _NAMED} others" if len(absent) > _NAMED else ""
        raise DataError(
            f"the table lacks {len(absent)} columns that the model reads: {', '.join(absent[:_NAMED])}{more}; "
            "write them under the names they had in training"
        )
    values = np.empty((len(table), len(features)), np.float64)
    unseen = np.empty((len(table), len(features)), np.bool_)
    for place, column in enumerate(features.columns):
        cells = _cells(table.columns[column.name], column, as_of_us)
        _check_kind(cells, column)
        values[:, place], unseen[:, place] = cells.values, cells.unreadable
    return EncodedTable(features, values, unseen)


def _rows(path: Path, form: TableForm) -> tuple[dict[str, pa.Array], list[str]]:
    batches, n_broken, n_read = [], 0, 0
    source = Source(delimiter=form.delimiter, encoding=form.encoding, multiline=True)
    for batch in read_source(path, source, ()):
        batches.append(batch.rows)
        n_broken += len(batch.broken)
        n_read += batch.n_read
    if n_read == n_broken:
        raise DataError(f"{path.name} holds 0 rows of customers; a header line alone is no table")
    if n_broken > _BROKEN_SHARE * n_read:
        raise DataError(
            f"{n_broken:,} of {n_read:,} rows of {path.name} do not divide into the columns of its header; name the "
            "delimiter, or write the file anew with quotes"
        )
    table = pa.Table.from_batches(batches).combine_chunks()
    columns = {
        name: pa.array([], table.schema.field(name).type) if cells.num_chunks == 0 else cells.chunk(0)
        for name, cells in zip(table.column_names, table.columns, strict=True)
    }
    notes = [f"{n_broken:,} rows do not divide into the columns and were left out"] if n_broken else []
    return columns, notes


def _check_ids(ids: pa.Array, path: Path, form: TableForm) -> None:
    if len(ids) == 0:
        raise DataError(f"no row of {path.name} has a value in the id column {form.id_column}; name another with --id")
    counted = pc.value_counts(ids)
    repeated = counted.filter(pc.greater(counted.field("counts"), 1))
    if len(repeated):
        first = pc.is_in(ids, value_set=repeated.field("values")).index(True).as_py() + 1
        n_rows = pc.sum(repeated.field("counts")).as_py()
        raise DataError(
            f"{len(repeated):,} customer ids of {path.name} stand in {n_rows:,} rows, the first in row {first}; "
            "a table needs one row a customer: keep the newest of each, or name another id column"
        )
    longest = int(pc.max(pc.utf8_length(ids)).as_py())
    if longest > MAX_ID_LENGTH:
        raise DataError(f"an id in column {form.id_column} has {longest} characters; at most {MAX_ID_LENGTH} are taken")


def _absent(what: str, name: str, rows: dict[str, pa.Array], alike: tuple[str, ...]) -> str:
    near = tuple(dict.fromkeys((*alike, *difflib.get_close_matches(name, rows, n=3))))
    told = f"; these look like it: {', '.join(near[:_NAMED])}" if near else f"; there are: {', '.join(list(rows)[:10])}"
    return f"the table has no {what} column {name}{told}"


def _look_like_ids(rows: dict[str, pa.Array]) -> tuple[str, ...]:
    """Columns in which every row has a value of its own."""
    return tuple(name for name, cells in rows.items() if len(pc.unique(texts(cells).drop_null())) == len(cells))


def _look_like_labels(rows: dict[str, pa.Array]) -> tuple[str, ...]:
    """Columns that are named as labels are."""
    return tuple(name for name in rows if any(word in name.lower() for word in CHURN_WORDS))


def _cells(cells: pa.Array, column: TableColumn, as_of_us: int) -> Cells:
    if column.kind == "number":
        return numbers(cells)
    if column.kind == "flag":
        return flags(cells)
    if column.kind == "date":
        return days(cells, as_of_us)
    said = texts(cells)
    codes = pc.index_in(said, value_set=pa.array(column.categories))
    found = codes.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return Cells(found, present(said) & np.isnan(found))


def _check_kind(cells: Cells, column: TableColumn) -> None:
    n_there = cells.n_read + int(cells.unreadable.sum())
    n_unread = n_there - cells.n_read
    if n_unread > _UNREAD_SHARE * n_there:
        raise DataError(
            f"column {column.name} was {column.meaning} in training; {n_unread:,} of the {n_there:,} values it holds "
            "now are not; check that it is the same column"
        )
