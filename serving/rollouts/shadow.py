"""A shadow: the challenger is asked again what the champion answered, in a process of its own, and nobody sees it.

An answer hands over what it was asked and goes on; it never waits. What does not fit into the queue is dropped and
counted. The process is killed when it takes too long, may use so much memory and no more, and is started again after a
pause that doubles: whatever the challenger does, it does to itself. All that stays of it are the totals of its arm.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from serving.releases import Served
from serving.rollouts.arm_totals import ArmTotals
from serving.rollouts.shadow_child import ShadowChild, ShadowLostError
from serving.rollouts.shadow_lines import AskedScore, AskedSlate

__all__ = ["ARM", "Asked", "Shadow", "ShadowLimits", "ShadowSetting", "ShadowTarget", "shadow_of"]

log = logging.getLogger("holdfast.shadow")

ARM = "shadow"
COMMAND = (sys.executable, "-m", "serving.rollouts.shadow_process")
_JOIN_S = 5.0

Asked = AskedScore | AskedSlate


@dataclass(frozen=True)
class ShadowLimits:
    """What a shadow may take.

    queue: requests that wait. busy_share: of one core, what it takes at most; what comes in meanwhile waits, or is
    dropped. answer_s, start_s: how long one answer and the start may take; on a machine without a free core both take
    long. memory_bytes: of address space. pause_s, longest_pause_s: before it is started again, doubled with each
    failure without an answer between.
    """

    queue: int = 256
    busy_share: float = 0.25
    answer_s: float = 30.0
    start_s: float = 300.0
    memory_bytes: int = 8 << 30
    pause_s: float = 1.0
    longest_pause_s: float = 60.0


@dataclass(frozen=True)
class ShadowTarget:
    """Which release is the shadow of which experiment."""

    experiment: str
    release: str


def shadow_of(served: Served | None) -> ShadowTarget | None:
    """The challenger that is a shadow now, if it could be loaded here."""
    if served is None or served.challenger is None or not served.state.shadow:
        return None
    return ShadowTarget(served.state.key, served.challenger.name)


@dataclass(frozen=True, eq=False)
class ShadowSetting:
    """What is the same for every target.

    totals: where figures go. described: a release's name -> the first line that its process is given. count: hears of
    `answered`, `failed` and `dropped` requests, and of those `skipped` because the process did not know what the
    champion knew. command: starts the process.
    """

    totals: ArmTotals
    described: Callable[[str], Mapping[str, Any]]
    count: Callable[[str, int], None]
    limits: ShadowLimits = ShadowLimits()
    command: Sequence[str] = COMMAND


class Shadow:
    """The shadow of one worker; none before `follow` names a release."""

    def __init__(self, setting: ShadowSetting) -> None:
        self._setting = setting
        self._feed: _Feed | None = None
        self._following = threading.Lock()
        self._closed = False

    @property
    def target(self) -> ShadowTarget | None:
        """What is followed now."""
        feed = self._feed
        return None if feed is None else feed.target

    def follow(self, target: ShadowTarget | None) -> None:
        """Let this release be the shadow, or none; one that was is ended. Nothing is begun once this is closed."""
        with self._following:
            feed = self._feed
            if target == self.target:
                return
            self._feed = None
            if feed is not None:
                feed.close()
            if target is not None and not self._closed:
                self._feed = _Feed(target, self._setting)

    def hand_over(self, asked: Asked) -> None:
        """Have the shadow asked, some time; returns at once, and does nothing where there is none."""
        feed = self._feed
        if feed is not None:
            feed.take(asked)

    def close(self) -> None:
        """End it for good: a thread that follows the rollout may still be at it when the service stops."""
        self._closed = True
        self.follow(None)


class _Feed:
    """Asks the process of one target, from a thread of its own, until it is closed."""

    def __init__(self, target: ShadowTarget, setting: ShadowSetting) -> None:
        self.target = target
        self._setting = setting
        self._limits = setting.limits
        self._waiting: SimpleQueue[Asked | None] = SimpleQueue()  # None ends it
        self._child: ShadowChild | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def take(self, asked: Asked) -> None:
        """Put a request into the queue, or drop it."""
        if self._waiting.qsize() < self._limits.queue:
            self._waiting.put(asked)
        else:
            self._passed_over("dropped")

    def close(self) -> None:
        """Kill the process and end the thread; what waits is dropped."""
        self._closing.set()
        self._waiting.put(None)
        child = self._child
        if child is not None:
            child.kill()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        pause_s = self._limits.pause_s
        while not self._closing.is_set():
            if self._one_life():
                pause_s = self._limits.pause_s
            self._closing.wait(pause_s)
            pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    def _one_life(self) -> int:
        """Start a process and ask it until it fails or this is closed; how often it answered."""
        n_answered = 0
        asked: Asked | None = None
        try:
            with closing(ShadowChild(self._setting.command, self._limits.memory_bytes)) as child:
                self._child = child
                if self._closing.is_set():  # whoever closes looked for a child before there was one
                    return 0
                _check_ready(child.ask(self._setting.described(self.target.release), self._limits.start_s))
                while (asked := self._waiting.get()) is not None:
                    answer = child.ask(asked.line(), self._limits.answer_s)
                    self._answered(asked, answer)
                    n_answered += 1
                    self._closing.wait(answer.get("busy_s", 0.0) * (1.0 / self._limits.busy_share - 1.0))
        except Exception as error:  # whatever it was, it happened to the shadow alone
            if not self._closing.is_set():
                why = str(error) if isinstance(error, ShadowLostError) else type(error).__name__
                log.warning("the shadow of %s %s; it is started again later", self.target.release, why)
                if asked is not None:
                    self._failed(None)
        finally:
            self._child = None
        return n_answered

    def _answered(self, asked: Asked, answer: Mapping[str, Any]) -> None:
        """Count an answer: an error of the release, a customer whom the process does not know, or figures."""
        if answer.get("skipped"):
            self._passed_over("skipped")
            return
        seconds = answer.get("seconds")
        if answer.get("error") is not None:
            self._failed(seconds)
            return
        score = isinstance(asked, AskedScore)
        self._setting.totals.answered(
            self.target.experiment,
            self.target.release,
            ARM,
            fallbacks=int(bool(answer.get("fallback"))),
            missing=int(bool(answer.get("missing"))),
            seconds=seconds,
            probabilities=(float(answer["probability"]),) if score else (),
            compared=asked.compared(answer),
        )
        self._setting.count("answered", 1)

    def _failed(self, seconds: float | None) -> None:
        self._setting.totals.answered(self.target.experiment, self.target.release, ARM, errors=1, seconds=seconds)
        self._setting.count("failed", 1)

    def _passed_over(self, outcome: str) -> None:
        self._setting.totals.dropped(self.target.experiment, self.target.release, ARM, 1)
        self._setting.count(outcome, 1)


def _check_ready(told: Mapping[str, Any]) -> None:
    if told.get("ready") is not True:
        raise ShadowLostError(f"does not start: {told.get('refused', 'it says something else than ready')}")
