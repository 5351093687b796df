"""Where rows that could not be accepted are kept, with the reason and as they stood, for someone to mend.

One JSONL file an import, readable by its owner alone, since rows may carry outside ids: `{row, field, reason,
original}`; `original` is the row by source column, or the line where it could not be divided or read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO

import pyarrow as pa

from features.importing.readers import SourceBatch

__all__ = ["Quarantine"]


class Quarantine:
    """A file being written as `.part`; `keep` gives it its name, `discard` removes it. No rows, no file."""

    def __init__(self, folder: Path, source_name: str) -> None:
        self._folder = folder
        self._source_name = source_name
        self._part: Path | None = None
        self._file: IO[str] | None = None

    def add(self, batch: SourceBatch, findings: pa.Table, positions: list[int]) -> None:
        """Keep the rows of `batch` at `positions`; `findings` has (row, field, reason) of each."""
        if positions:
            originals: list[object] = list(batch.rows.take(pa.array(positions)).to_pylist())
            if batch.lines is not None:
                originals = [_original(batch.lines[position]) for position in positions]
            for found, original in zip(findings.to_pylist(), originals, strict=True):
                self._write({**found, "original": original})

    def add_broken(self, batch: SourceBatch) -> None:
        """Keep the lines of `batch` that are no rows."""
        for row in batch.broken:
            self._write({"row": row.number, "field": "line", "reason": row.reason, "original": row.text})

    def keep(self) -> str | None:
        """Give the file its name, the first free `<source>.<n>.jsonl`; the name, or None if there were no rows."""
        if self._file is None or self._part is None:
            return None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        number = 1
        while (path := self._folder / f"{self._source_name}.{number:04d}.jsonl").exists():
            number += 1
        self._part.rename(path)
        self._part, self._file = path, None
        return path.name

    def discard(self) -> None:
        """Remove what was written, whether it has its name or not."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None

    def _write(self, line: dict[str, object]) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._part = self._folder / f".{self._source_name}.{os.getpid()}.part"
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            # Half a surrogate pair, which JSON can hold and UTF-8 cannot, is written as JSON's own escape of it.
            self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")
        self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


def _original(line: str) -> object:
    """The object on a line of JSON; the line itself if Python cannot hold it, as a number of 5,000 digits."""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return found
