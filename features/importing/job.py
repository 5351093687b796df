"""An import from end to end: stream, transform, quarantine, one commit; or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from features.errors import DataError
from features.event_log import EventLog
from features.importing.customers import CustomersMet
from features.importing.derived import Attribute, DerivedTable
from features.importing.mapping import Mapping
from features.importing.quarantine import Quarantine
from features.importing.readers import SourceBatch, read_source
from features.importing.report import ImportReport
from features.importing.tallies import Tallies
from features.importing.transform import SourceColumns, Transform, Transformed
from features.pseudonyms import Pseudonyms
from features.schema import CUSTOMERS, EVENTS, ITEMS
from features.tables import IDENTITIES, upsert
from features.validation import LATEST_US
from features.workspace import Workspace

__all__ = ["DEFAULT_MAX_QUARANTINED_SHARE", "import_file"]

DEFAULT_MAX_QUARANTINED_SHARE = 0.05

T = TypeVar("T")
Progress = Callable[[int], None]


def import_file(
    source: Path,
    mapping: Mapping,
    workspace: Workspace,
    *,
    max_quarantined_share: float = DEFAULT_MAX_QUARANTINED_SHARE,
    dry_run: bool = False,
    before_us: int = LATEST_US,
    progress: Progress | None = None,
) -> ImportReport:
    """Add the events of a file to the workspace's log, in one commit, and its items, customers and identities.

    Args:
        source: CSV, JSONL (each plain, .gz or .zst), whitespace separated text, or Parquet.
        mapping: what the columns mean; see `load_mapping`.
        workspace: where the log and the tables lie; made if absent.
        max_quarantined_share: in [0, 1]; above this share of the rows read, the import aborts.
        dry_run: find out what would happen and write nothing at all.
        before_us: an event at or after this instant lies in the future and is quarantined; the caller knows the clock.
        progress: called with the number of rows read so far.

    Raises:
        ConfigurationError: the file is absent or of no known format.
        DataError: the file cannot be read, lacks a column, or too many of its rows are bad; nothing has changed.
        UnavailableError: another writer holds the log; nothing has changed.
    """
    job = _Import(source, mapping, workspace, max_quarantined_share, progress, dry_run=dry_run, before_us=before_us)
    return job.tried() if dry_run else job.done()


class _Import:
    """One import; made, run once, and thrown away."""

    def __init__(
        self,
        source: Path,
        mapping: Mapping,
        workspace: Workspace,
        limit: float,
        progress: Progress | None,
        *,
        dry_run: bool,
        before_us: int,
    ) -> None:
        self._source = source
        self._mapping = mapping
        self._workspace = workspace
        self._limit = limit
        self._progress = progress
        self._dry_run = dry_run
        self._before_us = before_us
        self._new_key = not workspace.pseudonym_keys.exists()
        self._pseudonyms = Pseudonyms.fresh() if self._new_key else Pseudonyms.load(workspace.pseudonym_keys)
        self._met = CustomersMet(self._pseudonyms)
        self._tallies = Tallies()
        self._quarantine = Quarantine(workspace.quarantine, source.name)
        self._quarantine_file: str | None = None
        self._items = _derived(mapping.items, ("title", "category", "brand"))
        self._customers = _derived(mapping.customers, ("country", "segment"))

    def tried(self) -> ImportReport:
        """What the import would do."""
        ids = ((batch.column("event_id"), batch.column("customer_key")) for batch in self._events())
        path = self._workspace.event_log
        if path.exists():
            log = EventLog.open(path)
            return self._report(log.count_new(ids), log.version)
        return self._report(EventLog.count_distinct(ids), None)

    def done(self) -> ImportReport:
        """Do it, and say what was done.

        Should the very last step, the commit, fail, then no event was added and the quarantine is gone; the key,
        items, customers and identities written just before stay, and the next try finds them there.
        """
        path = self._workspace.event_log
        new_log = not path.exists()
        log = EventLog.create(path) if new_log else EventLog.open(path)
        try:
            appended = log.append_batches(_ahead(self._events()))
        except BaseException:
            self._quarantine.discard()
            if new_log:
                EventLog.remove_if_empty(path)
            raise
        return self._report(appended.n_appended, appended.version)

    def _events(self) -> Iterator[pa.RecordBatch]:
        transform = Transform(self._mapping, self._met, self._before_us)
        wanted = self._mapping.all_source_columns()
        for batch in _ahead(read_source(self._source, self._mapping.source, wanted)):
            made = transform.apply(batch)
            self._note(batch, made)
            if self._progress is not None:
                self._progress(self._tallies.n_read)
            if made.events.num_rows:
                yield made.events
        self._tallies.check_share(self._limit)
        if not self._dry_run:
            self._write_tables()
            self._quarantine_file = self._quarantine.keep()

    def _note(self, batch: SourceBatch, made: Transformed) -> None:
        findings = made.findings.table(batch.numbers)
        self._tallies.add(batch, made, findings)
        if not self._dry_run:
            self._quarantine.add_broken(batch)
            self._quarantine.add(batch, findings, np.flatnonzero(made.findings.codes).tolist())
        if not made.events.num_rows:
            return
        whole = len(made.valid) == batch.rows.num_rows
        columns = SourceColumns(batch.rows if whole else batch.rows.take(pa.array(made.valid)))
        for table, part, key in (
            (self._items, self._mapping.items, "item_id"),
            (self._customers, self._mapping.customers, "customer_key"),
        ):
            values = {name: columns.text(getattr(part, name)) for name in table.names}
            table.add(made.events.column(key), values)

    def _write_tables(self) -> None:
        """Tables come before the events that need them: an orphan row does no harm, a missing one would."""
        workspace = self._workspace
        if self._new_key:
            self._pseudonyms.save(workspace.pseudonym_keys)
        workspace.identities.mkdir(parents=True, exist_ok=True, mode=0o700)
        upsert(workspace.identities, IDENTITIES, self._met.identities())
        upsert(workspace.customers, CUSTOMERS, self._customers.table("customer_key"), keep_known=True)
        upsert(workspace.items, ITEMS, self._items.table("item_id"), keep_known=True)

    def _report(self, n_accepted: int, version: int | None) -> ImportReport:
        tallies = self._tallies
        report = ImportReport(
            source=self._source.name,
            table=EVENTS.name,
            dry_run=self._dry_run,
            n_read=tallies.n_read,
            n_accepted=n_accepted,
            n_duplicates=tallies.n_valid - n_accepted,
            n_quarantined=tallies.n_quarantined,
            n_dropped=tallies.dropped.total(),
            dropped=tuple(tallies.dropped.items()),
            reasons=tallies.reasons(),
            n_customers=len(self._met),
            n_items=len(self._items),
            first_occurred_us=tallies.first_us,
            last_occurred_us=tallies.last_us,
            log_version=version,
            quarantine_file=self._quarantine_file,
        )
        if not report.reconciles:  # a fault of ours, and the one thing an import must never hide
            raise DataError(f"the import of {report.source} does not add up: {report.to_json()}")
        return report


def _derived(part: object | None, names: tuple[str, ...]) -> DerivedTable:
    told = [name for name in names if part is not None and getattr(part, name) is not None]
    return DerivedTable({name: Attribute(getattr(part, "choose", "last")) for name in told})


def _ahead(stream: Iterable[T]) -> Iterator[T]:
    """The same stream, its next element being made in a thread while this one is used."""
    elements = iter(stream)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, elements, None)
        while (element := pending.result()) is not None:
            pending = pool.submit(next, elements, None)
            yield element
