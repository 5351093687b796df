"""Features as built at the last cut-off: the newest snapshot file that fits the feature set, held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import HoldfastError
from features.feature_set import FeatureSet
from features.instants import parse_instant

__all__ = ["Snapshots", "StoredFeatures"]


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Values float64 (n, f) of n customers at `as_of_us`; `rows` says where each customer stands."""

    as_of_us: int
    values: npt.NDArray[np.float64] = field(repr=False)
    rows: Mapping[str, int] = field(repr=False)

    def row(self, customer_key: str) -> npt.NDArray[np.float64] | None:
        """float64 (f,): one customer's values; None where the snapshot does not hold the customer."""
        place = self.rows.get(customer_key)
        return None if place is None else self.values[place]


class Snapshots:
    """Follows a folder of snapshot files. `stored` is the one with the latest cut-off that fits; None if none does."""

    def __init__(self, folder: Path, feature_set: FeatureSet) -> None:
        self.stored: StoredFeatures | None = None
        self._folder = folder
        self._feature_set = feature_set
        self._seen: frozenset[tuple[str, int, int]] = frozenset()

    def poll(self) -> None:
        """Look at the folder; files are opened only when one has come, gone or changed."""
        files = {path: path.stat() for path in self._folder.glob("*.parquet")}
        seen = frozenset((path.name, stat.st_mtime_ns, stat.st_size) for path, stat in files.items())
        if seen != self._seen:
            cut_offs = [(_cut_off(path, self._feature_set.fingerprint()), path) for path in files]
            fitting = [(as_of_us, path) for as_of_us, path in cut_offs if as_of_us is not None]
            self.stored = _read(*max(fitting), self._feature_set.names) if fitting else None
            self._seen = seen


def _read(as_of_us: int, path: Path, names: tuple[str, ...]) -> StoredFeatures:
    table = pq.read_table(path)
    values = np.ascontiguousarray(np.column_stack([table[name].to_numpy() for name in names]), np.float64)
    keys = table["customer_key"].to_pylist()
    return StoredFeatures(as_of_us, values, {key: place for place, key in enumerate(keys)})


def _cut_off(path: Path, fingerprint: str) -> int | None:
    """The cut-off of a file, or None for a file that is unreadable, half written, or of another feature set."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        if metadata.get(b"feature_set_fingerprint", b"").decode() != fingerprint:
            return None
        return parse_instant(metadata[b"as_of"].decode())
    except (OSError, pa.ArrowException, KeyError, HoldfastError):
        return None
