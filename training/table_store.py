"""The table of customers as the workspace keeps it: coded features by pseudonym, where the service looks for them.

The file is a snapshot as of the event log's, with the fingerprint of how the table is read. The shop's own ids stand in
the identities alone; no other cell of the table is kept as it was written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.compute import FeatureTable
from features.errors import ArtefactError, DataError
from features.instants import format_instant
from features.labelled_table import EncodedTable
from features.tables import IDENTITIES, upsert
from features.workspace import Workspace
from serving.snapshots import UNSEEN

__all__ = ["CHURNED", "check_names", "feature_table", "has_labels", "read_stored", "store_table"]

CHURNED = "label_churned"
"""The column with what the table's label said: 1 churned, 0 stayed, -1 not known."""

_KEPT = ("customer_key", "as_of", "eligible", UNSEEN, CHURNED)


def check_names(table: EncodedTable) -> None:
    """Refuse a column that is called as one of ours, in which the stored table keeps something else.

    Raises:
        DataError: there is one.
    """
    taken = [name for name in table.features.names if name in _KEPT]
    if taken:
        raise DataError(f"column {taken[0]} has a name that the stored table keeps for itself; rename it in the table")


def feature_table(table: EncodedTable, customer_keys: pa.Array, as_of_us: int) -> FeatureTable:
    """The values as everything that scores reads them."""
    keys = np.array(customer_keys.to_pylist(), object)
    return FeatureTable(keys, as_of_us, table.features.names, table.values, table.features.fingerprint())


def store_table(
    workspace: Workspace,
    table: EncodedTable,
    customer_ids: pa.Array,
    customer_keys: pa.Array,
    labels: npt.NDArray[np.int8],
    as_of_us: int,
) -> Path:
    """Keep the ids with the others, then the values; the service answers from them within a second.

    `eligible` are the customers of whom the label does not say that they have left already. The file appears whole or
    not at all; one of the same instant and columns is replaced.
    """
    workspace.identities.mkdir(parents=True, exist_ok=True, mode=0o700)
    upsert(workspace.identities, IDENTITIES, pa.table({"customer_key": customer_keys, "customer_id": customer_ids}))
    names = np.array(table.features.names, object)
    unseen = pa.array([names[row].tolist() for row in table.unseen], pa.list_(pa.string()))
    rows = feature_table(table, customer_keys, as_of_us).to_arrow()
    rows = rows.add_column(2, "eligible", pa.array(labels != 1))
    rows = rows.append_column(UNSEEN, unseen).append_column(CHURNED, pa.array(labels))
    fingerprint = table.features.fingerprint()
    workspace.snapshots.mkdir(parents=True, exist_ok=True)
    path = workspace.snapshots / f"table-{format_instant(as_of_us).replace(':', '')}-{fingerprint[:12]}.parquet"
    staged = path.with_suffix(".part")
    try:
        pq.write_table(rows, staged, compression="lz4")
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    return path


def read_stored(path: Path, names: tuple[str, ...]) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Pseudonyms, values float64 (n, f) and labels int8 (n,) of a stored table.

    Raises:
        ArtefactError: the file is gone, or is no stored table.
    """
    try:
        rows = pq.read_table(path)
        values = np.column_stack([rows[name].to_numpy() for name in names])
        return rows["customer_key"].to_pylist(), values, rows[CHURNED].to_numpy().astype(np.int8)
    except (OSError, pa.ArrowException, KeyError):
        raise ArtefactError(f"the stored table {path.name} is gone or is none; train again") from None


def has_labels(path: Path) -> bool:
    """Whether a stored table tells of anybody who churned or stayed."""
    return bool((pq.read_table(path, columns=[CHURNED])[CHURNED].to_numpy() >= 0).any())
