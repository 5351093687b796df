"""Outside ids of pseudonyms, for the answers that list customers: read when first asked for, followed from then on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from serving.met_customers import known_identities
from serving.sorted_keys import SortedKeys

__all__ = ["Identities"]


class Identities:
    """The identities, kept in memory once it was needed; a million customers take about 70 MB.

    Reads the disk, so it is not for the event loop. A customer whose identity was erased is not found from the next
    look on.
    """

    def __init__(self, path: Path, met: Path) -> None:
        self._path = path
        self._met = met
        self._seen: tuple[tuple[str, int], ...] | None = None
        self._keys = SortedKeys.of(pa.array([], pa.string()))
        self._ids: pa.Array = pa.array([], pa.string())
        self._lock = threading.Lock()

    def ids_of(self, customer_keys: Sequence[str]) -> list[str | None]:
        """The outside id of each pseudonym; None where none is known.

        Raises:
            ArtefactError: the table cannot be read.
            UnavailableError: the ids that wait to be sealed cannot be read now.
        """
        with self._lock:
            self._follow()
            keys, ids = self._keys, self._ids
        places = keys.places(customer_keys)
        return ids.take(pa.array(places, mask=places < 0)).to_pylist()  # type: ignore[no-any-return]

    def _follow(self) -> None:
        """Read everything again when a version of the table, or a new customer, has come."""
        files = [*sorted((self._path / "_delta_log").glob("*.json")), *self._met.parent.glob(self._met.name)]
        seen = tuple((path.name, path.stat().st_mtime_ns) for path in files)
        if seen != self._seen:
            table = known_identities(self._path, self._met)
            self._keys = SortedKeys.of(table["customer_key"].combine_chunks())
            self._ids = table["customer_id"].combine_chunks()
            self._seen = seen
