"""Keeping the histories in step with the store, and going on from what is in memory while it cannot be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from features.errors import HoldfastError
from features.instants import MINUTE_US
from serving.histories import Histories

__all__ = ["CLOCK_BEHIND", "CLOCK_SKEW_US", "HISTORY_BEHIND", "HISTORY_UNREADABLE", "Following"]

CLOCK_SKEW_US = 5 * MINUTE_US
"""How far ahead of ours the clocks of others may run: of who sends events, and of who builds snapshots."""

CLOCK_BEHIND = "clock_behind"
"""Why an answer is degraded: events were recorded further ahead of the clock than any sender's may run, so that it was
set back, or ran ahead then. The answer is as of the time that it shows."""

HISTORY_BEHIND = "history_behind"
"""Why an answer is degraded: the store cannot be read, so that the newest events may be missing in it."""

HISTORY_UNREADABLE = "history_unreadable"
"""Why an answer is degraded: it comes from stored features, or for a slate from what is popular, and no history."""

log = logging.getLogger("holdfast.histories")

_SHORTEST_PAUSE_S = 1.0
_PAUSE_TIMES = 10  # at most a tenth of the time is lost in waiting for a store that hangs


class Following:
    """Asks the store for new events before each answer; after a failure not again for a while. Used by one thread."""

    def __init__(self, histories: Histories, clock: Callable[[], float] = time.monotonic) -> None:
        self._histories = histories
        self._clock = clock
        self._not_before: float | None = None

    def lack(self, now_us: int) -> str | None:
        """Why an answer of this moment is degraded, after a look for new events; None where it is not."""
        return self.lack_of_time(now_us) if self.catch_up() else HISTORY_BEHIND

    def lack_of_time(self, now_us: int) -> str | None:
        """The same of an answer that needs no histories."""
        return CLOCK_BEHIND if self._histories.newest_recorded_us > now_us + CLOCK_SKEW_US else None

    def catch_up(self) -> bool:
        """Whether every event accepted until now is in the histories."""
        began = self._clock()
        if self._not_before is not None and began < self._not_before:
            return False
        try:
            self._histories.catch_up()
        except (HoldfastError, SQLAlchemyError) as error:
            now = self._clock()
            if self._not_before is None:
                why = str(error) if isinstance(error, HoldfastError) else type(error).__name__
                log.warning("answers may lack the newest events: %s", why)
            self._not_before = now + max(_SHORTEST_PAUSE_S, _PAUSE_TIMES * (now - began))
            return False
        if self._not_before is not None:
            log.warning("the newest events are in the answers again")
            self._not_before = None
        return True
