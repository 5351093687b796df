"""Where batch scoring gets features from: a snapshot as built, read a row group at a time, or the event log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.compute import FeatureTable, compute
from features.customer_view import CustomerView
from features.errors import ArtefactError, HoldfastError, NotEnoughDataError
from features.feature_set import FeatureSet, ModelInputs
from features.instants import format_instant, parse_instant
from features.table_features import TableFeatures
from features.workspace import Workspace
from training.churn_settings import ChurnSettings
from training.log_data import read_log
from training.population import eligible, known_customers

__all__ = ["FeatureChunk", "FeatureSource", "LogFeatures", "SnapshotFeatures", "newest_snapshot"]


@dataclass(frozen=True, eq=False)
class FeatureChunk:
    """Features of some customers, rows `[start, start + n)` of the source, and whether each is eligible, bool (n,)."""

    start: int
    table: FeatureTable
    eligible: npt.NDArray[np.bool_]


class FeatureSource(Protocol):
    """Features of all customers at one instant; `chunks` can be asked for again and gives the same."""

    @property
    def as_of_us(self) -> int:
        """The exclusive end of the history."""

    @property
    def currency(self) -> str | None:
        """Of all amounts; None where nothing was ever paid, or nobody knows."""

    def customer_keys(self) -> pa.Array:
        """The pseudonyms of all customers, in order."""

    def chunks(self, size: int) -> Iterator[FeatureChunk]:
        """The features in order, at most `size` customers at a time."""


@dataclass(frozen=True)
class SnapshotFeatures:
    """A snapshot file. Without a column `eligible` everybody in it counts as eligible."""

    path: Path
    feature_set: ModelInputs
    as_of_us: int
    currency: str | None

    @classmethod
    def open(cls, path: Path, feature_set: ModelInputs) -> SnapshotFeatures:
        """A snapshot of this feature set.

        Raises:
            ArtefactError: there is no such file, it is no snapshot, or one of another feature set.
        """
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowException):
            raise ArtefactError(
                f"{path.name} is not there or is no Parquet file; build a snapshot: {_build(feature_set)}"
            ) from None
        metadata = schema.metadata or {}
        fingerprint = metadata.get(b"feature_set_fingerprint", b"").decode()
        if fingerprint != feature_set.fingerprint():
            raise ArtefactError(
                f"{path.name} holds features of fingerprint {fingerprint[:12] or 'unknown'}, this code computes "
                f"{feature_set.fingerprint()[:12]}; build it again: {_build(feature_set)}"
            )
        try:
            as_of_us = parse_instant(metadata[b"as_of"].decode())
        except (KeyError, HoldfastError):
            raise ArtefactError(f"{path.name} does not say as of when it is; build it again") from None
        currency = metadata.get(b"currency")
        return cls(path, feature_set, as_of_us, currency.decode() if currency else None)

    def customer_keys(self) -> pa.Array:
        """See `FeatureSource`."""
        return pq.read_table(self.path, columns=["customer_key"])["customer_key"].combine_chunks()

    def chunks(self, size: int) -> Iterator[FeatureChunk]:
        """See `FeatureSource`; a row group is in memory at a time."""
        names, start = self.feature_set.names, 0
        with pq.ParquetFile(self.path) as file:
            flagged = "eligible" in file.schema_arrow.names
            columns = ["customer_key", *(["eligible"] if flagged else []), *names]
            for batch in file.iter_batches(size, columns=columns, use_threads=False):
                values = np.column_stack([batch.column(name).to_numpy(zero_copy_only=False) for name in names])
                keys = batch.column("customer_key").to_numpy(zero_copy_only=False)
                table = FeatureTable(keys, self.as_of_us, names, values, self.feature_set.fingerprint())
                asked = batch.column("eligible").to_numpy(zero_copy_only=False) if flagged else np.ones(len(keys), bool)
                yield FeatureChunk(start, table, asked)
                start += batch.num_rows


@dataclass(frozen=True, eq=False)
class LogFeatures:
    """Features computed from the event log, anew each time that they are asked for."""

    feature_set: FeatureSet
    as_of_us: int
    currency: str | None
    view: CustomerView = field(repr=False)
    asked: npt.NDArray[np.bool_] = field(repr=False)

    @classmethod
    def read(
        cls, workspace: Workspace, feature_set: FeatureSet, settings: ChurnSettings, as_of_us: int | None
    ) -> LogFeatures:
        """The customers with an event known at `as_of`, by default just after the last recorded event.

        Raises:
            ArtefactError: there is no event log.
            NotEnoughDataError: nobody has an event before `as_of`.
        """
        data = read_log(workspace)
        instant = data.known_us if as_of_us is None else as_of_us
        view = known_customers(data.view, instant)
        if view.n_customers == 0:
            raise NotEnoughDataError(
                f"0 customers have an event before {format_instant(instant)}; choose a later instant"
            )
        return cls(feature_set, instant, data.currency, view, eligible(view, instant, settings))

    def customer_keys(self) -> pa.Array:
        """See `FeatureSource`."""
        return pa.array(self.view.customer_keys, pa.string())

    def chunks(self, size: int) -> Iterator[FeatureChunk]:
        """See `FeatureSource`."""
        for start in range(0, self.view.n_customers, size):
            rows = np.arange(start, min(start + size, self.view.n_customers), dtype=np.int64)
            yield FeatureChunk(
                start, compute(self.view.select(rows), self.feature_set, self.as_of_us), self.asked[rows]
            )


def newest_snapshot(workspace: Workspace, feature_set: ModelInputs) -> SnapshotFeatures:
    """The snapshot with the latest cut-off among those of this feature set.

    Raises:
        ArtefactError: there is none.
    """
    fitting = []
    for path in workspace.snapshots.glob("*.parquet"):
        try:
            fitting.append(SnapshotFeatures.open(path, feature_set))
        except ArtefactError:  # of an older feature set, or half written
            continue
    if not fitting:
        raise ArtefactError(f"there is no snapshot of this feature set; build one: {_build(feature_set)}")
    return max(fitting, key=lambda snapshot: (snapshot.as_of_us, snapshot.path.name))


def _build(inputs: ModelInputs) -> str:
    """The command that makes a snapshot of these inputs."""
    return "holdfast features build" + (" --table FILE" if isinstance(inputs, TableFeatures) else "")
