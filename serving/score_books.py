"""The books of scores as a running service reads them: the newest in memory, the one of a week before, others briefly.

A million customers take about 150 MB for the newest book and 60 MB for the earlier one.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from features.errors import HoldfastError, UnavailableError
from features.instants import DAY_US
from serving.score_book import Book, BookName, list_books, read_book
from serving.score_changes import CHANGE_COLUMNS, BandChanges, band_changes
from serving.trends import TREND_US
from serving.work_list import Choice, listed_rows

__all__ = ["ScoreBooks"]

log = logging.getLogger("holdfast.scores")

_TREND_COLUMNS = ("customer_key", "churn_probability", "eligible")
_BOOKS_KEPT = 2
_CHANGES_KEPT = 4
_LISTS_KEPT = 8

K = TypeVar("K")
V = TypeVar("V")


class ScoreBooks:
    """Follows the folder of books. `poll` runs beside the requests; what they read is swapped by one assignment.

    names: the books there are, ascending by number. newest: the one written last, None before the first.
    """

    def __init__(self, folder: Path) -> None:
        self.names: tuple[BookName, ...] = ()
        self.newest: Book | None = None
        self._earlier: Book | None = None
        self._folder = folder
        self._refused: set[BookName] = set()
        self._opened: OrderedDict[BookName, Book] = OrderedDict()
        self._changes: OrderedDict[tuple[BookName | None, BookName], BandChanges] = OrderedDict()
        self._listed: OrderedDict[tuple[BookName, Choice], npt.NDArray[np.int32]] = OrderedDict()
        self._lock = threading.Lock()

    def poll(self, now_us: int) -> None:
        """Look at the folder; a book is read when it has come, or when the week before it is reached."""
        self.names = list_books(self._folder)
        newest = self._loaded(self.names[-1] if self.names else None, self.newest, None)
        if newest is not None and newest is not self.newest:
            newest.percentile(0.0)  # rank its customers now, not when the first of them is asked about
        self.newest = newest
        self._earlier = self._loaded(self._nearest(now_us - TREND_US), self._earlier, _TREND_COLUMNS)

    def near(self, as_of_us: int, release: str, *, within_days: int = 1) -> Book | None:
        """The book in memory by this release that is nearest to an instant, so many days away at most; None without.

        Another release scores otherwise, so that a difference to its book would not be the customer's.
        """
        within_us = within_days * DAY_US
        fitting = [
            book
            for book in (self.newest, self._earlier)
            if book is not None and book.name.release == release and _away(book.name, as_of_us) <= within_us
        ]
        return min(fitting, key=lambda book: _away(book.name, as_of_us), default=None)

    def open(self, name: BookName) -> Book:
        """Any book that is still there; the last few are kept. Reads the disk: not for the event loop.

        Raises:
            UnavailableError: it was removed meanwhile.
            ArtefactError: it is damaged.
        """
        newest = self.newest
        if newest is not None and newest.name == name:
            return newest
        with self._lock:
            found = self._opened.pop(name, None) or read_book(name)
            return _kept(self._opened, name, found, _BOOKS_KEPT)

    def listed(self, book: Book, choice: Choice) -> npt.NDArray[np.int32]:
        """The rows of a book that are chosen, in order, see `listed_rows`; the last few results are kept."""
        with self._lock:
            found = self._listed.pop((book.name, choice), None)
            if found is None:
                found = listed_rows(book, choice)
            return _kept(self._listed, (book.name, choice), found, _LISTS_KEPT)

    def changes(self, before: BookName | None, after: BookName) -> BandChanges:
        """Who changed band between two books; the last few results are kept. Reads the disk.

        Raises:
            UnavailableError: a book was removed meanwhile.
            ArtefactError: one is damaged.
        """
        with self._lock:
            found = self._changes.pop((before, after), None)
            if found is None:
                old = None if before is None else read_book(before, CHANGE_COLUMNS)
                found = band_changes(old, read_book(after, CHANGE_COLUMNS))
            return _kept(self._changes, (before, after), found, _CHANGES_KEPT)

    def _nearest(self, as_of_us: int) -> BookName | None:
        near = [name for name in self.names if _away(name, as_of_us) <= DAY_US]
        return min(near, key=lambda name: (_away(name, as_of_us), -name.seq), default=None)

    def _loaded(self, name: BookName | None, now: Book | None, columns: tuple[str, ...] | None) -> Book | None:
        """The book of this name; what is in memory already where it cannot be read, which is told once."""
        if name is None or (now is not None and now.name == name):
            return now if name is not None else None
        try:
            return read_book(name, columns)
        except UnavailableError:
            return now
        except HoldfastError as error:
            if name not in self._refused:
                log.warning("%s", error)
                self._refused.add(name)
            return now


def _kept(cache: OrderedDict[K, V], key: K, value: V, size: int) -> V:
    """Put a value last in the cache; the first ones make room."""
    cache[key] = value
    while len(cache) > size:
        cache.popitem(last=False)
    return value


def _away(name: BookName, as_of_us: int) -> int:
    return abs(name.as_of_us - as_of_us)
