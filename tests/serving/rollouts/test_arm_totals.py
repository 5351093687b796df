"""Totals of arms: all of it is counted, across threads, minutes, workers and a store that is down for a while."""

import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from features.instants import DAY_US, HOUR_US, MINUTE_US
from serving.rollouts.arm_totals import ArmTotals, Compared, read_arm_figures
from serving.store import Store, arm_totals

WHO = ("rollout-s", "second", "challenger")


class Held:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now_us = 1_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "service.db", lock_timeout_ms=20)
    yield opened
    opened.close()


def never_by_itself(store: Store, clock: Held, worker: str = "w1") -> ArmTotals:
    return ArmTotals(store, clock, worker, flush_s=1_000)


def test_what_is_counted_is_read_back(store: Store) -> None:
    totals = never_by_itself(store, Held())
    totals.answered(*WHO, seconds=0.002, probabilities=(0.5,))
    totals.answered(*WHO, seconds=0.002, fallbacks=1)
    totals.answered(*WHO, n=3, errors=1, missing=2, probabilities=(0.1, 1.0))
    totals.answered("rollout-s", "first", "control", seconds=1.0)
    totals.dropped("rollout-s", "second", "shadow", 4)
    totals.answered("another", "first", "control")
    totals.close()
    found = read_arm_figures(store, "rollout-s", 0)
    assert sorted(found) == ["challenger", "control", "shadow"]
    one = found["challenger"]
    assert (one.n_requests, one.n_errors, one.n_fallbacks, one.n_missing) == (5, 1, 1, 2)
    assert (sum(one.latency.values()), one.latency_ms(0.5)) == (2, pytest.approx(2.0, rel=0.045))
    assert {place: n for place, n in enumerate(one.probabilities) if n} == {5: 1, 25: 1, 49: 1}
    assert (found["shadow"].n_dropped, found["shadow"].dropped_share) == (4, 1.0)


def test_an_answer_that_is_not_finite_is_an_error_once(store: Store) -> None:
    totals = never_by_itself(store, Held())
    totals.answered(*WHO, probabilities=(math.nan,))
    totals.answered(*WHO, errors=1, probabilities=(math.inf,))
    totals.close()
    one = read_arm_figures(store, "rollout-s", 0)["challenger"]
    assert (one.n_requests, one.n_errors, sum(one.probabilities)) == (2, 2, 0)


def test_a_shadow_is_told_apart_from_the_champion(store: Store) -> None:
    totals = never_by_itself(store, Held())
    for mine, its, band in ((0.2, 0.7, "high"), (0.2, 0.1, "low"), (0.2, math.nan, "low")):
        totals.answered("rollout-s", "second", "shadow", compared=Compared(mine, "low", its, band))
    totals.answered("rollout-s", "second", "shadow", compared=Compared(overlap=0.6))
    totals.close()
    one = read_arm_figures(store, "rollout-s", 0)["shadow"]
    assert one.band_moves == {"low>high": 1, "low>low": 1}
    assert (one.mean_difference, one.mean_abs_difference) == (pytest.approx(0.2), pytest.approx(0.3))
    assert (one.mean_overlap, one.moved_share) == (0.6, 0.5)


def test_rows_are_of_a_minute_and_never_reach_over_a_change_of_the_rollout(store: Store) -> None:
    clock = Held()
    totals = never_by_itself(store, clock)
    totals.answered(*WHO)
    totals._flush()
    clock.now_us += MINUTE_US // 2
    totals.turn(7, clock.now_us)
    totals.answered(*WHO)
    totals.answered(*WHO)
    step_us = clock.now_us
    clock.now_us += 1
    totals.turn(7, clock.now_us)  # nothing has changed since
    clock.now_us += MINUTE_US
    totals._flush()  # its minute is over: the next answer begins another row
    totals.answered(*WHO)
    totals.close()
    since = {at: read_arm_figures(store, "rollout-s", at) for at in (0, step_us, step_us + 1, clock.now_us + 1)}
    assert [found["challenger"].n_requests if found else 0 for found in since.values()] == [4, 3, 1, 0]


def test_rows_of_an_hour_ago_become_one_and_those_of_a_season_ago_go(store: Store) -> None:
    clock = Held()
    totals = never_by_itself(store, clock)
    totals.answered("rollout-before", "first", "challenger")
    totals._flush()
    clock.now_us += 100 * DAY_US
    totals._flush()
    totals.answered(*WHO)  # before the step
    totals._flush()
    clock.now_us += MINUTE_US
    step_us = clock.now_us
    totals.turn(7, step_us)
    for _ in range(36):
        totals.answered(*WHO, seconds=0.001, probabilities=(0.5,))
        totals.answered("rollout-s", "first", "control")
        totals._flush()
        clock.now_us += 5 * MINUTE_US
    with store.read() as connection:
        began = connection.scalars(sa.select(arm_totals.c.minute_us).where(arm_totals.c.arm == "challenger")).all()
    assert len(began) <= 1 + 1 + 24  # before the step, the joined one, and at most two hours
    since = read_arm_figures(store, "rollout-s", step_us)
    one = since["challenger"]
    assert (one.n_requests, sum(one.latency.values()), one.probabilities[25]) == (36, 36, 36)
    assert since["control"].n_requests == 36
    assert read_arm_figures(store, "rollout-s", 0)["challenger"].n_requests == 37
    assert read_arm_figures(store, "rollout-before", 0) == {}
    last_hour = read_arm_figures(store, "rollout-s", clock.now_us - HOUR_US)
    assert last_hour["challenger"].n_requests == 11  # began 10, 15, ... 60 minutes ago: at the flush before the answer
    totals.close()


def test_a_store_that_is_locked_for_a_while_costs_nothing(store: Store, tmp_path: Path) -> None:
    clock = Held()
    totals = never_by_itself(store, clock)
    holder = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        totals.answered(*WHO)
        totals._flush()
        clock.now_us += 2 * MINUTE_US
    holder.execute("ROLLBACK")
    holder.close()
    assert read_arm_figures(store, "rollout-s", 0) == {}
    totals.answered(*WHO)
    totals._flush()
    totals._flush()
    totals.close()
    assert read_arm_figures(store, "rollout-s", 0)["challenger"].n_requests == 4


def test_a_store_that_is_gone_for_ever_does_not_fill_the_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Held()
    totals = never_by_itself(store, clock)
    monkeypatch.setattr("serving.rollouts.arm_totals._ROWS_KEPT", 5)
    monkeypatch.setattr(store, "write", lambda: 1 / 0)
    for _ in range(20):
        totals.answered(*WHO)
        totals._flush()
        clock.now_us += 2 * MINUTE_US
    assert len(totals._tallies) <= 6
    assert "are lost" in caplog.text
    totals.close()


def test_workers_and_threads_lose_no_answer(store: Store) -> None:
    clock = Held()
    workers = [ArmTotals(store, clock, f"w{number}", flush_s=0.005) for number in range(2)]

    def count(totals: ArmTotals) -> None:
        for _ in range(500):
            totals.answered(*WHO, seconds=0.001, probabilities=(0.3,))

    threads = [threading.Thread(target=count, args=(totals,)) for totals in workers for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for totals in workers:
        totals.close()
    one = read_arm_figures(store, "rollout-s", 0)["challenger"]
    assert (one.n_requests, sum(one.latency.values()), one.probabilities[15]) == (4_000, 4_000, 4_000)
