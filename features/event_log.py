"""The sealed event log: one Delta table, partitioned by customer bucket, idempotent on event_id, versioned.

`bucket` is a stable hash of customer_key modulo the number of buckets, so all events of a customer lie in one
partition. An append is one Delta commit: all of it, or nothing. Within a file rows are sorted by
(customer_key, occurred_at). An event_id is compared, as a string, with every event_id of its bucket; the same
event_id under another customer is another event if the two customers fall into different buckets.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import ColumnProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyarrow import fs

from features.bucketing import Stage, bucket_of, first_seen, sorted_by_customer_and_time
from features.errors import ArtefactError, DataError, UnavailableError
from features.locking import exclusive
from features.schema import EVENTS
from features.validation import shaped

__all__ = ["Appended", "EventLog"]

_BUCKETS_KEY = "holdfast.buckets"
_MAX_BUCKETS = 512
_BUCKET = pa.field("bucket", pa.int32(), nullable=False)
_STORED = EVENTS.arrow.append(_BUCKET)
_WRITER = WriterProperties(
    compression="SNAPPY",
    # Every event_id differs: a dictionary would find nothing in it.
    column_properties={"event_id": ColumnProperties(dictionary_enabled=False)},
)


@dataclass(frozen=True)
class Appended:
    """What an append did: events added, events that were there already (or twice in the call), log version after."""

    n_appended: int
    n_duplicates: int
    version: int


class EventLog:
    """An event log at a path. `version` is the newest one known to this object; `append` moves it on."""

    def __init__(self, path: Path, table: DeltaTable, n_buckets: int) -> None:
        self._path = path
        self._table = table
        self.n_buckets = n_buckets

    @classmethod
    def create(cls, path: Path, *, n_buckets: int = 64) -> EventLog:
        """Make an empty log at `path`.

        Raises:
            DataError: n_buckets is not between 1 and 512.
            ArtefactError: there is a log already.
        """
        if not 1 <= n_buckets <= _MAX_BUCKETS:
            raise DataError(f"an event log has 1 to {_MAX_BUCKETS} buckets, not {n_buckets}")
        if DeltaTable.is_deltatable(str(path)):
            raise ArtefactError(f"there is an event log at {path} already; open it")
        path.mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            path,
            _STORED,
            partition_by=["bucket"],
            configuration={_BUCKETS_KEY: str(n_buckets)},
            raise_if_key_not_exists=False,
        )
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> EventLog:
        """The log at `path`.

        Raises:
            ArtefactError: there is none, or it is not an event log.
        """
        table = _opened(path, None)
        buckets = table.metadata().configuration.get(_BUCKETS_KEY)
        if buckets is None:
            raise ArtefactError(f"the Delta table at {path} is not an event log; choose another path")
        return cls(path, table, int(buckets))

    @classmethod
    def remove_if_empty(cls, path: Path) -> None:
        """Take back a `create`: remove the log if nothing was ever appended and nobody is writing to it."""
        try:
            with exclusive(_lock_of(path), "the event log"):
                if cls.open(path).version == 0:
                    shutil.rmtree(path)
        except (ArtefactError, UnavailableError):
            return  # it is gone, or it is somebody's: leave it

    @property
    def version(self) -> int:
        """The Delta version; 0 is the empty log."""
        return int(self._table.version())

    @property
    def n_events(self) -> int:
        """How many events this version holds."""
        return int(self._table.count())

    def append(self, events: pa.Table) -> Appended:
        """Add a table of events (EVENTS columns; optional ones may be absent); see `append_batches`."""
        return self.append_batches(events.to_batches())

    def append_batches(self, batches: Iterable[pa.RecordBatch]) -> Appended:
        """Add a stream of events in one commit, leaving out every event_id that is there already.

        The stream is spread over buckets on disk first, so memory holds two buckets at most. If the stream
        raises, the log is as it was. If every event is a duplicate there is no commit and no new version.

        Raises:
            DataError: a column is absent, unknown or of a wrong type, or a required value is null.
            UnavailableError: another writer holds the log, or was faster.
        """
        with exclusive(_lock_of(self._path), "the event log"):
            self._table = _opened(self._path, None)
            with tempfile.TemporaryDirectory(prefix=".staged-", dir=self._path.parent) as folder:
                stage = Stage(Path(folder), EVENTS.arrow, self.n_buckets)
                for batch in batches:
                    stage.add(_checked(batch))
                stage.close()
                n_appended = self._commit(stage)
        return Appended(n_appended, stage.n_rows - n_appended, self.version)

    def count_new(self, ids: Iterable[tuple[pa.Array, pa.Array]]) -> int:
        """How many of a stream of (event_id, customer_key) arrays an append would add; writes nothing."""
        by_bucket = _ids_by_bucket(ids, self.n_buckets)
        known = _KnownIds(self._table, self._path)
        return sum(int(first_seen(known.of(bucket), new).sum()) for bucket, new in by_bucket)

    @staticmethod
    def count_distinct(ids: Iterable[tuple[pa.Array, pa.Array]], *, n_buckets: int = 64) -> int:
        """What `count_new` would say of an empty log."""
        nothing = pa.chunked_array([], pa.string())
        return sum(int(first_seen(nothing, new).sum()) for _, new in _ids_by_bucket(ids, n_buckets))

    def read(
        self,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        recorded_before_us: int | None = None,
        customer_keys: Sequence[str] | None = None,
    ) -> pa.Table:
        """Events of a version (the newest if None), in EVENTS column order; filters reach down to the files.

        Args:
            columns: names of EVENTS columns; all if None.
            version: a Delta version; the one this object knows as newest if None.
            recorded_before_us: only events of `recorded_at` in [-inf, recorded_before_us).
            customer_keys: only events of these customers; other buckets are not opened.

        Raises:
            DataError: a column is unknown.
            ArtefactError: there is no such version, or its files were vacuumed away.
        """
        unknown = [name for name in columns or () if name not in EVENTS.names]
        if unknown:
            raise DataError(f"events have no column {unknown[0]}; known: {', '.join(EVENTS.names)}")
        names = [name for name in EVENTS.names if columns is None or name in columns]
        table = self._table if version is None else _opened(self._path, version)
        condition = self._condition(recorded_before_us, customer_keys)
        try:
            rows = _dataset(table, self._path).to_table(columns=names, filter=condition)
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise ArtefactError(
                f"version {table.version()} of the event log cannot be read ({type(error).__name__}); "
                "its files may have been vacuumed away: read a newer version"
            ) from None
        return rows.cast(pa.schema([EVENTS.arrow.field(name) for name in names]))

    def _condition(self, recorded_before_us: int | None, customer_keys: Sequence[str] | None) -> pc.Expression | None:
        condition: pc.Expression | None = None
        if recorded_before_us is not None:
            end = pa.scalar(recorded_before_us, pa.int64()).cast(EVENTS.arrow.field("recorded_at").type)
            condition = pc.field("recorded_at") < end
        if customer_keys is not None:
            keys = pa.array(customer_keys, pa.string())
            buckets = pa.array(np.unique(bucket_of(keys, self.n_buckets)).astype(np.int32))
            chosen = pc.field("bucket").isin(buckets) & pc.field("customer_key").isin(keys)
            condition = chosen if condition is None else condition & chosen
        return condition

    def _commit(self, stage: Stage) -> int:
        """Write what is new of each bucket in one Delta commit; the number of rows written."""
        n_appended = 0
        failure: list[Exception] = []
        known = _KnownIds(self._table, self._path)

        def fresh() -> Iterator[pa.RecordBatch]:
            nonlocal n_appended
            try:
                for batch in self._fresh_buckets(stage, known):
                    n_appended += batch.num_rows
                    yield batch
            except Exception as error:
                failure.append(error)
                raise

        buckets = fresh()
        first = next(buckets, None)
        if first is None:
            return 0

        def all_of_them() -> Iterator[pa.RecordBatch]:
            yield first
            yield from buckets

        try:
            reader = pa.RecordBatchReader.from_batches(_STORED, all_of_them())
            write_deltalake(self._table, reader, mode="append", writer_properties=_WRITER)
        except (CommitFailedError, OSError) as error:
            raise UnavailableError(
                f"the event log is locked or was changed by another writer ({type(error).__name__}); try again"
            ) from None
        except DeltaError as error:
            raise (failure[0] if failure else ArtefactError(f"the event log refused the append: {error}")) from None
        self._table = _opened(self._path, None)
        return n_appended

    def _fresh_buckets(self, stage: Stage, known: _KnownIds) -> Iterator[pa.RecordBatch]:
        for bucket, staged in stage.buckets():
            mask = first_seen(known.of(bucket), staged["event_id"])
            rows = staged if mask.all() else staged.filter(pa.array(mask))
            if rows.num_rows:
                ordered = sorted_by_customer_and_time(rows)
                constant = pa.array(np.full(rows.num_rows, bucket, np.int32))
                yield from ordered.append_column(_BUCKET, constant).cast(_STORED).combine_chunks().to_batches()


class _KnownIds:
    """The event_ids of a version by bucket; read with Arrow alone, since a stream must not enter Delta's runtime."""

    def __init__(self, table: DeltaTable, path: Path) -> None:
        self._dataset = _dataset(table, path) if table.version() else None

    def of(self, bucket: int) -> pa.ChunkedArray:
        if self._dataset is None:
            return pa.chunked_array([], pa.string())
        return self._dataset.to_table(columns=["event_id"], filter=pc.field("bucket") == bucket)["event_id"]


def _dataset(table: DeltaTable, path: Path) -> ds.Dataset:
    return table.to_pyarrow_dataset(filesystem=fs.SubTreeFileSystem(str(path), fs.LocalFileSystem()))


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _ids_by_bucket(ids: Iterable[tuple[pa.Array, pa.Array]], n_buckets: int) -> Iterator[tuple[int, pa.ChunkedArray]]:
    by_bucket: dict[int, list[pa.Array]] = {}
    for event_ids, customer_keys in ids:
        buckets = bucket_of(customer_keys, n_buckets)
        order = np.argsort(buckets.astype(np.int16), kind="stable")
        spread = event_ids.take(pa.array(order))
        present, starts = np.unique(buckets[order], return_index=True)
        for bucket, start, end in zip(present.tolist(), starts, np.append(starts[1:], len(order)), strict=True):
            by_bucket.setdefault(bucket, []).append(spread.slice(start, end - start))
    for bucket, arrays in by_bucket.items():
        yield bucket, pa.chunked_array(arrays, pa.string())


def _opened(path: Path, version: int | None) -> DeltaTable:
    try:
        return DeltaTable(path, version=version)
    except TableNotFoundError:
        raise ArtefactError(f"there is no event log at {path}; import data first") from None
    except (DeltaError, OSError):
        wanted = "the event log" if version is None else f"version {version} of the event log"
        raise ArtefactError(f"{wanted} at {path} cannot be opened; it is absent or damaged") from None


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    rows = shaped(pa.Table.from_batches([batch]), EVENTS)
    for name in EVENTS.required:
        if rows[name].null_count:
            raise DataError(f"{rows[name].null_count} events have no {name}; validate events before appending them")
    merged = rows.combine_chunks().to_batches()
    return merged[0] if merged else pa.RecordBatch.from_pylist([], schema=rows.schema)
