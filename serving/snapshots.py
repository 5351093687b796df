"""Features as built at the last cut-off: the newest snapshot file that fits what a model reads, held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import HoldfastError
from features.feature_set import ModelInputs
from features.instants import parse_instant

__all__ = ["UNSEEN", "Snapshots", "StoredFeatures"]

UNSEEN = "unseen_features"
"""The column of a table's snapshot with the features that held something unknown to training, a list a customer."""


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Values float64 (n, f) of n customers at `as_of_us`; `rows` says where each customer stands.

    unseen: for the customers of a table who have any, the features whose value training had never seen.
    """

    as_of_us: int
    values: npt.NDArray[np.float64] = field(repr=False)
    rows: Mapping[str, int] = field(repr=False)
    unseen: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def row(self, customer_key: str) -> npt.NDArray[np.float64] | None:
        """float64 (f,): one customer's values; None where the snapshot does not hold the customer."""
        place = self.rows.get(customer_key)
        return None if place is None else self.values[place]

    def rows_of(self, customer_keys: Iterable[str]) -> dict[str, npt.NDArray[np.float64]]:
        """The values of those customers whom the snapshot holds, by pseudonym."""
        return {key: self.values[self.rows[key]] for key in customer_keys if key in self.rows}


class Snapshots:
    """Follows a folder of snapshot files, for the feature set and for what releases of tables read beside it."""

    def __init__(self, folder: Path, feature_set: ModelInputs) -> None:
        self._folder = folder
        self._feature_set = feature_set
        self._seen: object = None
        self._stored: dict[str, StoredFeatures] = {}

    @property
    def stored(self) -> StoredFeatures | None:
        """The features of the event log with the latest cut-off that fits; None if none does."""
        return self.of(self._feature_set.fingerprint())

    def of(self, fingerprint: str) -> StoredFeatures | None:
        """Those of this fingerprint with the latest cut-off."""
        return self._stored.get(fingerprint)

    def poll(self, tables: Sequence[ModelInputs] = ()) -> None:
        """Look at the folder; files are opened only when one has come, gone or changed, or another table is read."""
        wanted = {inputs.fingerprint(): inputs.names for inputs in (self._feature_set, *tables)}
        files = {path: path.stat() for path in self._folder.glob("*.parquet")}
        seen = frozenset((path.name, stat.st_mtime_ns, stat.st_size) for path, stat in files.items()), frozenset(wanted)
        if seen != self._seen:
            newest: dict[str, tuple[int, Path]] = {}
            for path in files:
                found = _described(path)
                if found is not None and found[0] in wanted:
                    newest[found[0]] = max(newest.get(found[0], (found[1], path)), (found[1], path))
            self._stored = {key: _read(*at, wanted[key]) for key, at in newest.items()}
            self._seen = seen


def _read(as_of_us: int, path: Path, names: tuple[str, ...]) -> StoredFeatures:
    table = pq.read_table(path)
    values = np.ascontiguousarray(np.column_stack([table[name].to_numpy() for name in names]), np.float64)
    keys = table["customer_key"].to_pylist()
    unseen = table[UNSEEN].to_pylist() if UNSEEN in table.column_names else []
    return StoredFeatures(
        as_of_us,
        values,
        {key: place for place, key in enumerate(keys)},
        {key: tuple(found) for key, found in zip(keys, unseen, strict=False) if found},
    )


def _described(path: Path) -> tuple[str, int] | None:
    """The fingerprint and the cut-off of a file, or None for a file that is unreadable or half written."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        return metadata[b"feature_set_fingerprint"].decode(), parse_instant(metadata[b"as_of"].decode())
    except (OSError, pa.ArrowException, KeyError, HoldfastError):
        return None
