"""Files as a stream of Arrow batches with row numbers: CSV, whitespace separated text, JSONL, Parquet; gz and zst.

Rows count from 1, the header line and blank lines not counted. Text comes as written (a JSON number too), so no
digit is lost before a mapping says what it means; empty CSV values are null. A line that cannot be divided into the
columns is handed on as a `BrokenRow`, never dropped and never fatal.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from features.errors import ConfigurationError, DataError
from features.importing.mapping import Source

__all__ = ["BrokenRow", "SourceBatch", "read_source"]

_BLOCK_BYTES = 8 << 20
_LONGEST_RECORD = 64 << 20
_PARQUET_ROWS = 131_072
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "whitespace"}
_OPEN_QUOTE = "a quote is not closed on its line; set source.multiline if values span lines"


@dataclass(frozen=True)
class BrokenRow:
    """A line that could not be divided into columns: its row number, why, and the line itself."""

    number: int
    reason: str
    text: str


@dataclass(frozen=True)
class SourceBatch:
    """Rows of a source (text, or Parquet's own types), the number of each (int64), and lines that are no rows.

    `lines` holds the original line of each row where `rows` has only some of its columns (JSONL); else None.
    """

    rows: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    broken: tuple[BrokenRow, ...] = ()
    lines: tuple[str, ...] | None = None

    @property
    def n_read(self) -> int:
        """Rows and broken rows together."""
        return len(self.numbers) + len(self.broken)


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
        divide = _CsvBlocks(names, text.source).divide
    elif form == "whitespace":
        if not text.source.columns:
            raise ConfigurationError("whitespace separated text has no header; name its columns in source.columns")
        divide = _LineBlocks(text.source.columns, _words).divide
    else:
        divide = _LineBlocks(wanted, _json_values, keep_lines=True).divide
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


class _CsvBlocks:
    """Divides blocks of CSV lines; the fast road is Arrow's parser, the careful one looks at each line first."""

    def __init__(self, names: list[str], source: Source) -> None:
        self._names = names
        self._source = source
        self._convert = pcsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        )

    def divide(self, block: bytes, start: int) -> SourceBatch:
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        try:
            rows, wrong = self._parsed(block)
        except pa.ArrowInvalid:
            rows, wrong = None, []
        if rows is not None and (self._source.multiline or rows.num_rows + len(wrong) == lines):
            return self._batch(rows, wrong, [], np.arange(start, start + rows.num_rows + len(wrong), dtype=np.int64))
        if self._source.multiline:
            raise UnicodeError if not _is_utf8(block) else pa.ArrowInvalid("csv")
        return self._carefully(block, start)

    def _carefully(self, block: bytes, start: int) -> SourceBatch:
        """Blank lines and lines with an open quote are taken out before parsing."""
        block.decode("utf-8")
        good: list[bytes] = []
        numbers: list[int] = []
        open_quotes: list[BrokenRow] = []
        number = start
        for line in block.split(b"\n"):
            if not line.strip(b"\r"):
                continue
            if b'"' in line and _quote_is_open(line, self._source.delimiter):
                open_quotes.append(BrokenRow(number, _OPEN_QUOTE, line.decode("utf-8")))
            else:
                good.append(line)
                numbers.append(number)
            number += 1
        rows, wrong = self._parsed(b"\n".join(good))
        return self._batch(rows, wrong, open_quotes, np.array(numbers, np.int64))

    def _batch(
        self, rows: pa.RecordBatch, wrong: list[Any], broken: list[BrokenRow], numbers: npt.NDArray[np.int64]
    ) -> SourceBatch:
        if wrong:
            at = np.array([row.number - 1 for row in wrong])
            broken = broken + [
                BrokenRow(int(numbers[i]), f"has {row.actual_columns} columns, not {row.expected_columns}", row.text)
                for i, row in zip(at, wrong, strict=True)
            ]
            numbers = np.delete(numbers, at)
        return SourceBatch(rows, numbers, tuple(sorted(broken, key=lambda row: row.number)))

    def _parsed(self, block: bytes) -> tuple[pa.RecordBatch, list[Any]]:
        wrong: list[Any] = []

        def note(row: Any) -> str:
            wrong.append(row)
            return "skip"

        empty = pa.RecordBatch.from_pylist([], schema=pa.schema([(name, pa.string()) for name in self._names]))
        if not block.strip():
            return empty, wrong
        table = pcsv.read_csv(
            pa.BufferReader(block),
            read_options=pcsv.ReadOptions(column_names=self._names, block_size=len(block) + 1, use_threads=False),
            parse_options=pcsv.ParseOptions(
                delimiter=self._source.delimiter,
                newlines_in_values=self._source.multiline,
                invalid_row_handler=note,
            ),
            convert_options=self._convert,
        ).combine_chunks()
        batches = table.to_batches()
        return (batches[0] if batches else empty), wrong


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _quote_is_open(line: bytes, delimiter: str) -> bool:
    try:
        next(csv.reader([line.decode("utf-8")], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)
    return False


class _LineBlocks:
    """Divides blocks line by line with a Python function that gives a row's values, or the reason why not."""

    def __init__(
        self,
        names: tuple[str, ...],
        values_of: Callable[[str, tuple[str, ...]], list[str | None] | str],
        *,
        keep_lines: bool = False,
    ) -> None:
        self._names = names
        self._values_of = values_of
        self._keep_lines = keep_lines

    def divide(self, block: bytes, start: int) -> SourceBatch:
        rows: list[list[str | None]] = []
        lines: list[str] = []
        numbers: list[int] = []
        broken: list[BrokenRow] = []
        number = start
        for raw in block.decode("utf-8").split("\n"):
            line = raw.rstrip("\r")
            if not line.strip():
                continue
            values = self._values_of(line, self._names)
            if isinstance(values, str):
                broken.append(BrokenRow(number, values, line))
            else:
                rows.append(values)
                lines.append(line)
                numbers.append(number)
            number += 1
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self._names)
        batch = pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], names=list(self._names))
        return SourceBatch(
            batch, np.array(numbers, np.int64), tuple(broken), tuple(lines) if self._keep_lines else None
        )


def _words(line: str, names: tuple[str, ...]) -> list[str | None] | str:
    words = line.split()
    return list(words) if len(words) == len(names) else f"has {len(words)} columns, not {len(names)}"


def _json_values(line: str, names: tuple[str, ...]) -> list[str | None] | str:
    try:
        row = json.loads(line, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(row, dict):
        return "is not a JSON object"
    values = [_as_text(row.get(name)) for name in names]
    if "\\u" in line and any(value is not None and not _is_unicode(value) for value in values):
        return "holds half of a surrogate pair"
    return values


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)
