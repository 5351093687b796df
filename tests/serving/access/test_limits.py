"""Limits: 429 with the seconds to wait, a new window a new start, and calls that go on where nothing can be counted."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from features.errors import UnavailableError
from features.instants import DAY_US, MINUTE_US
from serving.access.counts import Claim, open_counts
from serving.access.limits import Limits
from serving.access.scopes import Caller
from serving.problems import Problem

NOW_US = 20_000 * DAY_US + 10_500_000  # ten and a half seconds into a day
CALLER = Caller("hfs_1", "crm", frozenset({"predict"}), per_minute=3, per_day=5)


class Limited:
    """Limits on a clock that the test holds."""

    def __init__(self, folder: Path, customer_per_minute: int | None = None) -> None:
        self.now_us = NOW_US
        self.counts = open_counts(folder / "service.db", folder / "limits.db", 100)
        self.limits = Limits(self.counts, lambda: self.now_us, customer_per_minute)

    def waits(self, n: int, caller: Caller = CALLER) -> list[int]:
        """For each of `n` calls, 0 if it goes through, else the seconds of Retry-After."""
        return [self.wait(self.limits.take(caller)) for _ in range(n)]

    @staticmethod
    def wait(taking: object) -> int:
        try:
            asyncio.run(taking)  # type: ignore[arg-type]
        except Problem as problem:
            return int(problem.headers["Retry-After"]) if problem.status == 429 else -1
        return 0


@pytest.fixture
def limited(tmp_path: Path) -> Limited:
    return Limited(tmp_path)


def test_a_minute_is_used_up_and_the_next_begins_anew_until_the_day_is_used_up(limited: Limited) -> None:
    assert limited.waits(5) == [0, 0, 0, 50, 50]  # 49.5 seconds, rounded up
    limited.now_us += 49_500_000
    assert limited.waits(4) == [0, 0, 86_340, 86_340]  # five of the day are gone: a day less a minute
    limited.now_us += DAY_US - MINUTE_US
    assert limited.waits(4) == [0, 0, 0, 60]


def test_a_caller_without_limits_is_not_counted(limited: Limited) -> None:
    limited.counts.close()  # would fail if it were asked
    assert limited.waits(3, Caller("hfs_2", "crm", frozenset())) == [0, 0, 0]


def test_keys_do_not_share_their_minutes(limited: Limited) -> None:
    other = Caller("hfs_2", "crm", frozenset(), per_minute=2)
    assert limited.waits(3, other) == [0, 0, 50]
    assert limited.waits(3) == [0, 0, 0]


def test_calls_about_a_customer_are_bounded_whoever_makes_them(tmp_path: Path) -> None:
    limited = Limited(tmp_path, customer_per_minute=2)
    assert [limited.wait(limited.limits.take_customer("k:1")) for _ in range(3)] == [0, 0, 50]
    assert limited.wait(limited.limits.take_customer("k:2")) == 0


def test_what_is_used_up_is_refused_without_counting(limited: Limited) -> None:
    assert limited.waits(4) == [0, 0, 0, 50]
    limited.counts.close()
    assert limited.waits(1) == [50]


class Broken:
    """Counts on a full disk."""

    waits = False

    def take(self, claims: Sequence[Claim]) -> Claim | None:
        raise UnavailableError("calls cannot be counted now")

    def forget(self, before_us: int) -> None:
        raise UnavailableError("calls cannot be counted now")

    def close(self) -> None:
        """Nothing to give back."""


def test_where_nothing_can_be_counted_calls_go_through_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(Broken(), lambda: NOW_US)
    for _ in range(5):
        asyncio.run(limits.take(CALLER))
    assert [record.getMessage() for record in caplog.records] == [
        "calls go through uncounted: calls cannot be counted now"
    ]
