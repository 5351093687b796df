"""Validation that explains: every row that breaks a rule of the schema is named with its field and the reason.

A row is judged by the first rule it breaks, so one bad row is one line of the quarantine and totals reconcile:
rows = accepted + quarantined. Reasons are fixed sentences with limits in them, never submitted values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import DataError, TimeError
from features.instants import DAY_US
from features.schema import KINDS, MAX_ID_LENGTH, TableSchema

__all__ = ["FINDINGS", "LATEST_US", "Findings", "Validated", "judge", "shaped", "validate"]

LATEST_US = 84_006 * DAY_US  # 2200-01-01T00:00:00Z
FINDINGS = pa.schema([("row", pa.int64()), ("field", pa.string()), ("reason", pa.string())])

_Mask = npt.NDArray[np.bool_]
_IDS = ("event_id", "customer_key", "customer_id", "item_id", "order_id", "recommendation_id", "decision_id")
_WORDS = ("kind", "channel", "topic", "currency", "country", "segment", "category", "brand")
_MONEY = ("amount_minor", "discount_minor", "price_minor")


class Findings:
    """What is wrong with each of `n` rows: nothing, or the first (field, reason) that was marked."""

    def __init__(self, n: int) -> None:
        self.codes: npt.NDArray[np.int32] = np.zeros(n, np.int32)
        self.reasons: list[tuple[str, str]] = [("", "")]

    def mark(self, wrong: _Mask, field: str, reason: str) -> None:
        """Mark rows where `wrong` is true and that nothing else is the matter with yet."""
        fresh = wrong & (self.codes == 0)
        if fresh.any():
            if (field, reason) not in self.reasons:
                self.reasons.append((field, reason))
            self.codes[fresh] = self.reasons.index((field, reason))

    @property
    def fine(self) -> _Mask:
        """True where nothing is the matter."""
        fine: _Mask = self.codes == 0
        return fine

    def add(self, other: Findings, positions: npt.NDArray[np.int64]) -> None:
        """Take over findings made on the rows at `positions` of this one."""
        for code, (field, reason) in enumerate(other.reasons[1:], start=1):
            wrong = np.zeros(len(self.codes), np.bool_)
            wrong[positions[other.codes == code]] = True
            self.mark(wrong, field, reason)

    def rename(self, field: str, other: str) -> None:
        """Report a field under the name that the source's owner knows it by."""
        self.reasons = [(other if name == field else name, reason) for name, reason in self.reasons]

    def counts(self) -> Counter[tuple[str, str]]:
        """How many rows each (field, reason) holds."""
        tally = np.bincount(self.codes, minlength=len(self.reasons))
        return Counter({self.reasons[code]: int(n) for code, n in enumerate(tally) if code and n})

    def table(self, row_numbers: npt.NDArray[np.int64]) -> pa.Table:
        """One line (row, field, reason) for each bad row; `row_numbers` are those of the source."""
        bad = np.flatnonzero(self.codes)
        codes = self.codes[bad]
        fields = pa.array([field for field, _ in self.reasons], pa.string()).take(pa.array(codes))
        reasons = pa.array([reason for _, reason in self.reasons], pa.string()).take(pa.array(codes))
        return pa.table([pa.array(row_numbers[bad]), fields, reasons], schema=FINDINGS)


@dataclass(frozen=True)
class Validated:
    """`accepted` rows in the schema's columns, and `quarantined` lines of (row, field, reason)."""

    accepted: pa.Table
    quarantined: pa.Table


def validate(rows: pa.Table, schema: TableSchema, row_numbers: npt.NDArray[np.int64] | None = None) -> Validated:
    """Divide rows into those that obey the schema and those that do not, with the reason for each.

    Args:
        rows: columns of the schema; optional ones may be absent, other ones are refused.
        schema: what they are judged by.
        row_numbers: where each row stands in its source; 0, 1, 2, ... if not given.

    Raises:
        DataError: a required column is absent, a column is unknown or of a type that does not fit.
    """
    rows = shaped(rows, schema)
    findings = judge(rows, schema)
    numbers = np.arange(rows.num_rows, dtype=np.int64) if row_numbers is None else row_numbers
    fine = findings.fine
    accepted = rows if fine.all() else rows.filter(pa.array(fine))
    return Validated(accepted, findings.table(numbers))


def judge(rows: pa.Table, schema: TableSchema) -> Findings:
    """What is wrong with each row; `rows` is shaped already (see `shaped`)."""
    findings = Findings(rows.num_rows)
    columns = {name: rows[name] for name in schema.names}
    for name in schema.required:
        if columns[name].null_count:
            findings.mark(_mask(pc.is_null(columns[name])), name, "is missing")
    for name in schema.names:
        _check_text(columns[name], name, findings)
        if pa.types.is_timestamp(columns[name].type):
            _check_time(columns[name], name, findings)
        if name == "quantity":
            _mark_where(columns[name], lambda v: v < 1, name, "is below 1", findings)
        if name in _MONEY:
            _mark_where(columns[name], lambda v: v < 0, name, "is negative; money is never below 0", findings)
    if schema.name == "events":
        _check_events(columns, findings)
    _check_currency(columns, findings)
    return findings


def shaped(rows: pa.Table, schema: TableSchema) -> pa.Table:
    """The rows in the schema's columns, order and types; absent optional columns are null.

    Raises:
        DataError: a required column is absent, a column is unknown or of a type that does not fit.
        TimeError: a time has no time zone.
    """
    unknown = [name for name in rows.column_names if name not in schema.names]
    if unknown:
        raise DataError(f"table {schema.name} has no column {unknown[0]}; known: {', '.join(schema.names)}")
    arrays = []
    for column in schema.columns:
        if column.name in rows.column_names:
            given = rows[column.name].type
            if pa.types.is_timestamp(column.type) and (pa.types.is_date(given) or getattr(given, "tz", "") is None):
                raise TimeError(
                    f"{schema.name}.{column.name} is {given}, which has no time zone; convert it to {column.type}"
                )
            try:
                arrays.append(rows[column.name].cast(column.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise DataError(
                    f"{schema.name}.{column.name} is {given} and does not fit {column.type}; convert it"
                ) from None
        elif column.required:
            raise DataError(f"table {schema.name} needs a column {column.name}: {column.meaning}")
        else:
            arrays.append(pa.chunked_array([pa.nulls(rows.num_rows, column.type)]))
    # Nullable until judged: a missing required value is a finding, not a crash.
    return pa.table(arrays, schema=pa.schema([pa.field(c.name, c.type) for c in schema.columns]))


def _mask(condition: pa.ChunkedArray | pa.Array) -> _Mask:
    filled = pc.fill_null(condition, fill_value=False)
    result: _Mask = filled.to_numpy() if isinstance(filled, pa.ChunkedArray) else filled.to_numpy(zero_copy_only=False)
    return result


def _mark_where(
    column: pa.ChunkedArray,
    rule: Callable[[npt.NDArray[np.int64]], _Mask],
    field: str,
    reason: str,
    findings: Findings,
) -> None:
    """Mark the rows whose value is there and for which `rule` (over int64 values) is true."""
    if column.null_count == len(column):
        return
    wrong = rule(_int64(column))
    if column.null_count:
        wrong = wrong & _mask(pc.is_valid(column))
    findings.mark(wrong, field, reason)


def _int64(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Values as int64 (microseconds for instants), 0 where null."""
    values: npt.NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    return values


def _check_text(column: pa.ChunkedArray, name: str, findings: Findings) -> None:
    if name not in _IDS + _WORDS or column.null_count == len(column):
        return
    bounds = pc.min_max(pc.binary_length(column)).as_py()
    if bounds["min"] == 0:
        findings.mark(_mask(pc.equal(pc.binary_length(column), 0)), name, "is empty")
    if bounds["max"] > MAX_ID_LENGTH:
        long = _mask(pc.greater(pc.utf8_length(column), MAX_ID_LENGTH))
        findings.mark(long, name, f"has more than {MAX_ID_LENGTH} characters")


def _check_time(column: pa.ChunkedArray, name: str, findings: Findings) -> None:
    reason = "is not between 1970-01-01 and 2200-01-01"
    _mark_where(column, lambda v: (v < 0) | (v >= LATEST_US), name, reason, findings)


def _check_currency(columns: dict[str, pa.ChunkedArray], findings: Findings) -> None:
    if "currency" not in columns:
        return
    currency = columns["currency"]
    if currency.null_count < len(currency):
        words = currency.combine_chunks().dictionary_encode()
        good = [word is not None and len(word) == 3 and word.isascii() and word.isalpha() and word.isupper()
                for word in words.dictionary.to_pylist()]  # fmt: skip
        bad = pa.array([not one for one in good], pa.bool_()).take(words.indices)
        findings.mark(_mask(bad), "currency", "is not a three-letter ISO-4217 code")
    if currency.null_count:
        absent = _mask(pc.is_null(currency))
        for name in _MONEY:
            if name in columns and columns[name].null_count < len(columns[name]):
                findings.mark(absent & _mask(pc.is_valid(columns[name])), "currency", f"is missing beside {name}")


def _check_events(columns: dict[str, pa.ChunkedArray], findings: Findings) -> None:
    early = _int64(columns["recorded_at"]) < _int64(columns["occurred_at"])
    both = _mask(pc.and_(pc.is_valid(columns["recorded_at"]), pc.is_valid(columns["occurred_at"])))
    findings.mark(early & both, "recorded_at", "is before occurred_at")
    kinds = columns["kind"].combine_chunks().dictionary_encode()
    names = kinds.dictionary.to_pylist()
    codes = pc.fill_null(kinds.indices, -1).to_numpy(zero_copy_only=False)
    unknown = np.array([name not in KINDS for name in names], np.bool_)
    if unknown.any():
        findings.mark(np.append(unknown, False)[codes], "kind", f"is none of {', '.join(KINDS)}")
    for code, name in enumerate(names):
        if name in KINDS:
            _check_kind(columns, name, codes == code, findings)


def _check_kind(columns: dict[str, pa.ChunkedArray], name: str, of_kind: _Mask, findings: Findings) -> None:
    kind = KINDS[name]
    for field in kind.required:
        if columns[field].null_count:
            findings.mark(of_kind & _mask(pc.is_null(columns[field])), field, f"is missing; kind {name} needs it")
    value = columns["value"]
    if kind.value_range is not None and value.null_count < len(value):
        low, high = kind.value_range
        amounts = _int64(value)
        wrong = of_kind & _mask(pc.is_valid(value)) & ((amounts < low) | (amounts > high))
        findings.mark(wrong, "value", f"is not between {low} and {high}, as kind {name} needs")
