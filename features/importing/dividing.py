"""Blocks of text divided into rows of columns; lines that cannot be are handed on with the reason, never dropped."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pcsv

from features.importing.mapping import Source

__all__ = ["BrokenRow", "CsvBlocks", "LineBlocks", "SourceBatch", "json_values", "words"]

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


class CsvBlocks:
    """Divides blocks of CSV lines; the fast road is Arrow's parser, the careful one looks at each line first."""

    def __init__(self, names: list[str], source: Source) -> None:
        self._names = names
        self._source = source
        self._convert = pcsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        )

    def divide(self, block: bytes, start: int) -> SourceBatch:
        """The rows of a block; `start` is the number of the first."""
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        try:
            rows, wrong = self._parsed(block)
        except pa.ArrowInvalid:
            rows, wrong = None, []
        # A quote that is open at the end of a line swallows the next one, so the count tells; but for the last line.
        whole = self._source.multiline or (
            rows is not None and rows.num_rows + len(wrong) == lines and not self._ends_open(block)
        )
        if rows is not None and whole:
            return self._batch(rows, wrong, [], np.arange(start, start + rows.num_rows + len(wrong), dtype=np.int64))
        if self._source.multiline:
            raise UnicodeError if not _is_utf8(block) else pa.ArrowInvalid("csv")
        return self._carefully(block, start)

    def _ends_open(self, block: bytes) -> bool:
        last = block.rstrip(b"\r\n").rpartition(b"\n")[2]
        return b'"' in last and _quote_is_open(last, self._source.delimiter)

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
        next(csv.reader([line.decode("utf-8", "replace").rstrip("\r")], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)
    return False


class LineBlocks:
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
        """The rows of a block; `start` is the number of the first."""
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


def words(line: str, names: tuple[str, ...]) -> list[str | None] | str:
    """The words of a line, one for each name; or why it has none."""
    words = line.split()
    return list(words) if len(words) == len(names) else f"has {len(words)} columns, not {len(names)}"


def json_values(line: str, names: tuple[str, ...]) -> list[str | None] | str:
    """The values of a JSON object by name, as text (a number as it is written); or why there are none."""
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
