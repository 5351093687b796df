"""Items and customers from a file whose columns have our own names (and `customer_id` for the customer)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.errors import ConfigurationError, DataError
from features.importing.customers import CustomersMet
from features.importing.mapping import Source, TimeForm
from features.importing.money import whole_numbers
from features.importing.quarantine import Quarantine
from features.importing.readers import SourceBatch, read_source
from features.importing.report import ImportReport
from features.importing.tallies import Tallies
from features.importing.times import instants
from features.importing.transform import SourceColumns
from features.pseudonyms import Pseudonyms
from features.schema import CUSTOMERS, ITEMS, TableSchema
from features.tables import IDENTITIES, upsert
from features.validation import Findings, judge
from features.workspace import Workspace

__all__ = ["import_table"]

_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


def import_table(
    source: Path,
    schema: TableSchema,
    workspace: Workspace,
    *,
    max_quarantined_share: float = 0.05,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Insert or replace items or customers from a file; columns that the table does not have are passed over.

    A null in the file keeps what is known already. Of rows with equal keys the last counts, the others are
    duplicates. `schema` is ITEMS or CUSTOMERS.

    Raises:
        ConfigurationError: the file is absent or of no known format, or the schema is another one.
        DataError: the file lacks the key, cannot be read, or too many of its rows are bad; nothing has changed.
    """
    if schema not in (ITEMS, CUSTOMERS):
        raise ConfigurationError(f"table {schema.name} is not imported like this; choose items or customers")
    new_key = not workspace.pseudonym_keys.exists()
    pseudonyms = Pseudonyms.fresh() if new_key else Pseudonyms.load(workspace.pseudonym_keys)
    met, tallies, quarantine = CustomersMet(pseudonyms), Tallies(), Quarantine(workspace.quarantine, source.name)
    kept = None
    try:
        rows = _read(source, schema, tallies, None if dry_run else quarantine, progress)
        tallies.check_share(max_quarantined_share)
        if schema is CUSTOMERS:
            rows = rows.set_column(0, "customer_key", met.keys(rows["customer_key"].combine_chunks()))
        if not dry_run:
            _write(rows, schema, workspace, met, pseudonyms if new_key else None)
            kept = quarantine.keep()
    except BaseException:
        quarantine.discard()
        raise
    n_keys = len(rows[schema.key].unique())
    return ImportReport(
        source=source.name, table=schema.name, dry_run=dry_run, n_read=tallies.n_read, n_accepted=n_keys,
        n_duplicates=rows.num_rows - n_keys, n_quarantined=tallies.n_quarantined, n_dropped=0, dropped=(),
        reasons=tallies.reasons(), n_customers=n_keys if schema is CUSTOMERS else 0,
        n_items=n_keys if schema is ITEMS else 0, first_occurred_us=None, last_occurred_us=None, log_version=None,
        quarantine_file=kept,
    )  # fmt: skip


def _read(
    source: Path,
    schema: TableSchema,
    tallies: Tallies,
    quarantine: Quarantine | None,
    progress: Callable[[int], None] | None,
) -> pa.Table:
    """The valid rows of the whole file; the outside id stands in customer_key."""
    names = tuple("customer_id" if name == "customer_key" else name for name in schema.names)
    parts = [schema.arrow.empty_table()]
    for batch in read_source(source, Source(), names):
        rows, findings = _judged(batch, schema)
        found = findings.table(batch.numbers)
        tallies.add_read(batch, found)
        if quarantine is not None:
            quarantine.add_broken(batch)
            quarantine.add(batch, found, np.flatnonzero(findings.codes).tolist())
        if progress is not None:
            progress(tallies.n_read)
        parts.append(rows)
    return pa.concat_tables(parts)


def _write(
    rows: pa.Table, schema: TableSchema, workspace: Workspace, met: CustomersMet, new_key: Pseudonyms | None
) -> None:
    if schema is ITEMS:
        upsert(workspace.items, ITEMS, rows, keep_known=True)
        return
    if new_key is not None:
        new_key.save(workspace.pseudonym_keys)
    workspace.identities.mkdir(parents=True, exist_ok=True, mode=0o700)
    upsert(workspace.identities, IDENTITIES, met.identities())
    upsert(workspace.customers, CUSTOMERS, rows, keep_known=True)


def _judged(batch: SourceBatch, schema: TableSchema) -> tuple[pa.Table, Findings]:
    """The valid rows of a batch in the schema's columns (the outside id standing in customer_key), and findings."""
    columns, findings = SourceColumns(batch.rows), Findings(batch.rows.num_rows)
    arrays = []
    for column in schema.columns:
        name = "customer_id" if column.name == "customer_key" else column.name
        if name not in columns:
            if column.required:
                raise DataError(f"the source has no column {name}, which table {schema.name} needs")
            arrays.append(pa.nulls(len(columns), column.type))
        else:
            arrays.append(_converted(columns, name, column.type, findings))
    rows = pa.table(arrays, names=list(schema.names))
    judged = judge(rows, schema)
    judged.rename("customer_key", "customer_id")
    findings.add(judged, np.arange(len(columns)))
    return rows.filter(pa.array(findings.fine)).cast(schema.arrow), findings


def _converted(columns: SourceColumns, name: str, kind: pa.DataType, findings: Findings) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return instants(columns[name], TimeForm(), name, findings)
    if pa.types.is_integer(kind):
        values, there = whole_numbers(columns[name], name, findings)
        return pa.array(values, mask=~there)
    text = columns.text(name)
    if not pa.types.is_boolean(kind):
        return text
    words = [None if word is None else word.lower() for word in text.to_pylist()]
    wrong = np.array([word is not None and word not in _YES + _NO for word in words], np.bool_)
    findings.mark(wrong, name, "is neither true nor false")
    return pa.array([None if word not in _YES + _NO else word in _YES for word in words], pa.bool_())
