"""A copy of the store, of which any store can be made again: one Parquet file a table, and a manifest of their hashes.

It is taken of one moment while the service goes on, from SQLite and PostgreSQL alike, and goes back into either. A
restored store is verified row by row before it is committed; one that differs leaves the target as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from features.instants import format_instant
from serving import strict_json
from serving.migrations import HEAD, VERSIONS_TABLE, migrate
from serving.store import Store
from serving.store_schema import metadata

__all__ = ["Backup", "TableCopy", "back_up", "restore"]

MANIFEST = "manifest.json"
_FORMAT = "holdfast-store-1"
_ROWS = 5_000
_COUNTED = sa.table("sqlite_sequence", sa.column("name", sa.Text()), sa.column("seq", sa.BigInteger()))
_ARROW: dict[type, pa.DataType] = {
    int: pa.int64(),
    str: pa.string(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


@dataclass(frozen=True)
class TableCopy:
    """One table: its rows, the sha256 of them in the order of the primary key, and that of the file.

    `last_number` is the highest number that was ever given to a row, also to one that is gone; 0 where rows have none.
    """

    name: str
    rows: int
    rows_sha256: str
    file_sha256: str
    last_number: int


@dataclass(frozen=True)
class Backup:
    """What a folder holds: the schema's version, the moment (ISO-8601, UTC) and the tables."""

    schema: str
    made_at: str
    tables: tuple[TableCopy, ...]


def back_up(store: Store, folder: Path, made_us: int) -> Backup:
    """Copy the store as it is at one moment into a new folder; all of it, or no folder.

    Raises:
        ConfigurationError: there is something at `folder` already.
        UnavailableError: the store cannot be read now.
        ArtefactError: the store is damaged.
    """
    if folder.exists():
        raise ConfigurationError("there is something of that name already; a backup goes into a new folder")
    store.check()
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with store.snapshot() as connection:
            tables = tuple(_copied(connection, table, begun) for table in metadata.sorted_tables)
        made = Backup(HEAD, format_instant(made_us), tables)
        content = {"format": _FORMAT} | asdict(made)
        _write_synced(begun / MANIFEST, json.dumps(content, indent=1).encode())
        begun.rename(folder)
        _sync(folder.parent)
    except OSError:
        raise UnavailableError("the backup cannot be written; check the disk's space and rights") from None
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return made


def restore(store: Store, folder: Path, *, replace: bool = False) -> Backup:
    """Make the store what the backup holds, in one change; `replace` drops the rows that it has.

    Nothing else may use the store meanwhile. A backup of an older version is brought up to date afterwards.

    Raises:
        ArtefactError: the backup is incomplete, altered, or of a newer version; nothing was changed.
        ConfigurationError: the store holds rows, and `replace` was not asked for.
        UnavailableError: the store is locked; nothing was changed.
    """
    backup = _verified(folder)
    with store.write() as connection:
        held = [table.name for table in metadata.sorted_tables if _n_rows(connection, table)]
        if held and not replace:
            raise ConfigurationError(
                f"the store holds rows already ({', '.join(held)}); take an empty one, or drop them: --replace"
            )
        metadata.drop_all(connection)
        connection.execute(sa.text(f"DROP TABLE {VERSIONS_TABLE}"))
        migrate(connection, backup.schema)
        for copy in backup.tables:
            _fill(connection, copy, folder)
        migrate(connection)
    return backup


def _copied(connection: sa.Connection, table: sa.Table, folder: Path) -> TableCopy:
    schema = pa.schema([(column.name, _ARROW[column.type.python_type]) for column in table.columns])
    path, digest, n_rows = folder / f"{table.name}.parquet", hashlib.sha256(), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _parts(connection, table):
            _add(digest, rows)
            n_rows += len(rows)
            columns = list(zip(*rows, strict=True))
            writer.write_table(pa.table([pa.array(*one) for one in zip(columns, schema.types, strict=True)], schema))
    _sync(path)
    return TableCopy(table.name, n_rows, digest.hexdigest(), _file_digest(path), _last_number(connection, table))


def _parts(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[sa.Row[Any]]]:
    """All rows in the order of the primary key, which for texts is that of their bytes everywhere."""
    collation = "BINARY" if connection.dialect.name == "sqlite" else "C"
    key = [sa.collate(one, collation) if one.type.python_type is str else one for one in table.primary_key]
    query = sa.select(*table.columns).order_by(*key).execution_options(yield_per=_ROWS)
    yield from connection.execute(query).partitions()


def _add(digest: Any, rows: Sequence[sa.Row[Any]]) -> None:
    for row in rows:
        digest.update(repr(tuple(row)).encode())


def _fill(connection: sa.Connection, copy: TableCopy, folder: Path) -> None:
    """Insert the rows and read them again.

    Raises:
        ArtefactError: what the store then holds is not what was copied.
    """
    try:
        table = sa.Table(copy.name, sa.MetaData(), autoload_with=connection)
    except sa.exc.NoSuchTableError:
        raise ArtefactError(f"the backup holds {copy.name}, which its version does not; take another backup") from None
    insert = sa.insert(table)
    with pq.ParquetFile(folder / f"{copy.name}.parquet") as file:
        if file.schema_arrow.names != [column.name for column in table.columns]:
            raise ArtefactError(f"the backup of {copy.name} has other columns than its version; take another backup")
        for batch in file.iter_batches(_ROWS):
            connection.execute(insert, batch.to_pylist())
    digest = hashlib.sha256()
    for rows in _parts(connection, table):
        _add(digest, rows)
    if digest.hexdigest() != copy.rows_sha256:
        raise ArtefactError(f"the rows of {copy.name} came back otherwise than they were copied; nothing was changed")
    _number_from(connection, table, copy.last_number)


def _n_rows(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def _last_number(connection: sa.Connection, table: sa.Table) -> int:
    if "seq" not in table.columns:
        return 0
    given = sa.select(sa.func.max(table.c.seq))
    if connection.dialect.name == "postgresql":
        given = sa.select(sa.func.pg_sequence_last_value(sa.cast(_sequence(table), REGCLASS)))
    elif _counts_on(table):
        given = sa.select(_COUNTED.c.seq).where(_COUNTED.c.name == table.name)
    return int(connection.scalar(given) or 0)


def _number_from(connection: sa.Connection, table: sa.Table, last_number: int) -> None:
    """The next row gets a number above every one that was ever given: readers follow by them."""
    if not last_number:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.setval(sa.cast(_sequence(table), REGCLASS), last_number)))
    elif _counts_on(table):
        connection.execute(sa.delete(_COUNTED).where(_COUNTED.c.name == table.name))
        connection.execute(sa.insert(_COUNTED), {"name": table.name, "seq": last_number})


def _sequence(table: sa.Table) -> sa.Function[str]:
    return sa.func.pg_get_serial_sequence(table.name, "seq")


def _counts_on(table: sa.Table) -> bool:
    """Whether SQLite remembers the highest number of a table whose last rows are gone."""
    return bool(metadata.tables[table.name].dialect_kwargs.get("sqlite_autoincrement"))


def _verified(folder: Path) -> Backup:
    """The manifest of a whole backup.

    Raises:
        ArtefactError: it is missing, damaged, or of a newer version, or a file is not the one that it names.
    """
    try:
        content = strict_json.read_object((folder / MANIFEST).read_bytes(), "the backup's manifest")
    except OSError:
        raise ArtefactError("there is no whole backup there: its manifest is missing") from None
    try:
        form = content.pop("format")
        backup = Backup(tables=tuple(TableCopy(**one) for one in content.pop("tables")), **content)
    except (KeyError, TypeError):
        raise ArtefactError("the backup's manifest is not one of ours, or is damaged") from None
    if form != _FORMAT or backup.schema > HEAD:
        raise ArtefactError(
            f"the backup has schema {backup.schema} and form {form}, this version knows {HEAD}; upgrade Holdfast first"
        )
    for copy in backup.tables:
        if copy.name not in metadata.tables:
            raise ArtefactError("the backup's manifest names a table that is none of ours; take another backup")
        path = folder / f"{copy.name}.parquet"
        if not path.is_file() or _file_digest(path) != copy.file_sha256:
            raise ArtefactError(f"{path.name} of the backup is missing or altered; take another backup")
    return backup


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
