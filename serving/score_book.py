"""A book of scores: the scores of all customers at one instant by one release, one Parquet file in the workspace.

Books are numbered in the order in which they were written and only go forward in time, so that a reader who knows the
number of the last book it saw can find out what changed since. A book holds pseudonyms, never an outside id.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from features.instants import format_instant, parse_instant
from features.locking import exclusive
from serving.sorted_keys import SortedKeys

__all__ = ["BANDS", "BOOK", "Book", "BookFacts", "BookName", "list_books", "newest_book", "read_book", "write_book"]

_NAME = re.compile(r"(\d{8})_(\d{4}-\d{2}-\d{2}T\d{6}(?:\.\d{6})?Z)_([A-Za-z0-9][A-Za-z0-9._-]{0,127})\.parquet")
_FACTS = b"holdfast.book"
_FORMAT = 1
_CODED = ("band", "segment", "stage")
BANDS = ("low", "medium", "high")
"""The bands by code."""

BOOK = pa.schema(
    [
        pa.field("customer_key", pa.string(), nullable=False),
        pa.field("churn_probability", pa.float64(), nullable=False),
        pa.field("churn_score", pa.int8(), nullable=False),
        pa.field("percentile", pa.float64(), nullable=False),
        pa.field("band", pa.string(), nullable=False),
        pa.field("eligible", pa.bool_(), nullable=False),
        pa.field("expected_loss_minor", pa.int64()),
        pa.field("next_purchase_p50", pa.date32()),
        pa.field("segment", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("reason_codes", pa.string()),
    ]
)
"""Columns of a book, rows by ascending customer_key. `eligible`: whether the question may be asked about the customer;
bands compare those alone. `expected_loss_minor` and `next_purchase_p50` (a day, UTC) are null where the model tells
none; `segment` and `stage` are keys, null in a release without segments; `reason_codes` are separated by spaces, the
weightiest first, null where none were computed."""


@dataclass(frozen=True, order=True)
class BookName:
    """What a book's file name tells: its number, from 1, ascending; its instant, exclusive; the release that scored."""

    seq: int
    as_of_us: int
    release: str
    path: Path = field(compare=False)

    @property
    def digest(self) -> int:
        """Of the file's name: tells books of one number apart, should the folder be made anew."""
        return zlib.crc32(self.path.name.encode())


@dataclass(frozen=True)
class BookFacts:
    """What holds for a whole book.

    model, model_version: as registered. currency: of all amounts; None where nothing was ever paid.
    names: of segments and stages in words, `names[language]["segment" or "stage"][key]`.
    """

    as_of_us: int
    release: str
    model: str
    model_version: str
    horizon_days: int
    currency: str | None = None
    names: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The facts as the file's metadata keep them."""
        return json.dumps({"format": _FORMAT, **vars(self)}, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> BookFacts:
        """The facts that `to_json` wrote.

        Raises:
            ArtefactError: they are of another format.
        """
        try:
            content: dict[str, Any] = json.loads(data)
            if content.pop("format") != _FORMAT:
                raise ArtefactError(f"a book of scores is not of format {_FORMAT}; read it with the version that wrote")
            return cls(**content)
        except (ValueError, KeyError, TypeError):
            raise ArtefactError("a book of scores has damaged facts; remove it and score again") from None


@dataclass(frozen=True, eq=False)
class Book:
    """A book as read, or some of its columns. Arrays are by row; rows are in the order of customer_key."""

    name: BookName
    facts: BookFacts
    rows: pa.Table = field(repr=False)

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @cached_property
    def keys(self) -> pa.Array:
        """The pseudonyms, ascending."""
        return self.rows["customer_key"].combine_chunks()

    @cached_property
    def sorted_keys(self) -> SortedKeys:
        """The same, to be searched."""
        return SortedKeys.of(self.keys)

    @cached_property
    def probability(self) -> npt.NDArray[np.float64]:
        """float64 (n,): the churn probabilities."""
        return np.asarray(self.rows["churn_probability"], np.float64)

    @cached_property
    def band_codes(self) -> npt.NDArray[np.int8]:
        """int8 (n,): 0 low, 1 medium, 2 high."""
        codes = pc.index_in(self.rows["band"].cast(pa.string()), value_set=pa.array(BANDS))
        return np.asarray(codes.fill_null(-1)).astype(np.int8)

    @cached_property
    def eligible(self) -> npt.NDArray[np.bool_]:
        """Flags (n,): about whom the question may be asked."""
        return np.asarray(self.rows["eligible"], np.bool_)

    @cached_property
    def _ranked(self) -> npt.NDArray[np.float64]:
        return np.sort(self.probability[self.eligible])

    def row(self, customer_key: str) -> int | None:
        """The row of a customer; None for one who is not in the book."""
        place = int(self.sorted_keys.places((customer_key,))[0])
        return None if place < 0 else place

    def percentile(self, probability: float) -> float | None:
        """Percent of the book's eligible customers with a lower probability (ties count half); None without any."""
        ranked = self._ranked
        if ranked.size == 0:
            return None
        below, not_above = np.searchsorted(ranked, probability, "left"), np.searchsorted(ranked, probability, "right")
        return float(50.0 * (below + not_above) / ranked.size)


def list_books(folder: Path) -> tuple[BookName, ...]:
    """The books of a folder by ascending number; files that are no books are passed over."""
    found = []
    for path in folder.glob("*.parquet"):
        parts = _NAME.fullmatch(path.name)
        if parts:
            seq, instant, release = parts.groups()
            found.append(BookName(int(seq), parse_instant(instant), release, path))
    return tuple(sorted(found))


def newest_book(folder: Path) -> BookName:
    """The book that was written last.

    Raises:
        ArtefactError: there is none.
    """
    books = list_books(folder)
    if not books:
        raise ArtefactError("there is no book of scores yet; run: holdfast score")
    return books[-1]


def read_book(name: BookName, columns: tuple[str, ...] | None = None) -> Book:
    """A book, or some of its columns.

    Raises:
        UnavailableError: it is gone; newer books have taken its place.
        ArtefactError: it is damaged.
    """
    try:
        coded = [column for column in _CODED if columns is None or column in columns]
        rows = pq.read_table(name.path, columns=None if columns is None else list(columns), read_dictionary=coded)
        return Book(name, BookFacts.from_json((rows.schema.metadata or {})[_FACTS]), rows)
    except FileNotFoundError:
        raise UnavailableError("a book of scores was removed while it was read; try again") from None
    except (OSError, KeyError, pa.ArrowException):
        raise ArtefactError(f"the book of scores {name.path.name} is damaged; remove it and score again") from None


def write_book(folder: Path, facts: BookFacts, rows: pa.Table, *, keep: int) -> BookName:
    """Add a book, all of it or nothing, then remove the oldest beyond `keep`. `rows` are BOOK's columns in any order.

    Raises:
        ConfigurationError: there is a book of a later instant; readers would take the past for news.
        UnavailableError: another process is writing a book.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = rows.select(BOOK.names).cast(BOOK)
    if not pc.all(pc.less_equal(table["customer_key"][:-1], table["customer_key"][1:])).as_py():
        table = table.sort_by("customer_key")
    with exclusive(folder / ".lock", "the folder of scores"):
        books = list_books(folder)
        if books and facts.as_of_us < books[-1].as_of_us:
            raise ConfigurationError(
                f"the newest book of scores is as of {format_instant(books[-1].as_of_us)}; books only go forward, so "
                f"scores as of {format_instant(facts.as_of_us)} go into a file alone: say --no-book"
            )
        seq = books[-1].seq + 1 if books else 1
        instant = format_instant(facts.as_of_us).replace(":", "")
        path = folder / f"{seq:08d}_{instant}_{facts.release}.parquet"
        staged = path.with_suffix(".part")
        for abandoned in folder.glob("*.part"):  # by a writer that was killed: the lock says that none is at work
            abandoned.unlink()
        try:
            pq.write_table(table.replace_schema_metadata({_FACTS: facts.to_json()}), staged)
            _sync(staged)
            staged.replace(path)
            _sync(folder)
        finally:
            staged.unlink(missing_ok=True)
        for old in books[: max(0, len(books) + 1 - keep)]:
            old.path.unlink(missing_ok=True)
    return BookName(seq, facts.as_of_us, facts.release, path)


def _sync(path: Path) -> None:
    """On disk, so that a book that was announced survives a lost power supply."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
