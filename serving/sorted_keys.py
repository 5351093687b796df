"""Find pseudonyms among a million sorted ones: a view of the bytes that Arrow holds, searched by halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["SortedKeys"]


@dataclass(frozen=True, eq=False)
class SortedKeys:
    """Distinct texts, ascending by their bytes; as bytes of one width, (n,)."""

    texts: npt.NDArray[np.bytes_] = field(repr=False)

    @classmethod
    def of(cls, keys: pa.Array) -> SortedKeys:
        """The keys of an array without nulls, sorted already. Of one length, as pseudonyms are, they are not copied."""
        if not len(keys):
            return cls(np.zeros(0, "S1"))
        lengths = pc.min_max(pc.binary_length(keys)).as_py()
        width = max(lengths["max"], 1)
        if lengths["min"] == lengths["max"] and keys.type == pa.string():
            offsets, data = keys.buffers()[1], keys.buffers()[2]
            start = int(np.frombuffer(offsets, np.int32, 1, keys.offset * 4)[0])
            return cls(np.frombuffer(data, f"S{width}", len(keys), start))
        return cls(np.array([key.encode() for key in keys.to_pylist()], f"S{width}"))

    def __len__(self) -> int:
        return int(self.texts.size)

    def places(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """int64: the place of each key; -1 for one that is not there.

        >>> SortedKeys.of(pa.array(["a", "bb", "c"])).places(["c", "b", "bb", "ccc"]).tolist()
        [2, -1, 1, -1]
        """
        return self.places_of(np.array([key.encode() for key in keys], np.bytes_))

    def places_of(self, texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
        """The same for texts as bytes, such as those of other sorted keys."""
        if not len(self):
            return np.full(texts.size, -1)
        found = np.minimum(np.searchsorted(self.texts, texts), len(self) - 1)
        return np.where(self.texts[found] == texts, found, -1)
