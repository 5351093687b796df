"""Items and customers as an event file tells of them: for each key, one value of each attribute."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Attribute", "DerivedTable"]

_COMPACT_ROWS = 500_000


class Attribute:
    """The value of one attribute for each key: the most frequent (ties: the first in order), or the last one."""

    def __init__(self, choose: str) -> None:
        self._last = choose == "last"
        self._parts: list[pa.Table] = []
        self._n_rows = 0

    def add(self, keys: pa.Array, values: pa.Array) -> None:
        """Take note of rows; null values are passed over."""
        rows = pa.table({"key": keys, "value": values}).drop_null()
        self._keep(self._reduced(rows.append_column("n", pa.repeat(1, rows.num_rows))))
        if self._n_rows > _COMPACT_ROWS:
            whole = self._reduced(pa.concat_tables(self._parts))
            self._parts, self._n_rows = [], 0
            self._keep(whole)

    def chosen(self) -> pa.Table:
        """(key, value), one row for each key that has a value."""
        if not self._parts:
            return pa.table({"key": pa.array([], pa.string()), "value": pa.array([], pa.string())})
        whole = self._reduced(pa.concat_tables(self._parts))
        if not self._last:
            whole = whole.sort_by([("key", "ascending"), ("n", "descending"), ("value", "ascending")])
            whole = whole.group_by("key", use_threads=False).aggregate([("value", "first")])
            return whole.rename_columns(["key", "value"])
        return whole.select(["key", "value"])

    def _reduced(self, rows: pa.Table) -> pa.Table:
        if self._last:
            last = rows.group_by("key", use_threads=False).aggregate([("value", "last"), ("n", "sum")])
            return last.rename_columns(["key", "value", "n"])
        return rows.group_by(["key", "value"]).aggregate([("n", "sum")]).rename_columns(["key", "value", "n"])

    def _keep(self, rows: pa.Table) -> None:
        self._parts.append(rows)
        self._n_rows += rows.num_rows


class DerivedTable:
    """Distinct keys of a stream, with attributes."""

    def __init__(self, attributes: dict[str, Attribute]) -> None:
        self._attributes = attributes
        self._keys = pa.array([], pa.string())

    def add(self, keys: pa.Array, values: dict[str, pa.Array]) -> None:
        """Take note of rows; rows whose key is null are passed over."""
        if keys.null_count == len(keys):
            return
        seen = keys.unique().drop_null()
        fresh = seen.filter(pc.invert(pc.is_in(seen, value_set=self._keys)))
        self._keys = pa.concat_arrays([self._keys, fresh])
        there = pc.is_valid(keys) if keys.null_count else None
        for name, attribute in self._attributes.items():
            column = values[name]
            attribute.add(
                keys if there is None else keys.filter(there), column if there is None else column.filter(there)
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that are kept."""
        return tuple(self._attributes)

    def __len__(self) -> int:
        return len(self._keys)

    def table(self, key: str) -> pa.Table:
        """One row for each key, in order of first meeting; attributes that were never told are null."""
        columns = {key: self._keys}
        for name, attribute in self._attributes.items():
            chosen = attribute.chosen()
            at = pc.index_in(self._keys, value_set=chosen["key"].combine_chunks())
            columns[name] = chosen["value"].combine_chunks().take(at)
        return pa.table(columns)
