"""The jobs behind `holdfast features`: a snapshot of all customers, and one customer explained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.errors import DataError, NotEnoughDataError
from features.event_log import EventLog
from features.instants import format_instant
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from training.churn_settings import ChurnSettings
from training.log_data import Progress, read_log, silent
from training.population import eligible, known_customers

__all__ = ["BuiltFeatures", "FeatureValue", "build_features", "customer_features"]


@dataclass(frozen=True)
class BuiltFeatures:
    """A snapshot as written; `as_of` is exclusive. notes: what is to be known of the table it was read from."""

    path: Path
    as_of: str
    n_customers: int
    n_features: int
    fingerprint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureValue:
    """One feature of one customer; `value` is None where it is missing, and `missing` says what that means."""

    name: str
    value: float | None
    unit: str
    meaning: str
    missing: str


def build_features(
    workspace: Workspace,
    settings: ChurnSettings,
    *,
    as_of_us: int | None = None,
    chunk: int = 16_384,
    progress: Progress = silent,
) -> BuiltFeatures:
    """Compute the features of every customer at an instant and write them where the service looks for them.

    `as_of` is by default just after the last recorded event; a customer without an event before it is left out. The
    column `eligible` says whether the churn question may be asked about a customer. Memory holds `chunk` customers'
    features at a time; the file appears whole or not at all.

    Raises:
        ArtefactError: there is no event log.
        NotEnoughDataError: it holds no event before `as_of`.
    """
    progress("reading the event log")
    data = read_log(workspace)
    instant = data.known_us if as_of_us is None else as_of_us
    view = known_customers(data.view, instant)
    if view.n_customers == 0:
        raise NotEnoughDataError(f"0 customers have an event before {format_instant(instant)}; choose a later instant")
    workspace.snapshots.mkdir(parents=True, exist_ok=True)
    path = workspace.snapshots / f"{format_instant(instant).replace(':', '')}.parquet"
    staged = path.with_suffix(".part")
    try:
        _write_snapshot(staged, view, instant, eligible(view, instant, settings), data.currency, chunk, progress)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    return BuiltFeatures(
        path, format_instant(instant), view.n_customers, len(CHURN_FEATURES), CHURN_FEATURES.fingerprint()
    )


def _write_snapshot(
    path: Path,
    view: CustomerView,
    as_of_us: int,
    recent: npt.NDArray[np.bool_],
    currency: str | None,
    chunk: int,
    progress: Progress,
) -> None:
    """A row group a chunk, without dictionaries: features are mostly distinct numbers, and plain ones read fastest."""
    writer = None
    try:
        for start in range(0, view.n_customers, chunk):
            rows = np.arange(start, min(start + chunk, view.n_customers), dtype=np.int64)
            table = compute(view.select(rows), CHURN_FEATURES, as_of_us).to_arrow()
            table = table.add_column(2, "eligible", pa.array(recent[rows]))
            if writer is None:
                metadata = {**table.schema.metadata, **({b"currency": currency.encode()} if currency else {})}
                schema = table.schema.with_metadata(metadata)
                writer = pq.ParquetWriter(path, schema, use_dictionary=["as_of"], compression="lz4")
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=chunk)
            done = start + rows.size
            progress(f"computed {len(CHURN_FEATURES)} features of {done:,} of {view.n_customers:,} customers")
    finally:
        if writer is not None:
            writer.close()


def customer_features(
    workspace: Workspace, customer_id: str, *, as_of_us: int | None = None
) -> tuple[str, tuple[FeatureValue, ...]]:
    """The instant, and every feature of one customer there, read from that customer's part of the log alone.

    Raises:
        DataError: the log holds no event of the customer.
    """
    log = EventLog.open(workspace.event_log)
    if as_of_us is None:
        recorded = log.read(columns=["recorded_at"])["recorded_at"]
        if len(recorded) == 0:
            raise NotEnoughDataError("the event log holds 0 events; import some, or simulate a shop")
        as_of_us = pc.max(recorded.cast("int64")).as_py() + 1
    key = Pseudonyms.load(workspace.pseudonym_keys).of(customer_id)
    events = log.read(customer_keys=[key])
    if events.num_rows == 0:
        raise DataError("the event log holds no event of this customer; check the id as the shop writes it")
    table = compute(CustomerView.from_events(events), CHURN_FEATURES, as_of_us)
    return format_instant(as_of_us), tuple(_explained(table.values[0].tolist()))


def _explained(values: list[float]) -> Iterator[FeatureValue]:
    for feature, value in zip(CHURN_FEATURES, values, strict=True):
        shown = None if math.isnan(value) else value
        yield FeatureValue(feature.name, shown, feature.unit, feature.meaning, feature.missing)
