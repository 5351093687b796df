"""How a running service is doing, seen every few seconds beside the requests: freshness, drift, memory, rollout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from features.errors import DataError
from features.instants import SECOND_US, parse_instant
from serving.rollouts.controller import WHO
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import RolloutState
from serving.runtime import Runtime
from serving.store import Store, accepted_events

__all__ = ["report_signs"]


def report_signs(runtime: Runtime) -> None:
    """Set the gauges that `Metrics.signs` has; takes a few milliseconds and reads no customer's data.

    Raises:
        UnavailableError: the store cannot be read now.
    """
    signs, now_us = runtime.metrics.signs, runtime.clock()
    process = psutil.Process()
    signs.workers.set(1)
    signs.resident.set(process.memory_info().rss)
    signs.open_files.set(process.num_fds())
    signs.refused.set(len(runtime.releases.refusals))
    if runtime.books.newest is not None:
        signs.age.labels("scores").set((now_us - runtime.books.newest.name.as_of_us) / SECOND_US)
    if runtime.snapshots.stored is not None:
        signs.age.labels("snapshot").set((now_us - runtime.snapshots.stored.as_of_us) / SECOND_US)
    waiting, oldest_us = _unsealed(runtime.store)
    signs.unsealed.set(waiting)
    signs.unsealed_age.set(0 if oldest_us is None else max(0, now_us - oldest_us) / SECOND_US)
    served = runtime.releases.served
    if served is not None:
        signs.rollout_is(_rollout_state(runtime.store, served.state), served.state.share)
    _report_drift(runtime, runtime.settings.places.monitored, now_us)


def _rollout_state(store: Store, state: RolloutState) -> str:
    """One of `metrics.ROLLOUT_STATES`."""
    if state.challenger is None:
        newest = read_history(store, limit=1)
        return "broken" if newest and (newest[0]["who"], newest[0]["action"]) == (WHO, "rollback") else "none"
    if state.paused:
        return "paused"
    if state.why_held is not None:
        return "held"
    if state.shadow:
        return "shadow"
    return "by_hand" if state.plan is None else "ramping"


def _unsealed(store: Store) -> tuple[int, int | None]:
    """How many accepted events wait to be sealed, and when the oldest of them was recorded; by an index of these."""
    column, waiting = accepted_events.c, accepted_events.c.sealed_version.is_(None)
    oldest = sa.select(column.recorded_at).where(waiting).order_by(column.seq).limit(1)
    with store.read() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(accepted_events).where(waiting))
        return int(count or 0), connection.scalar(oldest)


def _report_drift(runtime: Runtime, path: Path, now_us: int) -> None:
    """What `holdfast monitor` found last; where it was never run, or wrote something else, nothing is told."""
    signs = runtime.metrics.signs
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        age_s = (now_us - parse_instant(found["as_of"])) / SECOND_US
        largest = max((float(one["psi"]) for one in found["inputs"]), default=0.0)
        scores, levels = float(found["scores"]["psi"]), [one["level"] for one in found["inputs"]]
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return
    signs.age.labels("drift").set(age_s)
    signs.psi.labels("largest_input").set(largest)
    signs.psi.labels("scores").set(scores)
    signs.inputs_moved.labels("moved").set(levels.count("moved"))
    signs.inputs_moved.labels("moved_much").set(levels.count("moved much"))
