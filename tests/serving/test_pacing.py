"""Long work that rests: as long as was said, only where it was said, and with the same outcome."""

import threading
import time

import pytest

from serving.pacing import breathe, paced


def work(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("serving.pacing.time.sleep", found.append)
    return found


def test_a_step_rests_as_many_times_its_own_work_as_was_said(slept: list[float]) -> None:
    with paced(3.0):
        work(0.004)
        breathe()
    assert len(slept) == 1
    assert slept[0] >= 3 * 0.004


def test_short_steps_are_taken_together(slept: list[float]) -> None:
    with paced(3.0):
        for _ in range(20):
            work(0.0001)
            breathe()
    assert 1 <= len(slept) < 20


def test_nothing_rests_without_a_pace_nor_in_another_thread_nor_after_it(slept: list[float]) -> None:
    def other() -> None:
        work(0.002)
        breathe()

    with paced(3.0):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    with paced(0.0):
        other()
    assert slept == []
