"""The process in which a shadow answers: started, asked line by line within a time, and killed where it fails.

What it is given and what it says are single lines of JSON over a socket that is its standard input and output.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import orjson

import serving

__all__ = ["ShadowChild", "ShadowLostError"]

_LONGEST_LINE = 1 << 20
_PART = 1 << 16
_ROOT = Path(serving.__file__).parents[1]


class ShadowLostError(Exception):
    """The process does not answer, or not as agreed; the message says in a word how."""


class ShadowChild:
    """A running process, which gets the processor when nobody else wants it, and so much address space.

    It ends when this object is closed, or when its parent is gone, whose socket it reads.
    """

    def __init__(self, command: Sequence[str], memory_bytes: int) -> None:
        self._left = b""
        with ExitStack() as opened:
            self._ours, theirs = map(opened.enter_context, socket.socketpair())
            ends = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 - our own program, or a test's
                list(command), stdin=ends, stdout=ends, cwd=_ROOT, start_new_session=True
            )
            opened.pop_all()
            theirs.close()
        with suppress(ProcessLookupError):  # it ended at once; the first question will tell
            resource.prlimit(self._process.pid, resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            os.sched_setscheduler(self._process.pid, os.SCHED_IDLE, os.sched_param(0))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, content: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        """What it answers to one line.

        Raises:
            ShadowLostError: it did not answer in time, ended, or answered something else than a JSON object.
        """
        deadline = time.monotonic() + within_s
        try:
            self._ours.settimeout(within_s)
            self._ours.sendall(orjson.dumps(content) + b"\n")
            found = orjson.loads(self._line(deadline))
        except TimeoutError:
            raise ShadowLostError("hangs") from None
        except OSError:
            raise ShadowLostError("ended") from None
        except orjson.JSONDecodeError:
            raise ShadowLostError("answers no JSON") from None
        if not isinstance(found, dict):
            raise ShadowLostError("answers no JSON object")
        return found

    def kill(self) -> None:
        """End the process now, from any thread; who waits for an answer hears that it ended."""
        self._process.kill()

    def close(self) -> None:
        """End the process and give everything back."""
        self._process.kill()
        self._process.wait()
        self._ours.close()

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._left:
            self._ours.settimeout(max(deadline - time.monotonic(), 1e-3))
            part = self._ours.recv(_PART)
            if not part:
                raise ShadowLostError("ended")
            self._left += part
            if len(self._left) > _LONGEST_LINE:
                raise ShadowLostError("answers without end")
            if time.monotonic() > deadline:
                raise TimeoutError
        line, _, self._left = self._left.partition(b"\n")
        return line
