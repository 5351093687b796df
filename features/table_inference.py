"""Which columns of a table can be learnt from, and as what; each that cannot is left out with a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.table_cells import Cells, days, flags, is_nested, is_text, numbers, present, texts
from features.table_features import LeftOut, TableColumn

__all__ = ["MOST_CATEGORIES", "infer_columns"]

MOST_CATEGORIES = 200
"""A column with more different texts is free text, or names somebody; it is not learnt from."""

_READABLE_SHARE = 0.95
_FEW_TEXTS = 20
_LEAST_ROWS_A_TEXT = 5
_DISTINCT_TELLS = 20
_KEPT_SHARE = 0.5
_NAMES_AN_ID = re.compile(r"(?i:(^|[\s_-])(id|key|no|nr|number|row))$|[a-z](Id|ID|No|Number)$")


def infer_columns(
    columns: Mapping[str, pa.Array], customer_ids: pa.Array, skipped: Iterable[str] = ()
) -> tuple[tuple[TableColumn, ...], tuple[LeftOut, ...]]:
    """What each column is, in the order given.

    Args:
        columns: of n rows, as read: text, or Parquet's own types.
        customer_ids: of the same rows, text.
        skipped: columns that are the id or the label, or that nobody wants learnt from.

    A column is a number, a date or yes and no if at least 95% of what it holds reads as such; else a category, if its
    texts are few. A text of fewer than 5 rows is no category: it would name somebody rather than tell something.
    """
    unwanted = set(skipped)
    learnt, left_out = [], []
    for name, column in columns.items():
        if name not in unwanted:
            found = _one(name, column, customer_ids)
            if isinstance(found, TableColumn):
                learnt.append(found)
            else:
                left_out.append(LeftOut(name, found))
    return tuple(learnt), tuple(left_out)


def _one(name: str, column: pa.Array, customer_ids: pa.Array) -> TableColumn | str:
    """The column as it is learnt, or why it is not."""
    if is_nested(column):
        return "holds lists, objects or bytes"
    n_present = int(np.count_nonzero(present(column)))
    said = texts(column)
    n_distinct = len(pc.unique(said.drop_null()))
    why = _tells_nothing(said, customer_ids, n_present, n_distinct)
    if why is not None:
        return why
    read = _reads_as(column, n_present)
    if read == "number":
        return _number(name, column, n_present, n_distinct)
    if read == "category":
        return _category(name, said, n_present, n_distinct)
    return TableColumn(name, "date") if read == "date" else TableColumn(name, "flag", ("no", "yes"))


def _tells_nothing(said: pa.Array, customer_ids: pa.Array, n_present: int, n_distinct: int) -> str | None:
    if n_present == 0:
        return "empty: no row has a value"
    if n_present < len(said):
        return None
    if n_distinct == 1:
        return "constant: the same in every row"
    return "equal to the customer id" if said.equals(customer_ids) else None


def _reads_as(column: pa.Array, n_present: int) -> str:
    def enough(cells: Cells) -> bool:
        return cells.n_read >= _READABLE_SHARE * n_present

    if pa.types.is_boolean(column.type):
        return "flag"
    if enough(numbers(column)):
        return "number"
    if (is_text(column) or pa.types.is_temporal(column.type)) and enough(days(column, 0)):
        return "date"
    return "flag" if is_text(column) and flags(column).n_read == n_present else "category"


def _number(name: str, column: pa.Array, n_present: int, n_distinct: int) -> TableColumn | str:
    values = numbers(column).values
    read = values[~np.isnan(values)]
    whole = bool((read == np.round(read)).all())
    if whole and n_distinct == n_present == len(column) >= _DISTINCT_TELLS:  # an id has no gaps
        consecutive = float(np.ptp(read)) == len(column) - 1
        if consecutive or _NAMES_AN_ID.search(name):
            return "another whole number in every row: an id or a row number"
    return TableColumn(name, "number")


def _category(name: str, said: pa.Array, n_present: int, n_distinct: int) -> TableColumn | str:
    if n_distinct == n_present >= _DISTINCT_TELLS:
        return "another text in every row: a name, an id or free text"
    if n_distinct > MOST_CATEGORIES or (n_distinct > _FEW_TEXTS and n_distinct > n_present / _LEAST_ROWS_A_TEXT):
        return f"text: {n_distinct:,} different values, more than categories have"
    counted = [(row["values"], row["counts"]) for row in pc.value_counts(said.drop_null()).to_pylist()]
    kept = sorted(text for text, count in counted if count >= _LEAST_ROWS_A_TEXT)
    n_kept = sum(count for _, count in counted if count >= _LEAST_ROWS_A_TEXT)
    if n_kept < _KEPT_SHARE * n_present or (len(kept) == 1 and n_kept == len(said)):
        return f"text: most of its {n_distinct:,} values stand in fewer than {_LEAST_ROWS_A_TEXT} rows"
    return TableColumn(name, "category", tuple(kept))
