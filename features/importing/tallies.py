"""Counts that an import keeps as it goes."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import DataError
from features.importing.readers import SourceBatch
from features.importing.report import ReasonCount
from features.importing.transform import Transformed

__all__ = ["Tallies", "check_share"]

_TOP = 3


class Tallies:
    """Rows read, valid, dropped and quarantined so far, reasons, and the first and last time of valid rows."""

    def __init__(self) -> None:
        self.n_read = 0
        self.n_valid = 0
        self.n_quarantined = 0
        self.dropped: Counter[str] = Counter()
        self.first_us: int | None = None
        self.last_us: int | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._first_rows: dict[tuple[str, str], int] = {}

    def add(self, batch: SourceBatch, made: Transformed, findings: pa.Table) -> None:
        """Count one batch; `findings` is the table of what is wrong with its rows."""
        self.add_read(batch, findings)
        self.dropped += made.dropped
        if made.events.num_rows:
            self.n_valid += made.events.num_rows
            times = pc.min_max(made.events.column("occurred_at").cast(pa.int64())).as_py()
            self.first_us = min(times["min"], self.first_us if self.first_us is not None else times["min"])
            self.last_us = max(times["max"], self.last_us if self.last_us is not None else times["max"])

    def add_read(self, batch: SourceBatch, findings: pa.Table) -> None:
        """Count rows read, and those quarantined: broken lines, and (row, field, reason) of `findings`."""
        self.n_read += batch.n_read
        for row in batch.broken:
            self._count("line", row.reason, 1, row.number)
        if findings.num_rows:
            grouped = findings.group_by(["field", "reason"]).aggregate([("row", "count"), ("row", "min")])
            for line in grouped.to_pylist():
                self._count(line["field"], line["reason"], line["row_count"], line["row_min"])

    def reasons(self) -> tuple[ReasonCount, ...]:
        """Why rows were quarantined, most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return tuple(ReasonCount(*key, n, self._first_rows[key]) for key, n in ordered)

    def check_share(self, limit: float) -> None:
        """Refuse to go on if more than `limit` of the rows read were quarantined."""
        check_share(self.n_read, self.n_quarantined, limit, self.reasons())

    def _count(self, field: str, reason: str, n: int, row: int) -> None:
        self.n_quarantined += n
        self._counts[field, reason] += n
        self._first_rows[field, reason] = min(row, self._first_rows.get((field, reason), row))


def check_share(n_read: int, n_quarantined: int, limit: float, reasons: tuple[ReasonCount, ...]) -> None:
    """Refuse to go on if more than `limit` (in [0, 1]) of the rows read were quarantined.

    Raises:
        DataError: naming the share, the limit and the most frequent reasons.
    """
    if n_quarantined <= limit * n_read:
        return
    top = "; ".join(f"{r.field} {r.reason} ({r.n_rows:,}, first in row {r.first_row:,})" for r in reasons[:_TOP])
    raise DataError(
        f"{n_quarantined:,} of {n_read:,} rows ({n_quarantined / n_read:.1%}) would be quarantined, above the limit of "
        f"{limit:.1%}: {top}. Nothing was changed; mend the source or the mapping, or raise max_quarantined_share"
    )
