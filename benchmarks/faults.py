"""Faults of a machine, each lasting as long as its block: a full disk, a locked database, a wrong clock, a lost folder.

None needs rights that a user does not have. The disk is a real one, of memory: a small tmpfs that the service alone
sees, mounted in a user namespace of its own. The clock is Python's, moved for every process of the service.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

_MOUNT = 'mount -t tmpfs -o size="$0" none /mnt && cp -a "$1/." /mnt/ && mount --move /mnt "$1" && shift && exec "$@"'
_PIECE = bytes(4_096)
_CLOCK = """
import os, time
_ns, _s = time.time_ns, time.time
def _shift():
    with open(os.environ["SHIFTED_CLOCK"]) as file:
        return int(file.read())
time.time_ns = lambda: _ns() + _shift() * 10**9
time.time = lambda: _s() + _shift()
"""


def why_no_disk() -> str | None:
    """What keeps a disk of its own from a command here; None where nothing does."""
    tried = subprocess.run(on_small_disk(["true"], Path("/proc/self/fdinfo"), 1), capture_output=True, check=False)
    if tried.returncode == 0 or b"cp" in tried.stderr:  # the mount was made; that folder cannot be copied
        return None
    return f"no disk can be mounted in a user namespace here: {tried.stderr.decode().strip()[-200:]}"


def on_small_disk(argv: Sequence[str], folder: Path, mib: int) -> list[str]:
    """The command with a small disk of its own in the place of a folder, with all that the folder holds."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, f"{mib}m", str(folder), *argv]


def seen_by(pid: int, path: Path) -> Path:
    """The path of a process that has a disk of its own, from outside."""
    return Path(f"/proc/{pid}/root{path.absolute()}")


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Not one byte is left on the disk of a folder."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(_PIECE)
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Another process holds the database: nobody else can write."""
    with closing(sqlite3.connect(store, isolation_level=None, timeout=30.0)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            holder.execute("ROLLBACK")


class Clock:
    """The clock of all processes that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shift"
        (folder / "sitecustomize.py").write_text(_CLOCK, encoding="utf-8")
        self._set(0)
        self.env = {"SHIFTED_CLOCK": str(self._file), "PYTHONPATH": str(folder)}

    @contextmanager
    def off_by(self, seconds: int) -> Iterator[None]:
        """Ahead of the machine's by so much; behind it where negative."""
        self._set(seconds)
        try:
            yield
        finally:
            self._set(0)

    def _set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """Without a folder that was there."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)
