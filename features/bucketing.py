"""What the event log does to rows before it writes them: hash to buckets, spread on disk, drop repeats, sort."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Stage", "bucket_of", "first_seen", "sorted_by_customer_and_time"]

_HASHED_BYTES = 8
_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


def bucket_of(customer_keys: pa.Array | pa.ChunkedArray, n_buckets: int) -> npt.NDArray[np.int64]:
    """The bucket, int64 in [0, n_buckets), of each customer_key: a stable hash of its last eight bytes.

    FNV-1a (64 bit, offset 0xcbf29ce484222325, prime 0x100000001b3), folded by h ^ (h >> 32). Shorter keys are
    hashed whole. A pseudonym ends in hex digits of an HMAC, so buckets are even.

    >>> bucket_of(pa.array(["k1:00000000", "k2:00000000"]), 64).tolist()
    [54, 54]
    """
    array = customer_keys.combine_chunks() if isinstance(customer_keys, pa.ChunkedArray) else customer_keys
    array = array.cast(pa.large_string())
    if len(array) == 0:
        return np.zeros(0, np.int64)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    data = (
        np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.zeros(1, np.uint8)
    )
    starts, ends = offsets[:-1], offsets[1:]
    hashes = np.full(len(array), _FNV_OFFSET, np.uint64)
    for back in range(_HASHED_BYTES, 0, -1):
        positions = ends - back
        there = positions >= starts
        mixed = (hashes ^ data[np.where(there, positions, 0)].astype(np.uint64)) * _FNV_PRIME
        hashes = np.where(there, mixed, hashes)
    folded = hashes ^ (hashes >> np.uint64(32))
    return (folded % np.uint64(n_buckets)).astype(np.int64)


def first_seen(existing: pa.ChunkedArray, new: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which of `new` are neither in `existing` nor earlier in `new`; bool, one for each of `new`.

    >>> first_seen(pa.chunked_array([["a"]]), pa.chunked_array([["b", "a", "b", "c"]])).tolist()
    [True, False, False, True]
    """
    both = pa.chunked_array([*existing.chunks, *new.chunks], pa.string()).combine_chunks()
    # Codes are given in order of first appearance: a value is new exactly where its code exceeds all before it.
    codes = both.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    highest_before = np.concatenate([[-1], np.maximum.accumulate(codes)[:-1]]) if len(codes) else codes
    fresh: npt.NDArray[np.bool_] = codes > highest_before
    return fresh[len(existing) :]


def sorted_by_customer_and_time(rows: pa.Table) -> pa.Table:
    """The rows sorted by (customer_key, occurred_at); rows equal in both keep their order."""
    encoded = rows["customer_key"].combine_chunks().dictionary_encode()
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(names, kind="stable")] = np.arange(len(names))
    by_customer = ranks[encoded.indices.to_numpy(zero_copy_only=False)]
    times = rows["occurred_at"].cast(pa.int64()).to_numpy()
    return pa.table(_taken(rows.combine_chunks(), np.lexsort((times, by_customer))), schema=rows.schema)


def _taken(rows: pa.Table | pa.RecordBatch, order: npt.NDArray[np.int64]) -> list[pa.Array]:
    """Columns in another order; a column of nulls only is the same in any order."""
    indices = pa.array(order)
    return [column if column.null_count == len(column) else column.take(indices) for column in rows.columns]


class Stage:
    """Rows spread over one file a bucket (Arrow IPC, LZ4) in a folder that the caller makes and removes."""

    def __init__(self, folder: Path, schema: pa.Schema, n_buckets: int) -> None:
        self.n_rows = 0
        self._folder = folder
        self._schema = schema
        self._n_buckets = n_buckets
        self._writers: dict[int, pa.RecordBatchFileWriter] = {}
        self._options = pa.ipc.IpcWriteOptions()

    def add(self, batch: pa.RecordBatch) -> None:
        """Spread one batch; rows of a bucket keep their order."""
        if batch.num_rows == 0:
            return
        self.n_rows += batch.num_rows
        buckets = bucket_of(batch.column("customer_key"), self._n_buckets)
        order = np.argsort(buckets.astype(np.int16), kind="stable")
        spread = pa.RecordBatch.from_arrays(_taken(batch, order), schema=self._schema)
        present, starts = np.unique(buckets[order], return_index=True)
        ends = np.append(starts[1:], len(order))
        for bucket, start, end in zip(present.tolist(), starts.tolist(), ends.tolist(), strict=True):
            self._writer(bucket).write_batch(spread.slice(start, end - start))

    def close(self) -> None:
        """Finish the files; nothing can be added after."""
        for writer in self._writers.values():
            writer.close()

    def buckets(self) -> Iterator[tuple[int, pa.Table]]:
        """Each bucket that has rows, in ascending order, and its rows in the order in which they were added."""
        for bucket in sorted(self._writers):
            with pa.ipc.open_file(self._path(bucket)) as reader:
                yield bucket, reader.read_all()

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket}.arrow"

    def _writer(self, bucket: int) -> pa.RecordBatchFileWriter:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_file(self._path(bucket), self._schema, options=self._options)
        return self._writers[bucket]
