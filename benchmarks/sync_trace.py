"""Whether an event was on the disk before its acknowledgement left: by the system calls of a service, as strace saw.

Of each acknowledged event three calls are looked for: a write of a page with its id into the write-ahead log, the
next sync of the log by the same thread, and the sending of the answer that carries the request's id. The writes of the
transaction must end in a commit (a frame header whose second word, the size of the database afterwards, is not zero),
the sync must come after all of them and have returned success before the sending begins.
Source: https://sqlite.org/fileformat2.html#the_write_ahead_log for the frames.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Call", "Shown", "command", "read", "show", "why_not"]

_TRACED = "write,writev,pwrite64,pwritev,fsync,fdatasync,sendto,sendmsg"
_SYNCS, _WRITES = {"fsync", "fdatasync"}, {"write", "pwrite64", "writev", "pwritev"}
_SENDS = {"write", "writev", "sendto", "sendmsg"}
_FRAME_HEADER = 24
_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))\n?\Z", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+)[^)]*\Z")
_UNFINISHED = "<unfinished ...>"
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(r"\d+<([^>]*)>")


def why_not() -> str | None:
    """What keeps strace from looking at a process here; None where nothing does."""
    if shutil.which("strace") is None:
        return "strace is missing; as root: make strace"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace may not look at processes here: {tried.stderr.strip()[-200:]}"


def command(argv: Sequence[str], out: Path) -> list[str]:
    """The command that runs another one, in its own process, and writes its calls down."""
    return ["strace", "-D", "-f", "-y", "-xx", "-s", "8192", "-e", f"trace={_TRACED}", "-o", str(out), *argv]


@dataclass(frozen=True)
class Call:
    """One system call: the numbers of the lines at which it was entered and left, and what it was about."""

    began: int
    ended: int
    thread: int
    name: str
    file: str
    data: bytes
    result: int


def read(lines: Iterable[str]) -> list[Call]:
    """The calls that returned, in the order in which they began."""
    open_calls: dict[int, tuple[int, str, str]] = {}
    found = []
    for number, line in enumerate(lines):
        split = _LINE.match(line)
        if split is None:
            continue
        thread = int(split[1])
        entered = (number, split[2], split[3].rstrip()) if split[2] is not None else None
        if entered is not None and entered[2].endswith(_UNFINISHED):
            open_calls[thread] = number, split[2], entered[2].removesuffix(_UNFINISHED)
            continue
        began, name, said = entered or open_calls.pop(thread, (-1, "", ""))
        said += split[5] or ""
        result = _RESULT.search(said.rstrip())
        if began >= 0 and result is not None:
            found.append(_call(began, number, thread, name, said, int(result[1])))
    return sorted(found, key=lambda one: one.began)


def _call(began: int, ended: int, thread: int, name: str, said: str, result: int) -> Call:
    file = _FILE.match(said)
    path = "" if file is None else file[1]
    if path.startswith("\\x"):
        path = bytes.fromhex(path.replace("\\x", "")).decode(errors="replace")
    data = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(said))
    return Call(began, ended, thread, name, path, data, result)


@dataclass(frozen=True)
class Shown:
    """n_shown: acknowledged events that were synced before. unshown: of each other one, what is missing."""

    n_shown: int
    unshown: tuple[str, ...]


def show(calls: Sequence[Call], sent: Mapping[str, str]) -> Shown:
    """Judge every acknowledged event: `sent` has, by event id, the id of the request that was answered with 202."""
    on_log = [one for one in calls if one.file.endswith("-wal") and one.name in _WRITES | _SYNCS]
    sends = [one for one in calls if one.name in _SENDS and b"HTTP/1.1 202" in one.data]
    faults = [
        _fault(on_log, sends, event_id.encode(), request.encode() + b"\r\n") for event_id, request in sent.items()
    ]
    unshown = tuple(fault for fault in faults if fault is not None)
    return Shown(len(faults) - len(unshown), unshown)


def _fault(on_log: Sequence[Call], sends: Sequence[Call], event_id: bytes, request: bytes) -> str | None:
    """What is missing between the writing of an event and the sending of its acknowledgement."""
    answer = next((one for one in sends if request in one.data), None)
    if answer is None:
        return "no acknowledgement was sent"
    pages = [one for one in on_log if one.name in _WRITES and event_id in one.data and one.began < answer.began]
    if not pages:
        return "acknowledged without having been written"
    faults = [_unsynced(on_log, page, answer) for page in pages]  # a page is written again with later events
    return None if None in faults else faults[0]


def _unsynced(on_log: Sequence[Call], page: Call, answer: Call) -> str | None:
    """What is missing after the writing of one page."""
    own = [one for one in on_log if one.thread == page.thread]
    sync = next((one for one in own if one.name in _SYNCS and one.began > page.ended), None)
    if sync is None or sync.result != 0 or sync.ended >= answer.began:
        return "acknowledged before the log was synced"
    before = max((one.ended for one in own if one.name in _SYNCS and one.ended < page.began), default=-1)
    frames = [one for one in own if one.name in _WRITES and before < one.began < sync.began]
    if not any(len(one.data) == _FRAME_HEADER and any(one.data[4:8]) for one in frames):
        return "synced before the commit was written"
    return None
