"""A table of customers to be scored by a release of a table: read as the release says, or refused by column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.errors import ArtefactError, ConfigurationError
from features.instants import format_instant
from features.labelled_table import EncodedTable, TableForm, encode, read_labelled_table
from features.pseudonyms import Pseudonyms
from features.table_features import TableFeatures
from features.workspace import Workspace
from training.score_sources import FeatureChunk, SnapshotFeatures, newest_snapshot
from training.table_store import feature_table, has_labels, store_table

__all__ = ["GivenTable", "TableRows", "read_given"]

_NAMED = 5


@dataclass(frozen=True)
class GivenTable:
    """A file to score, how it is written, and when it was (dates count back from there)."""

    path: Path
    as_of_us: int
    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True, eq=False)
class TableRows:
    """The rows of a table as a source of features; see `FeatureSource`. notes: what was passed over, in words."""

    encoded: EncodedTable = field(repr=False)
    customer_ids: pa.Array = field(repr=False)
    keys: pa.Array = field(repr=False)
    as_of_us: int
    notes: tuple[str, ...]
    currency: str | None = None

    def customer_keys(self) -> pa.Array:
        """See `FeatureSource`."""
        return self.keys

    def chunks(self, size: int) -> Iterator[FeatureChunk]:
        """See `FeatureSource`; nobody in a table to score is known to have left, so everybody is asked about."""
        table = feature_table(self.encoded, self.keys, self.as_of_us)
        for start in range(0, len(self.keys), size):
            rows = np.arange(start, min(start + size, len(self.keys)), dtype=np.int64)
            yield FeatureChunk(start, table.select(rows), np.ones(rows.size, np.bool_))

    def store(self, workspace: Workspace) -> Path:
        """Keep these rows as the newest stored table, from which the service answers within a second.

        Raises:
            ConfigurationError: a later one of these columns is stored, and would go on being answered from; or one of
                the same instant with the labels that versions are compared by, which would be lost.
        """
        stored = _stored(workspace, self.encoded.features)
        if stored is not None and stored.as_of_us > self.as_of_us:
            raise ConfigurationError(
                f"the stored table is as of {format_instant(stored.as_of_us)}, later than "
                f"{format_instant(self.as_of_us)}; the service answers from the latest, so name the instant at which "
                "this one was written (--as-of)"
            )
        if stored is not None and stored.as_of_us == self.as_of_us and has_labels(stored.path):
            raise ConfigurationError(
                f"the table that was learnt from is stored as of {format_instant(self.as_of_us)} too, with the labels "
                "by which versions are compared; name the later instant at which this one was written (--as-of)"
            )
        labels: npt.NDArray[np.int8] = np.full(len(self.keys), -1, np.int8)
        return store_table(workspace, self.encoded, self.customer_ids, self.keys, labels, self.as_of_us)


def read_given(workspace: Workspace, features: TableFeatures, given: GivenTable) -> TableRows:
    """Read a table in the columns that a release reads; a label in it is passed over.

    Raises:
        ConfigurationError: there is no such file or id column.
        DataError: a column is missing or of another kind than in training; the message names it.
    """
    form = TableForm(features.id_column, delimiter=given.delimiter, encoding=given.encoding)
    table = read_labelled_table(given.path, form)
    encoded = encode(table, features, given.as_of_us)
    keys = Pseudonyms.load(workspace.pseudonym_keys).of_column(table.customer_ids)
    notes = (*table.notes, *_unseen(encoded))
    return TableRows(encoded, table.customer_ids, keys, given.as_of_us, notes)


def _stored(workspace: Workspace, features: TableFeatures) -> SnapshotFeatures | None:
    try:
        return newest_snapshot(workspace, features)
    except ArtefactError:  # there is none
        return None


def _unseen(encoded: EncodedTable) -> Iterator[str]:
    counts = encoded.unseen.sum(axis=0).tolist()
    found = [(name, count) for name, count in zip(encoded.features.names, counts, strict=True) if count]
    for name, count in found[:_NAMED]:
        yield f"{count:,} customers hold a value in {name} that training had not seen; it counts as missing"
    if len(found) > _NAMED:
        yield f"{len(found) - _NAMED} further columns hold such values"
