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

__all__ = ["StoredFeatures", "newest_snapshot"]


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Values float64 (n, f) of n customers at `as_of_us`; `rows` says where each customer stands."""

    path: Path
    as_of_us: int
    values: npt.NDArray[np.float64] = field(repr=False)
    rows: Mapping[str, int] = field(repr=False)

    def row(self, customer_key: str) -> npt.NDArray[np.float64] | None:
        """float64 (f,): one customer's values; None where the snapshot does not hold the customer."""
        place = self.rows.get(customer_key)
        return None if place is None else self.values[place]


def newest_snapshot(folder: Path, feature_set: FeatureSet, loaded: StoredFeatures | None) -> StoredFeatures | None:
    """The snapshot with the latest cut-off whose fingerprint is the feature set's; `loaded` if that is it already."""
    best: tuple[int, Path] | None = None
    for path in folder.glob("*.parquet"):
        as_of_us = _cut_off(path, feature_set.fingerprint())
        if as_of_us is not None and (best is None or as_of_us > best[0]):
            best = (as_of_us, path)
    if best is None:
        return None
    if loaded is not None and loaded.path == best[1] and loaded.as_of_us == best[0]:
        return loaded
    table = pq.read_table(best[1])
    values = np.ascontiguousarray(np.column_stack([table[name].to_numpy() for name in feature_set.names]), np.float64)
    keys = table["customer_key"].to_pylist()
    return StoredFeatures(best[1], best[0], values, {key: place for place, key in enumerate(keys)})


def _cut_off(path: Path, fingerprint: str) -> int | None:
    """The cut-off of a file, or None for a file that is unreadable, half written, or of another feature set."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        if metadata.get(b"feature_set_fingerprint", b"").decode() != fingerprint:
            return None
        return parse_instant(metadata[b"as_of"].decode())
    except (OSError, pa.ArrowException, KeyError, HoldfastError):
        return None
