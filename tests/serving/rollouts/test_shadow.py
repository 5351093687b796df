"""A shadow: it is asked beside the answers, never in their way, and whatever it does it does to itself."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from serving.rollouts.arm_totals import ArmFigures, ArmTotals, read_arm_figures
from serving.rollouts.shadow import Shadow, ShadowLimits, ShadowSetting, ShadowTarget, _Feed
from serving.rollouts.shadow_lines import AskedScore, AskedSlate
from serving.store import Store
from serving.storefront import SlateRequest

TARGET = ShadowTarget("rollout-s", "second")
TOLD = dict.fromkeys(("stored", "reasons", "actions", "forecast", "segment", "what_if"), False) | {"language": "en"}
LIMITS = ShadowLimits(queue=20, answer_s=0.3, start_s=10.0, memory_bytes=1 << 30, pause_s=0.05, longest_pause_s=0.1)
START = "import json, os, sys, time\nsys.stdin.readline()\nprint('{\"ready\": true}', flush=True)\n"


def score(number: int = 0) -> AskedScore:
    return AskedScore(f"k:{number}", 5, TOLD, 0.2, "low")


def program(each_line: str, start: str = START) -> tuple[str, ...]:
    """A child that runs one statement for each line that it is asked."""
    return (sys.executable, "-c", f"{start}for line in sys.stdin:\n    {each_line}\n")


@dataclass
class Beside:
    """A shadow and what it counts."""

    store: Store
    totals: ArmTotals
    counted: Counter[str] = field(default_factory=Counter)
    shadow: Shadow | None = None

    def start(self, command: tuple[str, ...], limits: ShadowLimits = LIMITS) -> Shadow:
        def count(outcome: str, n: int) -> None:
            self.counted[outcome] += n

        self.shadow = Shadow(ShadowSetting(self.totals, lambda name: {"folder": name}, count, limits, command))
        self.shadow.follow(TARGET)
        return self.shadow

    def wait_for(self, enough: Callable[[Counter[str]], bool]) -> None:
        deadline = time.monotonic() + 20
        while not enough(self.counted):
            assert time.monotonic() < deadline, self.counted
            time.sleep(0.01)

    def figures(self) -> ArmFigures:
        assert self.shadow is not None
        self.shadow.close()
        self.totals.close()
        return read_arm_figures(self.store, "rollout-s", 0)["shadow"]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    store = Store.open(tmp_path / "service.db")
    totals = ArmTotals(store, lambda: 1, "w")
    found = Beside(store, totals)
    yield found
    if found.shadow is not None:
        found.shadow.close()
    totals.close()
    store.close()


ANSWERING = "print(json.dumps({'probability': 0.5, 'band': 'high', 'seconds': 0.001, 'missing': True}), flush=True)"


def test_answers_are_compared_with_those_of_the_champion(beside: Beside) -> None:
    shadow = beside.start(program(ANSWERING))
    for number in range(5):
        shadow.hand_over(score(number))
    beside.wait_for(lambda counted: counted["answered"] == 5)
    one = beside.figures()
    assert (one.n_requests, one.n_errors, one.n_missing, one.n_dropped) == (5, 0, 5, 0)
    assert (one.band_moves, one.probabilities[25]) == ({"low>high": 5}, 5)
    assert one.mean_abs_difference == pytest.approx(0.3)
    assert one.latency_ms(0.5) == pytest.approx(1.0, rel=0.05)


def test_slates_are_compared_by_what_both_show(beside: Beside) -> None:
    shown = "print(json.dumps({'item_ids': ['b', 'c', 'x'], 'fallback': True, 'seconds': 0.002}), flush=True)"
    shadow = beside.start(program(shown))
    slate = AskedSlate("k", None, 5, "home", SlateRequest(), {}, None, "r-1", ("a", "b", "c", "d"))
    shadow.hand_over(slate)
    shadow.hand_over(replace(slate, item_ids=()))
    beside.wait_for(lambda counted: counted["answered"] == 2)
    one = beside.figures()
    assert (one.n_slates, one.mean_overlap, one.n_fallbacks) == (1, 0.5, 2)


def test_a_shadow_that_hangs_never_keeps_an_answer_waiting_and_what_does_not_fit_is_counted(beside: Beside) -> None:
    shadow = beside.start(program("time.sleep(1_000)"), replace(LIMITS, answer_s=60.0))
    deadline = time.monotonic() + 5
    shadow.hand_over(score())
    feed = shadow._feed
    assert feed is not None
    while feed._waiting.qsize():  # the child has been given one to hang on
        assert time.monotonic() < deadline
        time.sleep(0.01)
    took = []
    for number in range(500):
        started = time.perf_counter()
        shadow.hand_over(score(number))
        took.append(time.perf_counter() - started)
    assert feed._waiting.qsize() == 20
    assert beside.counted["dropped"] == 480
    assert sorted(took)[250] < 1e-3
    assert beside.figures().n_dropped == 480  # closing does not wait for what hangs


def test_one_that_hangs_is_killed_and_started_again(beside: Beside) -> None:
    hanging = "time.sleep(1_000) if 'k:13' in line else " + ANSWERING
    shadow = beside.start(program(hanging))
    for number in (1, 13, 2):
        shadow.hand_over(score(number))
    beside.wait_for(lambda counted: counted["answered"] == 2)
    one = beside.figures()
    assert (one.n_requests, one.n_errors) == (3, 1)


@pytest.mark.parametrize(
    "fault",
    [
        "print(json.dumps({'error': 'ValueError', 'seconds': 0.1}), flush=True)",
        "print('no json', flush=True)",
        "print('[]', flush=True)",
        "print('{}', flush=True)",
        "print('x' * 3_000_000, flush=True)",
        "os.abort()",
        "sys.exit(3)",
    ],
)
def test_whatever_goes_wrong_is_an_error_of_the_shadow(beside: Beside, fault: str) -> None:
    shadow = beside.start(program(fault))
    shadow.hand_over(score())
    beside.wait_for(lambda counted: counted["failed"] == 1)
    one = beside.figures()
    assert (one.n_requests, one.n_errors, sum(one.probabilities)) == (1, 1, 0)


def test_it_takes_its_share_of_a_core_alone(beside: Beside) -> None:
    working = "print(json.dumps({'error': 'x', 'seconds': 0.01, 'busy_s': 0.02}), flush=True)"
    shadow = beside.start(program(working), replace(LIMITS, busy_share=0.2))
    for number in range(6):
        shadow.hand_over(score(number))
    beside.wait_for(lambda counted: counted["failed"] == 1)
    started = time.monotonic()
    beside.wait_for(lambda counted: counted["failed"] == 6)
    assert time.monotonic() - started > 4 * 0.08  # each 0.02 s of work is followed by four times as much of rest


def test_one_that_eats_memory_is_stopped_by_its_limit(beside: Beside) -> None:
    shadow = beside.start(program("x = bytearray(4 << 30)"))
    shadow.hand_over(score())
    beside.wait_for(lambda counted: counted["failed"] == 1)
    assert beside.figures().error_share == 1.0


@pytest.mark.parametrize("command", [("/no/such/program",), (sys.executable, "-c", "pass")])
def test_one_that_does_not_start_is_tried_again_and_shows_nothing_of_the_release(
    beside: Beside, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    shadow = beside.start(command)
    for number in range(30):
        shadow.hand_over(score(number))
    deadline = time.monotonic() + 10
    while caplog.text.count("started again") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    one = beside.figures()
    assert (one.n_requests, one.n_errors, one.n_dropped) == (0, 0, 10)


def test_pauses_between_starts_double_up_to_the_longest_and_begin_anew_after_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    class Closing:
        def is_set(self) -> bool:
            return len(waits) == 7

        def wait(self, seconds: float) -> None:
            waits.append(seconds)

    monkeypatch.setattr(_Feed, "_one_life", lambda self: 8 if len(waits) == 5 else 0)
    feed = object.__new__(_Feed)
    feed._limits, feed._closing = replace(LIMITS, pause_s=1.0, longest_pause_s=5.0), Closing()
    feed._run()
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0, 2.0]


def test_once_closed_no_process_is_started_by_who_still_follows(beside: Beside) -> None:
    shadow = beside.start(program(ANSWERING))
    shadow.close()
    shadow.follow(TARGET)
    assert shadow.target is None


def test_without_a_target_nothing_is_taken_and_another_target_takes_the_place_of_the_first(beside: Beside) -> None:
    shadow = beside.start(program(ANSWERING))
    first = shadow._feed
    shadow.follow(TARGET)
    assert shadow._feed is first
    shadow.follow(ShadowTarget("rollout-t", "third"))
    assert first is not None
    assert not first._thread.is_alive()
    shadow.hand_over(score())
    beside.wait_for(lambda counted: counted["answered"] == 1)
    shadow.follow(None)
    shadow.hand_over(score())
    beside.totals.close()
    assert beside.counted == {"answered": 1}
    assert read_arm_figures(beside.store, "rollout-t", 0)["shadow"].n_requests == 1


def test_what_is_said_holds_pseudonyms_and_no_probability_of_the_champion() -> None:
    assert score(3).line() == {"kind": "churn", "customer_key": "k:3", "as_of_us": 5, "told": TOLD}
    slate = AskedSlate("k", "v", 5, None, SlateRequest(3, candidates=("a",)), {"owned": True}, 0.4, "r-1", ("a",))
    assert slate.line() == {
        "kind": "slate",
        "customer_key": "k",
        "visitor_key": "v",
        "as_of_us": 5,
        "placement": None,
        "request": '{"limit": 3, "candidates": ["a"], "exclude": {"owned": true}}',
        "risk": 0.4,
        "recommendation_id": "r-1",
    }
