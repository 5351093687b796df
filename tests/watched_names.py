"""Watch what names a Python process looks up and where it connects, from its first line on, by an audit hook."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_WATCHER = """
import os, sys
def _log(*words):
    with open(os.environ["WATCHED_NAMES"], "a") as file:
        file.write(" ".join(str(word) for word in words) + chr(10))
def _watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        _log("name", arguments[0])
    elif event == "socket.connect":
        _log("connect", arguments[1][0] if isinstance(arguments[1], tuple) else "unix")
_log("watching", os.getpid())
sys.addaudithook(_watch)
"""


def watching(folder: Path, *more_paths: Path) -> dict[str, str]:
    """Environment variables under which every Python process writes what it asks for to `folder / names.txt`."""
    (folder / "sitecustomize.py").write_text(_WATCHER, encoding="utf-8")
    path = os.pathsep.join(str(one) for one in (folder, *more_paths))
    return {"WATCHED_NAMES": str(folder / "names.txt"), "PYTHONPATH": path}


def asked_outside(folder: Path, *, n_processes: int = 1) -> set[str]:
    """The names looked up and addresses connected to that are not this machine's own.

    Raises:
        AssertionError: fewer processes were watched than must have run.
    """
    lines = (folder / "names.txt").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("watching") for line in lines) >= n_processes
    asked = {line.split(" ", 1)[1] for line in lines if line.startswith(("name", "connect"))}
    return asked - {"127.0.0.1", "::1", "localhost", "unix", "None", "0.0.0.0", socket.gethostname()}
