"""The cells of a table's column as numbers, yes or no, or days; text as people and programs write it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.instants import DAY_US

__all__ = ["Cells", "days", "flags", "is_nested", "is_text", "numbers", "present", "texts"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_MISSING = ("", "na", "n/a", "nan", "null", "#n/a", "?")
_YES, _NO = ("yes", "y", "true", "t"), ("no", "n", "false", "f")
_SIGNS = r"^([-+]?)\s*[$€£¥]\s*"
_GROUPED = r"^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$"
_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?(Z|[-+]\d{2}:?\d{2})?$"


@dataclass(frozen=True, eq=False)
class Cells:
    """n cells read as numbers: values float64 (n,), NaN is missing; unreadable: bool (n,), there but no such value."""

    values: Floats
    unreadable: Flags

    @property
    def n_read(self) -> int:
        """Cells with a value that could be read."""
        return int(np.count_nonzero(~np.isnan(self.values)))


def is_text(column: pa.Array) -> bool:
    """Whether the column's type is text."""
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def is_nested(column: pa.Array) -> bool:
    """Whether cells hold lists, objects or bytes, which no table of customers can be learnt from."""
    return bool(pa.types.is_nested(column.type) or pa.types.is_binary(column.type))


def texts(column: pa.Array) -> pa.Array:
    """Cells as text without blanks around; null where missing, or where a word says so.

    >>> texts(pa.array([" a ", "N/A", "", None, "None"])).to_pylist()
    ['a', None, None, None, 'None']
    """
    if pa.types.is_floating(column.type):  # 7.0 is how a whole number with gaps is kept
        whole = pc.and_(pc.is_finite(column), pc.equal(column, pc.round(column)))
        small = pc.less(pc.abs(column), 1e15)
        if pc.all(pc.fill_null(pc.and_(whole, small), True)).as_py():
            column = column.cast(pa.int64())
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    lower = pc.utf8_lower(trimmed)
    return pc.if_else(pc.is_in(lower, value_set=pa.array(_MISSING)), pa.scalar(None, pa.string()), trimmed)


def present(column: pa.Array) -> Flags:
    """Whether a cell holds anything, bool (n,)."""
    read = texts(column) if is_text(column) else column
    return np.asarray(pc.is_valid(read).to_numpy(zero_copy_only=False), dtype=np.bool_)


def numbers(column: pa.Array) -> Cells:
    """Cells as numbers: blanks around, a currency sign, a percent sign and commas between thousands are taken off.

    >>> numbers(pa.array(["29.85", " ", "$1,234.5", "12%", "many"])).values.tolist()
    [29.85, nan, 1234.5, 12.0, nan]
    """
    there = present(column)
    if pa.types.is_boolean(column.type) or not is_text(column):
        found = _floats(column) if _is_numeric(column) else np.full(len(column), np.nan)
    else:
        bare = pc.replace_substring_regex(texts(column), _SIGNS, r"\1")
        bare = pc.utf8_trim_whitespace(pc.replace_substring_regex(bare, r"%$", ""))
        grouped = pc.fill_null(pc.match_substring_regex(bare, _GROUPED), False)
        bare = pc.if_else(grouped, pc.replace_substring(bare, ",", ""), bare)
        fits = pc.fill_null(pc.match_substring_regex(bare, _NUMBER), False)
        bare = pc.replace_substring_regex(bare, r"^\+", "")
        found = _floats(pc.if_else(fits, bare, pa.scalar(None, pa.string())))
    found[np.isinf(found)] = np.nan
    return Cells(found, there & np.isnan(found))


def flags(column: pa.Array) -> Cells:
    """Cells as 1 for yes and 0 for no, in words or as a Boolean.

    >>> flags(pa.array(["Yes", "no", "TRUE", "maybe", None])).values.tolist()
    [1.0, 0.0, 1.0, nan, nan]
    """
    there = present(column)
    if pa.types.is_boolean(column.type):
        return Cells(_floats(column.cast(pa.int8())), np.zeros(len(column), np.bool_))
    lower = pc.utf8_lower(texts(column))
    said = [pc.is_in(lower, value_set=pa.array(words)).to_numpy(zero_copy_only=False) for words in (_YES, _NO)]
    found = np.where(said[0], 1.0, np.where(said[1], 0.0, np.nan))
    return Cells(found, there & np.isnan(found))


def days(column: pa.Array, as_of_us: int) -> Cells:
    """Days from the date in each cell to an instant; a time of day is dropped. Written as in 2024-03-31.

    >>> days(pa.array(["1970-01-01", "1970-01-09T23:00:00Z", "31/12/1970"]), 10 * DAY_US).values.tolist()
    [10.0, 2.0, nan]
    """
    there = present(column)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        midnights = pc.floor_temporal(column.cast(pa.timestamp("us")), unit="day")
    elif is_text(column):
        said = texts(column)
        fits = pc.fill_null(pc.match_substring_regex(said, _DATE), False)
        day = pc.if_else(fits, pc.utf8_slice_codeunits(said, 0, 10), pa.scalar(None, pa.string()))
        midnights = pc.strptime(day, format="%Y-%m-%d", unit="us", error_is_null=True)
    else:
        return Cells(np.full(len(column), np.nan), there)
    since = _floats(midnights.cast(pa.int64()))
    found = (as_of_us - since) / DAY_US
    return Cells(found, there & np.isnan(found))


def _is_numeric(column: pa.Array) -> bool:
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(numeric or pa.types.is_null(kind))


def _floats(column: pa.Array) -> Floats:
    found = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(found, dtype=np.float64)
