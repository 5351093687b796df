"""Files as a stream of Arrow batches with row numbers: CSV, whitespace separated text, JSONL, Parquet; gz and zst.

Rows count from 1, the header line and blank lines not counted. Text comes as written (a JSON number too), so no
digit is lost before a mapping says what it means; empty CSV values are null. A line that cannot be divided into the
columns is handed on as a `BrokenRow`, never dropped and never fatal.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import ConfigurationError, DataError
from features.importing.dividing import BrokenRow, CsvBlocks, LineBlocks, SourceBatch, json_values, words
from features.importing.mapping import Source

__all__ = ["BrokenRow", "SourceBatch", "read_source"]

_BLOCK_BYTES = 8 << 20
_LONGEST_RECORD = 64 << 20
_PARQUET_ROWS = 131_072
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "whitespace"}


def read_source(path: Path, source: Source, wanted: tuple[str, ...]) -> Iterator[SourceBatch]:
    """Stream the file at `path`; `wanted` names the columns to take out of JSON objects.

    Raises:
        ConfigurationError: the file is absent or its format cannot be told from its name.
        DataError: the bytes are not of the stated encoding, compression or format.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path.name}; check the path")
    form = source.format or _format_of(path)
    try:
        if form == "parquet":
            yield from _parquet(path)
        else:
            with pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix)) as stream:
                yield from _text(_Text(stream, path.name, source), form, wanted)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        # Arrow's own words can quote a value; its class cannot.
        raise DataError(
            f"{path.name} cannot be read as {form} ({type(error).__name__}); the file is damaged or of another format"
        ) from None
    except UnicodeError:
        raise DataError(
            f"{path.name} is not {source.encoding} text; name its encoding in the mapping, as source.encoding"
        ) from None


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in _COMPRESSIONS else suffixes[-1] if suffixes else ""
    if last not in _SUFFIXES:
        raise ConfigurationError(
            f"the format of {path.name} is not told by its name; set source.format, or end the name in one of "
            f"{', '.join(_SUFFIXES)} (and .gz or .zst)"
        )
    return _SUFFIXES[last]


def _parquet(path: Path) -> Iterator[SourceBatch]:
    start = 1
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
            arrays = [_plain(column) for column in batch.columns]
            rows = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
            yield SourceBatch(rows, np.arange(start, start + len(batch), dtype=np.int64))
            start += len(batch)


def _plain(column: pa.Array) -> pa.Array:
    """Text in one type, whatever Parquet kept it in."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


class _Text:
    """A text stream in UTF-8 blocks that end where a record ends."""

    def __init__(self, stream: pa.NativeFile, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self._stream = stream
        encoding = codecs.lookup(source.encoding).name
        self._decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(source.encoding)()
        self._rest = b""
        self._first = True

    def header(self) -> bytes:
        """The first line that is not blank, taken off the stream; empty if there is none."""
        while True:
            line, found, after = self._rest.partition(b"\n")
            if found and line.strip():
                self._rest = after
                return line
            if found:
                self._rest = after
                continue
            more = self._more()
            if not more:
                self._rest = b""
                return line
            self._rest += more

    def blocks(self) -> Iterator[bytes]:
        """The rest of the text; each block but the last ends with a line break that ends a record."""
        pending = self._rest
        while True:
            more = self._more()
            if not more:
                break
            pending += more
            end = self._last_record_end(pending)
            if end:
                yield pending[:end]
                pending = pending[end:]
            elif len(pending) > _LONGEST_RECORD:
                raise DataError(f"a record of {self.name} is longer than 64 MiB; a quote is probably never closed")
        if pending.strip():
            yield pending

    def _more(self) -> bytes:
        more: bytes = self._stream.read(_BLOCK_BYTES)
        if self._decoder is not None:
            more = self._decoder.decode(more, final=not more).encode()
        if self._first and more:
            self._first = False
            more = more.removeprefix(codecs.BOM_UTF8)
        return more

    def _last_record_end(self, block: bytes) -> int:
        if not self.source.multiline or b'"' not in block:
            return block.rfind(b"\n") + 1
        data = np.frombuffer(block, np.uint8)
        breaks = np.flatnonzero(data == ord("\n"))
        quotes = np.searchsorted(np.flatnonzero(data == ord('"')), breaks)
        outside = breaks[quotes % 2 == 0]
        return int(outside[-1]) + 1 if len(outside) else 0


def _text(text: _Text, form: str, wanted: tuple[str, ...]) -> Iterator[SourceBatch]:
    start = 1
    divide: Callable[[bytes, int], SourceBatch]
    if form == "csv":
        names = list(text.source.columns) or _header_names(text)
        divide = CsvBlocks(names, text.source).divide
    elif form == "whitespace":
        if not text.source.columns:
            raise ConfigurationError("whitespace separated text has no header; name its columns in source.columns")
        divide = LineBlocks(text.source.columns, words).divide
    else:
        divide = LineBlocks(wanted, json_values, keep_lines=True).divide
    for block in text.blocks():
        batch = divide(block, start)
        start += batch.n_read
        yield batch


def _header_names(text: _Text) -> list[str]:
    line = text.header().decode("utf-8")
    names = [name.strip() for name in next(csv.reader([line.rstrip("\r")], delimiter=text.source.delimiter), [])]
    if not names:
        raise DataError(f"{text.name} has no header line; name its columns in source.columns if it has none")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(f"{text.name} has two columns named {repeated[0]!r}; rename one")
    return names
