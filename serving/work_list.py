"""The work list: customers of a book of scores, chosen by band, stage and segment, in an order that never changes.

A book does not change, so a place in the order is a cursor: nobody is listed twice and nobody is left out, however
many books come while a reader turns the pages.
"""

from __future__ import annotations

import zlib
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving.bands import Band
from serving.score_book import Book

__all__ = ["SORTS", "Choice", "Sort", "listed_rows"]

Sort = Literal["expected_loss", "-expected_loss", "churn_probability", "-churn_probability",
               "next_purchase", "-next_purchase"]  # fmt: skip
SORTS: tuple[Sort, ...] = ("expected_loss", "-expected_loss", "churn_probability", "-churn_probability",
                           "next_purchase", "-next_purchase")  # fmt: skip
"""What a list can be sorted by; a minus in front is descending. Who has no such value comes last either way;
where nobody has one, the riskiest come first."""

_COLUMNS = {
    "expected_loss": "expected_loss_minor",
    "churn_probability": "churn_probability",
    "next_purchase": "next_purchase_p50",
}


@dataclass(frozen=True)
class Choice:
    """Whom to list: an empty choice of bands, stages or segments is all of them; `everybody` adds those not eligible.

    Who is not eligible has left already, or nearly so; the probability compares only the others.
    """

    bands: tuple[Band, ...] = ()
    stages: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    everybody: bool = False
    sort: Sort = "-expected_loss"

    @property
    def digest(self) -> int:
        """A number that tells one choice from another."""
        return zlib.crc32(repr(astuple(self)).encode())


def listed_rows(book: Book, choice: Choice) -> npt.NDArray[np.int32]:
    """The rows of the book that are chosen, int32 (m,), in order; equal values by ascending customer_key."""
    chosen = np.ones(len(book), np.bool_) if choice.everybody else book.eligible.copy()
    for column, wanted in (("band", choice.bands), ("stage", choice.stages), ("segment", choice.segments)):
        if wanted:
            texts = book.rows[column].cast(pa.string())
            chosen &= np.asarray(pc.is_in(texts, value_set=pa.array(wanted, pa.string())))
    rows = np.flatnonzero(chosen)
    name = choice.sort.removeprefix("-")
    column = book.rows[_COLUMNS[name]]
    plain = column.cast(pa.int32()) if pa.types.is_date32(column.type) else column
    values = np.asarray(plain.cast(pa.float64(), safe=False).fill_null(np.nan))[rows]
    if np.isnan(values).all():  # nothing of the kind was learnt, as of a table: the riskiest first
        return rows[np.argsort(-book.probability[rows], kind="stable")].astype(np.int32)
    order = np.argsort(-values if choice.sort.startswith("-") else values, kind="stable")  # NaN stands last
    return rows[order].astype(np.int32)
