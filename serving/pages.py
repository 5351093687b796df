"""What was shown on the pages before, by the id of the last one, so that a list can go on where it ended."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Page", "Pages"]

_KEPT = 20_000


@dataclass(frozen=True)
class Page:
    """To whom a page was shown, for which placement, and every item of the list so far, in order."""

    customer_key: str | None
    placement: str
    item_ids: tuple[str, ...]


class Pages:
    """The last pages of this process, at most `kept`; the oldest are forgotten first. Safe to share between threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, recommendation_id: str, page: Page) -> None:
        """Remember a page under its id."""
        with self._lock:
            self._pages[recommendation_id] = page
            while len(self._pages) > self._kept:
                self._pages.popitem(last=False)

    def find(self, recommendation_id: str) -> Page | None:
        """The page of an id; None where it is no longer known, or was another process's."""
        with self._lock:
            return self._pages.get(recommendation_id)
