"""How often a caller may call, and how often anybody may ask about one customer: exactly, across all workers.

Windows are minutes and days of UTC by the service's clock. A call that is refused is counted nowhere. Where nothing can
be counted, calls go through and the log says so: a full disk must not end the predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from anyio import to_thread

from features.errors import HoldfastError
from features.instants import DAY_US, MINUTE_US, SECOND_US
from serving.access.counts import Claim, Counts
from serving.access.scopes import Caller
from serving.problems import Problem

__all__ = ["Limits"]

log = logging.getLogger("holdfast.callers")

_REMEMBERED = 100_000
_SLACK_US = 5 * MINUTE_US
"""How far clocks of machines that count together may differ."""


class Limits:
    """Counts calls. `customer_per_minute` bounds those about one customer or visitor, by whomever; None is no bound."""

    def __init__(self, counts: Counts, clock: Callable[[], int], customer_per_minute: int | None = None) -> None:
        self._counts = counts
        self._clock = clock
        self._customer_per_minute = customer_per_minute
        self._used_up: dict[str, int] = {}
        self._forgotten_us = 0
        self._warned_us = 0

    @property
    def of_customers(self) -> bool:
        """Whether calls about a customer are bounded."""
        return self._customer_per_minute is not None

    async def take(self, caller: Caller) -> None:
        """Count one call of a caller.

        Raises:
            Problem: 429, it had all of its minute or its day; Retry-After says when it may again.
        """
        if caller.per_minute is None and caller.per_day is None:
            return
        now_us, claims = self._clock(), []
        if caller.per_day is not None:
            claims.append(Claim(f"{caller.name} day", _end(now_us, DAY_US), caller.per_day))
        if caller.per_minute is not None:
            claims.append(Claim(f"{caller.name} minute", _end(now_us, MINUTE_US), caller.per_minute))
        await self._take(claims, now_us, "this key had all its calls of this minute or day")

    async def take_customer(self, key: str) -> None:
        """Count one call about a customer or a visitor, by the pseudonym.

        Raises:
            Problem: 429, there were all of this minute.
        """
        if self._customer_per_minute is not None:
            now_us = self._clock()
            claim = Claim(f"about {key}", _end(now_us, MINUTE_US), self._customer_per_minute)
            await self._take([claim], now_us, "there were all the calls of this minute about this customer or visitor")

    async def _take(self, claims: list[Claim], now_us: int, words: str) -> None:
        for claim in claims:  # of a window that is used up nothing comes back: this costs no statement
            if self._used_up.get(claim.subject, 0) == claim.ends_us:
                raise _too_many(claim, now_us, words)
        try:
            if self._counts.waits:
                refused = await to_thread.run_sync(self._count, claims, now_us)
            else:
                refused = self._count(claims, now_us)
        except HoldfastError as error:
            self._warn(error, now_us)
            return
        if refused is not None:
            if len(self._used_up) >= _REMEMBERED:
                self._used_up.clear()
            self._used_up[refused.subject] = refused.ends_us
            raise _too_many(refused, now_us, words)

    def _count(self, claims: list[Claim], now_us: int) -> Claim | None:
        if now_us - self._forgotten_us > MINUTE_US:
            self._forgotten_us = now_us
            self._counts.forget(now_us - _SLACK_US)
        return self._counts.take(claims)

    def _warn(self, error: HoldfastError, now_us: int) -> None:
        """Once a minute."""
        if now_us - self._warned_us > MINUTE_US:
            self._warned_us = now_us
            log.warning("calls go through uncounted: %s", error)


def _end(now_us: int, window_us: int) -> int:
    return now_us - now_us % window_us + window_us


def _too_many(claim: Claim, now_us: int, words: str) -> Problem:
    seconds = max(1, -(-(claim.ends_us - now_us) // SECOND_US))
    return Problem(429, f"{words}; try again when Retry-After says", headers={"Retry-After": str(seconds)})
