"""One writer at a time: an advisory lock file that the operating system frees when its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features.errors import UnavailableError

__all__ = ["exclusive"]


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file at `path` for the body; `what` is what the message calls the thing that is locked.

    Raises:
        UnavailableError: somebody else holds it, or the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnavailableError(f"{what} cannot be locked ({type(error).__name__}); check its folder") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UnavailableError(f"{what} is being written by another process; try again when it is done") from None
        yield
    finally:
        os.close(descriptor)
