"""One batch of a source to events, by a mapping: drop, convert, judge, name. Whole columns at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import DataError
from features.importing.customers import CustomersMet
from features.importing.digests import content_ids
from features.importing.mapping import Mapping, Rule, factors
from features.importing.money import exponents_of, millionths, to_minor, whole_numbers
from features.importing.readers import SourceBatch
from features.importing.rules import matches
from features.importing.times import instants
from features.schema import EVENTS
from features.validation import LATEST_US, Findings, judge

__all__ = ["SourceColumns", "Transform", "Transformed"]

_WHOLE = ("quantity", "amount_minor", "discount_minor", "value")
_TIMES = ("occurred_at", "recorded_at")
_Bool = npt.NDArray[np.bool_]


class SourceColumns:
    """Columns of a batch by source name; text is trimmed, and null where nothing is left; so is NaN."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self._rows = rows
        self._clean: dict[str, pa.Array] = {}

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self._rows.schema.names

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return list(self._rows.schema.names)

    def __getitem__(self, name: str) -> pa.Array:
        if name not in self._clean:
            column = self._rows.column(name)
            if pa.types.is_null(column.type):
                column = column.cast(pa.string())
            if pa.types.is_string(column.type):
                column = pc.ascii_trim_whitespace(column)
                shortest = pc.min(pc.binary_length(column)).as_py()
                if shortest == 0:
                    column = pc.if_else(pc.equal(pc.binary_length(column), 0), None, column)
            elif pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
                column = pc.if_else(pc.is_nan(column), None, column)
            self._clean[name] = column
        return self._clean[name]

    def text(self, name: str) -> pa.Array:
        """The column as text; whole floats, as ids often come, without their ".0"."""
        column = self[name]
        if pa.types.is_string(column.type):
            return column
        if pa.types.is_floating(column.type):
            try:
                column = column.cast(pa.int64())
            except pa.ArrowInvalid:
                return self[name].cast(pa.string())
        if pa.types.is_binary(column.type) or pa.types.is_nested(column.type):
            raise DataError(f"source column {name} is {column.type}, which is neither text nor a number; convert it")
        return column.cast(pa.string())


@dataclass(frozen=True)
class Transformed:
    """Valid events of a batch (EVENTS columns), what is wrong with the other rows, and what rules left out.

    `findings` are over the rows of the source batch; `valid` are positions of `events` in it.
    """

    events: pa.RecordBatch
    valid: npt.NDArray[np.int64]
    findings: Findings
    dropped: Counter[str]


class Transform:
    """Turns batches into events by one mapping; `customers` remembers whom it met.

    An event at or after `before_us` is refused: one wrong year would move the log's end, and every cut-off with it.
    """

    def __init__(self, mapping: Mapping, customers: CustomersMet, before_us: int = LATEST_US) -> None:
        self._mapping = mapping
        self._customers = customers
        self._before_us = before_us

    def check(self, names: list[str]) -> None:
        """Refuse a source that lacks a column of the mapping.

        Raises:
            DataError: naming the columns that are missing and those that are there.
        """
        missing = [name for name in self._mapping.source_columns() if name not in names]
        if missing:
            raise DataError(
                f"the source has no column {', '.join(missing)}, which mapping {self._mapping.name} needs; "
                f"it has {', '.join(names)}"
            )

    def apply(self, batch: SourceBatch) -> Transformed:
        """Events of one batch.

        Raises:
            DataError: a column of the mapping is absent, or of a type that means nothing here.
        """
        self.check(batch.rows.schema.names)
        columns = SourceColumns(batch.rows)
        left_out, dropped = self._left_out(columns)
        kept = np.flatnonzero(~left_out)
        if left_out.any():
            columns = SourceColumns(batch.rows.take(pa.array(kept)))
        found = Findings(len(kept))
        rows = self._converted(columns, found)
        judged = judge(rows, EVENTS)
        judged.rename("customer_key", "customer_id")
        found.add(judged, np.arange(len(kept)))
        for name in ("occurred_at", "recorded_at"):
            late = pc.greater_equal(rows[name].cast(pa.int64()), self._before_us)
            found.mark(np.asarray(pc.fill_null(late, fill_value=False)), name, "lies in the future")
        fine = found.fine
        if not fine.all():
            rows = rows.filter(pa.array(fine))
        events = self._named(rows, columns, fine)
        findings = Findings(len(left_out))
        findings.add(found, kept)
        return Transformed(events, kept[fine], findings, dropped)

    def _left_out(self, columns: SourceColumns) -> tuple[_Bool, Counter[str]]:
        left_out = np.zeros(len(columns), np.bool_)
        dropped: Counter[str] = Counter()
        rules: list[tuple[Rule, bool]] = [(rule, True) for rule in self._mapping.drop]
        rules += [(rule, False) for rule in self._mapping.keep]
        for rule, drops in rules:
            fresh = (matches(columns[rule.column], rule) == drops) & ~left_out
            if fresh.any():
                dropped[rule.name] += int(fresh.sum())
                left_out |= fresh
        return left_out, dropped

    def _converted(self, columns: SourceColumns, findings: Findings) -> pa.Table:
        """EVENTS columns; the outside id stands in customer_key, and a dash in an event_id yet to be made."""
        mapping, n = self._mapping, len(columns)
        made: dict[str, pa.Array] = {name: pa.repeat(value, n) for name, value in mapping.constants.items()}
        for ours, source in mapping.columns.items():
            if source in columns and ours not in _WHOLE + _TIMES:
                made[ours] = columns.text(source)
        made["customer_key"] = made.pop("customer_id")
        id_column = mapping.event_id.column
        has_ids = id_column is not None and id_column in columns
        made["event_id"] = columns.text(id_column) if has_ids and id_column is not None else pa.repeat("-", n)
        self._add_times(made, columns, findings)
        made["kind"] = self._kinds(columns)
        back = self._turned_back(made["kind"])
        for ours in _WHOLE:
            if ours in mapping.columns and mapping.columns[ours] in columns:
                values, there = whole_numbers(columns[mapping.columns[ours]], ours, findings)
                values = np.where(back, np.abs(values), values) if ours != "value" else values
                made[ours] = pa.array(values, mask=~there)
        self._add_money(made, columns, back, findings)
        arrays = [made[name].cast(EVENTS.arrow.field(name).type) if name in made else
                  pa.nulls(n, EVENTS.arrow.field(name).type) for name in EVENTS.names]  # fmt: skip
        return pa.table(arrays, names=list(EVENTS.names))

    def _add_times(self, made: dict[str, pa.Array], columns: SourceColumns, findings: Findings) -> None:
        for ours in _TIMES:
            source = self._mapping.columns.get(ours)
            if source is not None and source in columns:
                made[ours] = instants(columns[source], self._mapping.time, ours, findings)
        occurred = made["occurred_at"]
        made["recorded_at"] = pc.coalesce(made["recorded_at"], occurred) if "recorded_at" in made else occurred

    def _kinds(self, columns: SourceColumns) -> pa.Array:
        kind = self._mapping.kind
        if kind.column is not None:
            given = columns.text(kind.column)
            encoded = given.dictionary_encode()
            words = [kind.values.get(word, word) for word in encoded.dictionary.to_pylist()]
            decided = pa.array(words, pa.string()).take(encoded.indices)
            if kind.constant is not None:
                decided = pc.fill_null(decided, kind.constant)
        else:
            decided = pa.repeat(kind.constant, len(columns))
        for rule in reversed(kind.rules):
            decided = pc.if_else(pa.array(matches(columns[rule.column], rule)), rule.kind, decided)
        return decided

    def _turned_back(self, kinds: pa.Array) -> _Bool:
        """Rows whose negative numbers are to be read as positive."""
        if not self._mapping.returns_negative:
            return np.zeros(len(kinds), np.bool_)
        back: _Bool = pc.fill_null(pc.equal(kinds, "return"), fill_value=False).to_numpy(zero_copy_only=False)
        return back

    def _add_money(self, made: dict[str, pa.Array], columns: SourceColumns, back: _Bool, findings: Findings) -> None:
        money = self._mapping.money
        if "currency" not in made and money.currency is not None:
            made["currency"] = pa.repeat(money.currency, len(columns))
        elif "currency" in made and money.currency is not None:
            made["currency"] = pc.fill_null(made["currency"], money.currency)
        for ours, product in (("amount_minor", money.amount), ("discount_minor", money.discount)):
            if product is None:
                continue
            if "currency" not in made:
                raise DataError(
                    f"mapping {self._mapping.name} has money but no currency; set money.currency or columns.currency"
                )
            sources = factors(product)
            values, there = millionths(columns[sources[0]], ours, findings)
            pieces = None
            if len(sources) == 2:
                pieces, counted = whole_numbers(columns[sources[1]], ours, findings)
                there = there & counted
            places = exponents_of(made["currency"], findings)
            amounts = to_minor(values, pieces, places, ours, findings)
            made[ours] = pa.array(np.where(back, np.abs(amounts), amounts), mask=~there)
        if "currency" in made and not any(name in made for name in ("amount_minor", "discount_minor")):
            exponents_of(made["currency"], findings)

    def _named(self, rows: pa.Table, columns: SourceColumns, fine: _Bool) -> pa.RecordBatch:
        """The valid rows with the customer's pseudonym, and with an event_id where the source has none."""
        arrays = dict(zip(rows.column_names, (column.combine_chunks() for column in rows.columns), strict=True))
        customer_ids = arrays["customer_key"]
        keys = self._customers.keys(customer_ids)
        arrays["customer_key"] = keys
        id_column = self._mapping.event_id.column
        if id_column is None or id_column not in columns:
            chosen = None if fine.all() else pa.array(fine)
            customer_column = self._mapping.columns["customer_id"]
            parts = [
                keys if name == customer_column else columns[name] if chosen is None else columns[name].filter(chosen)
                for name in self._mapping.event_id.columns or columns.names
            ]
            arrays["event_id"] = content_ids(parts)
        return pa.RecordBatch.from_arrays([arrays[name] for name in EVENTS.names], schema=EVENTS.arrow)
