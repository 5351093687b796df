"""The customers met by an import: each one's pseudonym is made once."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from features.pseudonyms import Pseudonyms

__all__ = ["CustomersMet"]


class CustomersMet:
    """Outside ids and their pseudonyms, in order of first meeting."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._ids = pa.array([], pa.string())
        self._keys = pa.array([], pa.string())

    def keys(self, customer_ids: pa.Array) -> pa.Array:
        """The pseudonym of each id; ids are strings of 1 to 256 characters, none null."""
        found = pc.index_in(customer_ids, value_set=self._ids)
        if found.null_count:
            fresh = customer_ids.filter(pc.is_null(found)).unique()
            self._ids = pa.concat_arrays([self._ids, fresh])
            self._keys = pa.concat_arrays([self._keys, self._pseudonyms.of_column(fresh)])
            found = pc.index_in(customer_ids, value_set=self._ids)
        return self._keys.take(found)

    def __len__(self) -> int:
        return len(self._ids)

    def identities(self) -> pa.Table:
        """(customer_key, customer_id) of every customer met."""
        return pa.table({"customer_key": self._keys, "customer_id": self._ids})
