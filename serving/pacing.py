"""Long work beside the answers rests between its steps: while it runs, the interpreter is not theirs.

Loading a release takes a quarter of a second of CPU in thousands of short steps. Without rests it gets half of the
interpreter's time for as long, and at half load answers would queue up behind it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["breathe", "paced"]

_STEP_S = 0.001
"""Shorter steps are taken together: a rest costs something too."""


class _Pace:
    def __init__(self, rests: float) -> None:
        self._rests = rests
        self._rested_at = time.thread_time()

    def rest(self) -> None:
        worked = time.thread_time() - self._rested_at
        if worked >= _STEP_S:
            time.sleep(self._rests * worked)
            self._rested_at = time.thread_time()


_PACE: ContextVar[_Pace | None] = ContextVar("holdfast_pace", default=None)


@contextmanager
def paced(rests: float) -> Iterator[None]:
    """Have what runs inside rest at each `breathe`, `rests` times as long as it worked since the last one; 0 never."""
    before = _PACE.set(_Pace(rests) if rests > 0 else None)
    try:
        yield
    finally:
        _PACE.reset(before)


def breathe() -> None:
    """The end of a step of long work: rest, where a pace is set; next to nothing where none is."""
    pace = _PACE.get()
    if pace is not None:
        pace.rest()
