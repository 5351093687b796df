"""Many small writes, one commit: callers hand items over, one thread writes what has gathered in one transaction.

With synchronous=FULL a commit waits for the disk; sharing it among concurrent callers is worth a factor of eight.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

import sqlalchemy as sa

from features.errors import UnavailableError
from serving.store import Store

__all__ = ["GroupCommit"]

T = TypeVar("T")
R = TypeVar("R")
_GROUP = 512


class GroupCommit(Generic[T, R]):
    """Writes items in groups. A future has its result only after the commit that holds its item.

    `write(connection, items)` gives one result an item, all in one transaction. `capacity` bounds the items that
    wait; more are refused, never lost silently. `linger_s` is how long a group may gather before it is written.
    """

    def __init__(
        self,
        store: Store,
        write: Callable[[sa.Connection, Sequence[T]], Sequence[R]],
        *,
        capacity: int,
        linger_s: float = 0.0,
        name: str,
    ) -> None:
        self._store = store
        self._write = write
        self._linger_s = linger_s
        self._waiting: queue.Queue[tuple[T, Future[R]] | None] = queue.Queue(capacity)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items that are not written yet."""
        return self._waiting.qsize()

    def submit(self, item: T) -> Future[R]:
        """Hand one item over.

        Raises:
            UnavailableError: too many are waiting, or the writer is closed; the item was not taken.
        """
        future: Future[R] = Future()
        if self._closed:
            raise UnavailableError("the service is stopping; nothing was taken, send it again")
        try:
            self._waiting.put_nowait((item, future))
        except queue.Full:
            raise UnavailableError("too many writes are waiting; nothing was taken, try again") from None
        return future

    def close(self) -> None:
        """Write what waits, then stop."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            if self._linger_s:
                time.sleep(self._linger_s)
            group, more = [first], True
            while more and len(group) < _GROUP:
                try:
                    entry = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    more = False
                else:
                    group.append(entry)
            self._commit(group)
            if not more:
                return

    def _commit(self, group: list[tuple[T, Future[R]]]) -> None:
        try:
            with self._store.write() as connection:
                results = self._write(connection, [item for item, _ in group])
        except Exception as error:  # a caller must never wait for a writer that died
            for _, future in group:
                future.set_exception(error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                future.set_result(result)
