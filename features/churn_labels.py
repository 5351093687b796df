"""The column that says who churned, in the words that people use for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import DataError
from features.table_cells import present, texts

__all__ = ["CHURN_WORDS", "read_labels"]

CHURN_WORDS = ("churn", "attrition", "cancel", "exited", "left", "lapsed", "status", "label", "target", "leave")
"""What a label column is called."""

_CHURNED = (
    *("yes", "y", "true", "t", "1", "churned", "churn", "left", "lost", "cancelled", "canceled", "exited", "gone"),
    *("attrited", "attrited customer", "lapsed", "inactive", "leaver", "terminated"),
)
_STAYED = (
    *("no", "n", "false", "f", "0", "stayed", "stay", "retained", "kept", "active", "existing", "current", "loyal"),
    *("existing customer", "not churned", "no churn", "non-churn", "joined", "stayer"),
)
_SHOWN = 5


def read_labels(column: pa.Array, name: str, churned_value: str | None = None) -> tuple[npt.NDArray[np.int8], str]:
    """1 churned, 0 stayed, -1 not known, int8 (n,); and the value that means churned.

    Args:
        column: the cells, n of them.
        name: of the column, for messages.
        churned_value: the value that means churned, everything else meaning stayed; by default it is told by the words
            people use: yes and no, 1 and 0, true and false, churned and stayed, and the like.

    Raises:
        DataError: all rows have one label, there is no such value, or the words are not known.

    >>> read_labels(pa.array(["Yes", "No", None]), "Churn")
    (array([ 1,  0, -1], dtype=int8), 'Yes')
    """
    said = texts(column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column)
    there, lower = present(said), pc.utf8_lower(said)
    values = pc.unique(said.drop_null()).to_pylist()
    if churned_value is not None:
        churned = pc.equal(lower, churned_value.strip().lower())
        if not pc.any(churned).as_py():
            raise DataError(f"no row of column {name} has the label that was named as churned; it holds {_few(values)}")
    else:
        unknown = [value for value in values if value.lower() not in {*_CHURNED, *_STAYED}]
        if unknown:
            raise DataError(
                f"column {name} holds {_few(values)}; name the value that means churned with --churned-value"
            )
        churned = pc.is_in(lower, value_set=pa.array(_CHURNED))
    mask = np.asarray(pc.fill_null(churned, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
    labels = np.where(there, mask, -1).astype(np.int8)
    if not (labels == 1).any() or not (labels == 0).any():
        raise DataError(
            f"column {name} has one outcome only: {int((labels == 1).sum()):,} rows churned and "
            f"{int((labels == 0).sum()):,} stayed; there is nothing to tell apart. Name another column, or "
            "--churned-value"
        )
    return labels, str(said[int(np.flatnonzero(labels == 1)[0])].as_py())


def _few(values: list[str]) -> str:
    """Labels are words of the table, not of a customer; where there are many they may be anything, and none is told."""
    if len(values) > _SHOWN:
        return f"{len(values):,} different values, more than a label has"
    return ", ".join(values) or "no value at all"
