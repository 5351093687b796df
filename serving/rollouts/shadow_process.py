"""The program of a shadow's process: `python -m serving.rollouts.shadow_process`.

It reads the event log, the store and the release for itself, and writes nothing: the store is opened so that it refuses
changes. The first line says what to open; each line after it is a question, answered by one line.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from features.churn_features import CHURN_FEATURES
from features.errors import HoldfastError
from features.event_log import EventLog
from features.schema import ITEMS
from features.tables import read_table
from features.workspace import Workspace
from serving.histories import Histories, SealedHistory
from serving.release import load_release
from serving.release_signature import TrustedKeys
from serving.rollouts.shadow_answers import ShadowAnswers
from serving.settings import ServiceSettings
from serving.snapshots import Snapshots
from serving.store import Store
from serving.storefronts import Storefronts

__all__ = ["described", "main"]

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_FIRST_TO_GO = "1000"


def described(settings: ServiceSettings, folder: Path) -> dict[str, Any]:
    """The first line for a release that lies in a folder; whatever secret the store's URL holds goes no other way."""
    trusted = settings.trusted()
    return {
        "workspace": str(settings.workspace.absolute()),
        "store": settings.store,
        "folder": str(folder.absolute()),
        "keys": [key.hex() for key in trusted.keys.values()],
        "accept_unsigned": trusted.accept_unsigned,
        "lock_timeout_ms": settings.lock_timeout_ms,
        "reasons_count": settings.reasons_count,
    }


def main() -> None:
    """Answer lines until there are no more."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
        _step_back()
        lines = sys.stdin.buffer
        try:
            answers = opened(orjson.loads(lines.readline()))
        except HoldfastError as error:
            out.write(orjson.dumps({"refused": str(error)}) + b"\n")
            return
        out.write(orjson.dumps({"ready": True}) + b"\n")
        while line := lines.readline():
            started = time.process_time()
            answer = answers.answer(orjson.loads(line))
            out.write(orjson.dumps(answer | {"busy_s": time.process_time() - started}) + b"\n")


def opened(told: Mapping[str, Any]) -> ShadowAnswers:
    """All that answers need.

    Raises:
        ArtefactError: the release is refused, or the log is damaged.
        UnavailableError: the store cannot be read.
    """
    places = Workspace(Path(told["workspace"]), told["store"])
    trusted = TrustedKeys.of(*map(bytes.fromhex, told["keys"]), accept_unsigned=told["accept_unsigned"])
    release = load_release(Path(told["folder"]), CHURN_FEATURES, trusted)
    store = Store.open(places.store, lock_timeout_ms=told["lock_timeout_ms"], read_only=True)
    log = EventLog.open(places.event_log) if places.event_log.exists() else None
    items = read_table(places.items, ITEMS)
    gone = items.filter(pc.equal(items["in_stock"], False))["item_id"].to_pylist()
    storefronts = Storefronts(frozenset(gone))
    if release.recommender is not None:
        storefronts.warm(release.recommender, release.recipes, release.created_at_us)
    snapshots = Snapshots(places.snapshots, CHURN_FEATURES)
    return ShadowAnswers(
        release, Histories(store, SealedHistory.of(log)), snapshots, storefronts, told["reasons_count"]
    )


def _step_back() -> None:
    """Take one thread, be what the system ends first where memory is short, and do not outlive the parent."""
    pa.set_cpu_count(1)
    with suppress(OSError):  # other systems have neither; there the parent's closed socket ends it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    main()
