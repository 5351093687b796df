"""Times as shops write them to UTC microseconds; see `TimeForm` for what a local time means."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import TimeError
from features.importing.mapping import TimeForm
from features.importing.money import whole_numbers
from features.instants import parse_instant
from features.validation import LATEST_US, Findings

__all__ = ["instants"]

_NAIVE = pa.timestamp("us")
_INSTANT = pa.timestamp("us", tz="UTC")
_UNITS = {"unix_s": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
_WRONG = "is not a time of the mapping's format"
_NO_ZONE = "has no offset; give it one, or set time.zone in the mapping"


def instants(column: pa.Array, form: TimeForm, field: str, findings: Findings) -> pa.Array:
    """timestamp[us, UTC], null where missing or wrong; wrong ones are marked in `findings`."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _typed(column, form, field, findings)
    if form.format in _UNITS:
        return _counted(column, _UNITS[form.format], field, findings)
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    if form.format != "iso8601":
        read = pc.strptime(column, format=form.format, unit="us", error_is_null=True)
        findings.mark(_lost(column, read), field, _WRONG)
        if "%z" in form.format:
            return read.cast(_NAIVE).cast(_INSTANT) if read.type.tz is None else read.cast(_INSTANT)
        return _localised(read, form, field, findings)
    return _iso(column, form, field, findings)


def _typed(column: pa.Array, form: TimeForm, field: str, findings: Findings) -> pa.Array:
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return column.cast(_INSTANT, safe=False)
    return _localised(column.cast(_NAIVE, safe=False), form, field, findings)


def _localised(column: pa.Array, form: TimeForm, field: str, findings: Findings) -> pa.Array:
    if column.null_count == len(column):
        return column.cast(_INSTANT)
    if form.zone is None:
        findings.mark(pc.is_valid(column).to_numpy(zero_copy_only=False), field, _NO_ZONE)
        return pa.nulls(len(column), _INSTANT)
    local = pc.assume_timezone(column, form.zone, ambiguous="earliest", nonexistent="latest")
    return local.cast(_INSTANT)


def _counted(column: pa.Array, unit_us: int, field: str, findings: Findings) -> pa.Array:
    numbers, there = whole_numbers(column, field, findings)
    far = np.abs(numbers) > LATEST_US // unit_us
    findings.mark(far, field, _WRONG)
    return pa.array(np.where(far, 0, numbers) * unit_us, mask=~there | far).cast(_INSTANT)


def _iso(column: pa.Array, form: TimeForm, field: str, findings: Findings) -> pa.Array:
    """Whole column at once where all rows are of one form; else the odd rows one by one."""
    try:
        return column.cast(_INSTANT)
    except pa.ArrowInvalid:
        pass
    if form.zone is not None:
        try:
            return _localised(column.cast(_NAIVE), form, field, findings)
        except pa.ArrowInvalid:
            pass
    aware = pc.match_substring_regex(column, _AWARE)
    naive = pc.match_substring_regex(column, _PLAIN)
    try:
        first = pc.if_else(aware, column, None).cast(_INSTANT)
        second = _localised(pc.if_else(naive, column, None).cast(_NAIVE), form, field, findings)
    except pa.ArrowInvalid:  # a day that no month has
        return _one_by_one(column, form, field, findings)
    read = pc.coalesce(first, second)
    rest = _lost(column, read) & ~pc.fill_null(naive, fill_value=False).to_numpy(zero_copy_only=False)
    if not rest.any():
        return read
    some = Findings(int(rest.sum()))
    slow = _one_by_one(column.filter(pa.array(rest)), form, field, some)
    findings.add(some, np.flatnonzero(rest))
    return pc.replace_with_mask(read, pa.array(rest), slow)


_CLOCK = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_DAYTIME = r"[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_PLAIN = f"^{_CLOCK}({_DAYTIME})?$"
_AWARE = f"^{_CLOCK}{_DAYTIME}(Z|[+-]([01][0-9]):?[0-5][0-9])$"


def _one_by_one(column: pa.Array, form: TimeForm, field: str, findings: Findings) -> pa.Array:
    read: list[int | None] = []
    local: list[datetime | None] = []
    for text in column.to_pylist():
        moment = _parsed(text)
        read.append(moment if isinstance(moment, int) else None)
        local.append(moment if isinstance(moment, datetime) else None)
    naive = _localised(pa.array(local, _NAIVE), form, field, findings)
    result = pc.coalesce(pa.array(read, pa.int64()).cast(_INSTANT), naive)
    is_naive = np.array([one is not None for one in local], np.bool_)
    findings.mark(_lost(column, result) & ~is_naive, field, _WRONG)
    return result


def _parsed(text: str | None) -> int | datetime | None:
    """Microseconds of a time with an offset, a naive datetime of one without, None of anything else."""
    if text is None:
        return None
    try:
        return parse_instant(text)
    except TimeError:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    except OverflowError:
        return None


def _lost(before: pa.Array, after: pa.Array) -> npt.NDArray[np.bool_]:
    lost: npt.NDArray[np.bool_] = pc.and_(pc.is_valid(before), pc.is_null(after)).to_numpy(zero_copy_only=False)
    return lost
