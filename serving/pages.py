"""What was shown on the pages before, by the id of the last one, so that a list can go on where it ended.

A page is a kept decision, so any process that shares the store can go on from it. Decisions are written a moment after
the answer: meanwhile the process that gave it remembers it. Ids begin with when they were given, which keeps their
index cheap to append to, and says of an id that is not there whether it may yet come.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from anyio import to_thread

from features.instants import DAY_US, MINUTE_US, SECOND_US
from serving.store import Store, decisions
from serving.store_schema import OF_SLATES

__all__ = ["Page", "Pages", "page_id"]

KEPT_US = DAY_US
"""How long a list can go on."""

_WRITTEN_US = MINUTE_US
"""By then a decision is in the store, or never will be: the queue was full, or the process killed."""

_REMEMBERED = 20_000
_LOOKS, _PAUSE_S = 6, 0.1
_ID = re.compile(r"r-([0-9a-f]{12})[0-9a-f]{20}")
_COLUMNS = (decisions.c[name] for name in ("customer_key", "placement", "item_ids", "request"))
_QUERY = sa.select(*_COLUMNS).where(decisions.c.decision_id == sa.bindparam("one"), OF_SLATES)


def page_id(at_us: int, random: str) -> str:
    """A new id: `r-`, the millisecond in 12 hexadecimal digits, and the last 20 of 32 random ones.

    >>> page_id(1_700_000_000_000_000, "0123456789abcdef0123456789abcdef")
    'r-018bcfe56800cdef0123456789abcdef'
    """
    return f"r-{at_us // 1_000:012x}{random[-20:]}"


@dataclass(frozen=True)
class Page:
    """To whom a page was shown, for which placement, and every item of the list so far, in order."""

    customer_key: str | None
    placement: str | None
    item_ids: tuple[str, ...]


class Pages:
    """Finds pages; safe to share between threads. `clock` gives UTC microseconds, the same as in the ids."""

    def __init__(self, store: Store, clock: Callable[[], int], remembered: int = _REMEMBERED) -> None:
        self._store = store
        self._clock = clock
        self._remembered = remembered
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, recommendation_id: str, page: Page) -> None:
        """Remember a page until its decision is written."""
        now_us = self._clock()
        with self._lock:
            self._pages[recommendation_id] = page
            while len(self._pages) > self._remembered or self._age_us(next(iter(self._pages)), now_us) > _WRITTEN_US:
                self._pages.popitem(last=False)

    async def find(self, recommendation_id: str) -> Page | None:
        """The page of an id; None where it is older than a day, or was never kept.

        Raises:
            UnavailableError: the store cannot be read now.
        """
        age_us = self._age_us(recommendation_id, self._clock())
        if not -_WRITTEN_US <= age_us <= KEPT_US:
            return None
        for look in range(_LOOKS):
            with self._lock:
                found = self._pages.get(recommendation_id)
            found = found or await to_thread.run_sync(self._written, recommendation_id)
            if found is not None or age_us > SECOND_US:
                return found
            if look < _LOOKS - 1:
                await asyncio.sleep(_PAUSE_S)  # another process gave it just now, and has not written it yet
        return None

    def _written(self, recommendation_id: str) -> Page | None:
        with self._store.read() as connection:
            row = connection.execute(_QUERY, {"one": recommendation_id}).first()
        if row is None:
            return None
        earlier = () if row.request is None else json.loads(row.request).get("earlier", ())
        return Page(row.customer_key, row.placement, (*earlier, *json.loads(row.item_ids)))

    def _age_us(self, recommendation_id: str, now_us: int) -> int:
        """Since when it was given, by what it says itself; one of no such form is older than all."""
        given = _ID.fullmatch(recommendation_id)
        return KEPT_US + 1 if given is None else now_us - int(given[1], 16) * 1_000
