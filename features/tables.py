"""Small keyed tables (items, customers, identities) kept as Delta tables: read whole, changed by key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from features.errors import ArtefactError, DataError, UnavailableError
from features.schema import Column, TableSchema
from features.validation import validate

__all__ = ["IDENTITIES", "read_table", "upsert"]

IDENTITIES = TableSchema(
    "identities",
    "customer_key",
    (
        Column("customer_key", pa.string(), "keyed pseudonym of the customer", True),
        Column("customer_id", pa.string(), "the shop's own id of the customer; it stands in no other table", True),
    ),
)


def read_table(path: Path, schema: TableSchema) -> pa.Table:
    """Every row of the table at `path`, in the schema's columns, sorted by key; no rows if there is no table.

    Raises:
        ArtefactError: what is at `path` cannot be read as this table.
    """
    if not path.exists():
        return schema.arrow.empty_table()
    try:
        rows = DeltaTable(path).to_pyarrow_table(columns=list(schema.names))
    except TableNotFoundError:
        return schema.arrow.empty_table()
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise ArtefactError(f"the {schema.name} table cannot be read ({type(error).__name__}); restore it") from None
    return rows.cast(schema.arrow).sort_by(schema.key)


def upsert(path: Path, schema: TableSchema, rows: pa.Table, *, keep_known: bool = False) -> int:
    """Insert rows, or replace those whose key is there already, in one commit; of equal keys the last row wins.

    Nothing is written if nothing would change. With `keep_known` a null in a given row keeps what is known already.
    Returns the number of rows that were given, repeats of a key not counted; 0 if nothing changed.

    Raises:
        DataError: a row breaks a rule of the schema; nothing is written.
        UnavailableError: the table is locked, or another writer was faster.
    """
    judged = validate(rows, schema)
    if judged.quarantined.num_rows:
        first = judged.quarantined.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"{judged.quarantined.num_rows} of {rows.num_rows} rows of table {schema.name} break its schema; "
            f"the first is row {first['row']}: {first['field']} {first['reason']}"
        )
    given = _last_of_each_key(judged.accepted.cast(schema.arrow), schema)
    before = read_table(path, schema)
    if keep_known:
        given = _filled(given, before, schema)
    untouched = before.filter(pc.invert(pc.is_in(before[schema.key], given[schema.key].combine_chunks())))
    after = pa.concat_tables([untouched, given]).sort_by(schema.key)
    if after.equals(before):
        return 0
    path.mkdir(parents=True, exist_ok=True)
    try:
        write_deltalake(path, after, mode="overwrite")
    except (CommitFailedError, OSError) as error:
        raise UnavailableError(
            f"the {schema.name} table is locked or was changed by another writer ({type(error).__name__}); try again"
        ) from None
    return len(given)


def _last_of_each_key(rows: pa.Table, schema: TableSchema) -> pa.Table:
    codes = rows[schema.key].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, from_the_end = np.unique(codes[::-1], return_index=True)
    return rows.take(pa.array(np.sort(len(codes) - 1 - from_the_end)))


def _filled(given: pa.Table, before: pa.Table, schema: TableSchema) -> pa.Table:
    known = before.take(pc.index_in(given[schema.key], value_set=before[schema.key].combine_chunks()))
    return pa.table([pc.coalesce(given[name], known[name]) for name in schema.names], schema=schema.arrow)
