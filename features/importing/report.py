"""What an import did, in figures that add up: read = accepted + duplicates + quarantined + dropped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from features.instants import format_instant

__all__ = ["ImportReport", "ReasonCount"]


@dataclass(frozen=True)
class ReasonCount:
    """Rows quarantined for one reason, and the row number of the first of them in the source."""

    field: str
    reason: str
    n_rows: int
    first_row: int


@dataclass(frozen=True)
class ImportReport:
    """Figures of one import; in a dry run, what they would be.

    `dropped` counts rows by the name of the mapping's rule that left them out; `reasons` are the quarantined ones,
    most frequent first. `n_customers` and `n_items` are distinct ones among the valid rows. Times are of valid rows,
    microseconds, None if there are none; `log_version` is None if the log does not exist.
    """

    source: str
    table: str
    dry_run: bool
    n_read: int
    n_accepted: int
    n_duplicates: int
    n_quarantined: int
    n_dropped: int
    dropped: tuple[tuple[str, int], ...]
    reasons: tuple[ReasonCount, ...]
    n_customers: int
    n_items: int
    first_occurred_us: int | None
    last_occurred_us: int | None
    log_version: int | None
    quarantine_file: str | None

    @property
    def reconciles(self) -> bool:
        """Whether every row read is accounted for exactly once."""
        return self.n_read == self.n_accepted + self.n_duplicates + self.n_quarantined + self.n_dropped

    def to_json(self) -> str:
        """The report as one JSON object; times in ISO-8601."""
        content = asdict(self)
        content["dropped"] = dict(self.dropped)
        content["first_occurred_at"] = _text(content.pop("first_occurred_us"))
        content["last_occurred_at"] = _text(content.pop("last_occurred_us"))
        return json.dumps(content)


def _text(instant_us: int | None) -> str | None:
    return None if instant_us is None else format_instant(instant_us)
