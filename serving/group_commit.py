"""Many small writes, one commit: callers hand items over, one thread writes what has gathered in one transaction.

With synchronous=FULL a commit waits for the disk; sharing it among concurrent callers is worth a factor of eight.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import sqlalchemy as sa

from features.errors import UnavailableError
from serving.store import Store

__all__ = ["GroupCommit"]

T = TypeVar("T")
R = TypeVar("R")
_GROUP_ROWS = 5_000


@dataclass(frozen=True, eq=False)
class _Entry(Generic[T, R]):
    item: T
    rows: int
    future: Future[R] = field(default_factory=Future)


class GroupCommit(Generic[T, R]):
    """Writes items in groups. A future has its result only after the commit that holds its item.

    `write(connection, items)` gives one result an item, all in one transaction. `rows_of(item)` is how many rows an
    item is, and `capacity` bounds the rows that are not written yet; more are refused, never lost silently. An item
    whose future was cancelled before its group began is not written.
    """

    def __init__(
        self,
        store: Store,
        write: Callable[[sa.Connection, Sequence[T]], Sequence[R]],
        *,
        rows_of: Callable[[T], int],
        capacity: int,
        name: str,
    ) -> None:
        self._store = store
        self._write = write
        self._rows_of = rows_of
        self._capacity = capacity
        self._taking = threading.Lock()  # nothing is put behind the mark that ends the queue
        self._waiting: queue.SimpleQueue[_Entry[T, R] | None] = queue.SimpleQueue()
        self._rows = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: T) -> Future[R]:
        """Hand one item over.

        Raises:
            UnavailableError: too many rows are waiting, or the writer is closed; the item was not taken.
        """
        entry: _Entry[T, R] = _Entry(item, self._rows_of(item))
        with self._taking:
            if self._closed:
                raise UnavailableError("the service is stopping; nothing was taken, send it again")
            if self._rows and self._rows + entry.rows > self._capacity:
                raise UnavailableError("too many writes are waiting; nothing was taken, try again")
            self._rows += entry.rows
            self._waiting.put(entry)
        return entry.future

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._taking:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            group, more = [first], True
            n_rows = first.rows
            while more and n_rows < _GROUP_ROWS:
                try:
                    entry = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    more = False
                else:
                    group.append(entry)
                    n_rows += entry.rows
            self._commit(group)
            with self._taking:
                self._rows -= n_rows
            if not more:
                return

    def _commit(self, group: Sequence[_Entry[T, R]]) -> None:
        """From here on nobody can cancel: a result set on a cancelled future would end this thread."""
        group = [entry for entry in group if entry.future.set_running_or_notify_cancel()]
        if not group:
            return
        try:
            with self._store.write() as connection:
                results = self._write(connection, [entry.item for entry in group])
        except Exception as error:  # a caller must never wait for a writer that died
            for entry in group:
                entry.future.set_exception(error)
        else:
            for entry, result in zip(group, results, strict=True):
                entry.future.set_result(result)
