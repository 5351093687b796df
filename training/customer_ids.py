"""The shop's own ids of customers, by their pseudonyms: for files that leave the workspace."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from features.workspace import Workspace
from serving.met_customers import known_identities

__all__ = ["CustomerIds"]


@dataclass(frozen=True, eq=False)
class CustomerIds:
    """The outside id of each customer of a source, null where it is not known."""

    ids: pa.Array
    places: pa.Array

    @classmethod
    def of(cls, workspace: Workspace, keys: pa.Array) -> CustomerIds:
        """The ids of pseudonyms, in their order."""
        identities = known_identities(workspace.identities, workspace.met_identities)
        places = pc.index_in(keys, value_set=identities["customer_key"].combine_chunks())
        return cls(identities["customer_id"].combine_chunks(), places)

    def at(self, start: int, n: int) -> pa.Array:
        """Those of `n` customers from one on."""
        return self.ids.take(self.places.slice(start, n))

    def __len__(self) -> int:
        return len(self.places)
