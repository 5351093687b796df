"""The totals of each arm: counted in memory as answers are given, written to the store beside them once a second.

A row is a stretch of at most a minute of one worker, and never reaches over a change of the rollout: figures since a
step began are the sum of the rows that began since. The worker that began a row writes all of it each time, so that a
write which is tried again counts nothing twice. Rows that are an hour old become one, so that a rollout of weeks is
read as quickly as one of an hour.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from features.errors import UnavailableError
from features.instants import DAY_US, HOUR_US, MINUTE_US
from serving.rollouts.arm_figures import N_PROBABILITY_BINS, ArmFigures, latency_bucket, probability_bin
from serving.store import Store, arm_totals

__all__ = ["ArmFigures", "ArmTotals", "Compared", "read_arm_figures"]

log = logging.getLogger("holdfast.rollouts")

_FLUSH_S = 1.0
_ROWS_KEPT = 1_000
_KEPT_US = 90 * DAY_US
_KEY = ("experiment", "minute_us", "release", "arm", "worker")
_DELETE = sa.delete(arm_totals).where(*(arm_totals.c[name] == sa.bindparam(f"of_{name}") for name in _KEY))
_INSERT = sa.insert(arm_totals)
_NOTHING = ArmFigures()


class _Key(NamedTuple):
    experiment: str
    release: str
    arm: str
    minute_us: int


@dataclass
class _Tally:
    """The figures of a row as they grow; the fields are those of `ArmFigures`."""

    n_requests: int = 0
    n_errors: int = 0
    n_fallbacks: int = 0
    n_missing: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    probabilities: list[int] = field(default_factory=lambda: [0] * N_PROBABILITY_BINS)
    n_dropped: int = 0
    band_moves: dict[str, int] = field(default_factory=dict)
    n_compared: int = 0
    sum_difference: float = 0.0
    sum_abs_difference: float = 0.0
    n_slates: int = 0
    sum_overlap: float = 0.0
    changed: bool = True


class Compared(NamedTuple):
    """What a shadow answered beside the champion, for the same request: probabilities and bands, or slates."""

    champion_probability: float | None = None
    champion_band: str | None = None
    probability: float | None = None
    band: str | None = None
    overlap: float | None = None


class ArmTotals:
    """Counts what arms do, from any thread, and writes it in the background.

    `clock` gives UTC microseconds; `worker` is a name that no other process has, nor this one after a restart.
    """

    def __init__(self, store: Store, clock: Callable[[], int], worker: str, *, flush_s: float = _FLUSH_S) -> None:
        self._store = store
        self._clock = clock
        self._worker = worker
        self._lock = threading.Lock()
        self._tallies: dict[_Key, _Tally] = {}
        self._turned_us = self._began_us = self._condensed_us = clock()
        self._revision = -1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(flush_s,), name="arm-totals", daemon=True)
        self._thread.start()

    def turn(self, revision: int, at_us: int) -> None:
        """Begin new rows where the rollout is of another revision than before: it changed at this instant."""
        with self._lock:
            if revision != self._revision:
                self._revision, self._turned_us, self._began_us = revision, at_us, at_us

    def answered(
        self,
        experiment: str,
        release: str,
        arm: str,
        *,
        n: int = 1,
        errors: int = 0,
        fallbacks: int = 0,
        missing: int = 0,
        seconds: float | None = None,
        probabilities: Sequence[float] = (),
        compared: Compared | None = None,
    ) -> None:
        """Count `n` requests. A probability that is not finite is an error, whether or not it is counted as one."""
        bins = [probability_bin(one) for one in probabilities if math.isfinite(one)]
        bucket = None if seconds is None else latency_bucket(seconds)
        with self._lock:
            tally = self._tally(experiment, release, arm)
            tally.n_requests += n
            tally.n_errors += max(errors, len(probabilities) - len(bins))
            tally.n_fallbacks += fallbacks
            tally.n_missing += missing
            if bucket is not None:
                tally.latency[bucket] = tally.latency.get(bucket, 0) + 1
            for one in bins:
                tally.probabilities[one] += 1
            if compared is not None:
                _compare(tally, compared)

    def dropped(self, experiment: str, release: str, arm: str, n: int) -> None:
        """Count requests that a shadow was not asked."""
        with self._lock:
            self._tally(experiment, release, arm).n_dropped += n

    def close(self) -> None:
        """Write what waits, then stop."""
        self._stopping.set()
        self._thread.join()

    def _tally(self, experiment: str, release: str, arm: str) -> _Tally:
        key = _Key(experiment, release, arm, self._began_us)
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = _Tally()
        found.changed = True
        return found

    def _run(self, flush_s: float) -> None:
        while not self._stopping.wait(flush_s):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        """Write the rows that changed; those that could not be written are tried again, the newest 1,000 of them."""
        rows, told = self._changed()
        if not rows:
            return
        try:
            with self._store.write() as connection:
                _write(connection, rows, rows)
        except Exception as error:  # figures that are late hold a rollout up; they never fail an answer
            log.warning("totals of %d arms were not written: %s; trying again", len(rows), type(error).__name__)
            with self._lock:
                for key in told:
                    if key in self._tallies:
                        self._tallies[key].changed = True
            return
        self._condense()

    def _condense(self) -> None:
        """Once an hour: join the rows since the last change that are an hour old, and drop those of 90 days ago."""
        now_us, turned_us = self._clock(), self._turned_us
        if now_us - self._condensed_us < HOUR_US:
            return
        of_mine = (arm_totals.c.worker == self._worker, arm_totals.c.minute_us >= turned_us)
        query = sa.select(arm_totals).where(*of_mine, arm_totals.c.minute_us < now_us - HOUR_US)
        try:
            with self._store.write() as connection:
                connection.execute(sa.delete(arm_totals).where(arm_totals.c.minute_us < now_us - _KEPT_US))
                rows = connection.execute(query).mappings().all()
                if rows:
                    _write(connection, rows, _joined(rows, self._worker))
        except UnavailableError as error:
            log.warning("totals of arms were not joined: %s; trying again", error)
        else:
            self._condensed_us = now_us

    def _changed(self) -> tuple[list[dict[str, Any]], list[_Key]]:
        now_us = self._clock()
        with self._lock:
            if abs(now_us - self._began_us) >= MINUTE_US:
                self._began_us = now_us
            changed = {key: tally for key, tally in self._tallies.items() if tally.changed}
            rows = [_row(key, self._worker, tally) for key, tally in changed.items()]
            for tally in changed.values():
                tally.changed = False
            open_rows = {key: tally for key, tally in self._tallies.items() if key.minute_us == self._began_us}
            lost = len(changed) - _ROWS_KEPT
            if lost > 0:
                log.error("totals of %d arms are lost: the store takes no writes", lost)
            self._tallies = dict(list(changed.items())[-_ROWS_KEPT:]) | open_rows
        return rows[-_ROWS_KEPT:], list(changed)[-_ROWS_KEPT:]


def _row(key: _Key, worker: str, figures: _Tally | ArmFigures) -> dict[str, Any]:
    """As the store keeps it."""
    values = {each.name: getattr(figures, each.name) for each in fields(ArmFigures)}
    for name in ("latency", "probabilities", "band_moves"):
        values[name] = json.dumps(values[name])
    return key._asdict() | {"worker": worker} | values


def _joined(rows: Sequence[sa.RowMapping], worker: str) -> list[dict[str, Any]]:
    """One row for each arm of each release, which began when the first of its rows did."""
    found: dict[tuple[str, str, str], tuple[int, ArmFigures]] = {}
    for row in rows:
        key = row["experiment"], row["release"], row["arm"]
        began_us, figures = found.get(key, (row["minute_us"], _NOTHING))
        found[key] = min(began_us, row["minute_us"]), figures + _figures(row)
    return [_row(_Key(*key, began_us), worker, figures) for key, (began_us, figures) in found.items()]


def _write(connection: sa.Connection, old: Sequence[Mapping[Any, Any]], new: Sequence[dict[str, Any]]) -> None:
    """Rows in the place of others, or of themselves as they were."""
    connection.execute(_DELETE, [{f"of_{name}": row[name] for name in _KEY} for row in old])
    connection.execute(_INSERT, new)


def read_arm_figures(store: Store, experiment: str, since_us: int) -> dict[str, ArmFigures]:
    """By arm what it did in this experiment, by the rows that began at `since_us` or later; an arm without any is out.

    Raises:
        UnavailableError: the store cannot be read now.
    """
    query = sa.select(arm_totals).where(arm_totals.c.experiment == experiment, arm_totals.c.minute_us >= since_us)
    with store.read() as connection:
        rows = connection.execute(query).mappings().all()
    found: dict[str, ArmFigures] = {}
    for row in rows:
        found[row["arm"]] = found.get(row["arm"], _NOTHING) + _figures(row)
    return found


def _figures(row: sa.RowMapping) -> ArmFigures:
    values = {each.name: row[each.name] for each in fields(ArmFigures)}
    values["latency"] = {int(bucket): n for bucket, n in orjson.loads(values["latency"]).items()}
    values["probabilities"] = tuple(orjson.loads(values["probabilities"]))
    values["band_moves"] = orjson.loads(values["band_moves"])
    return ArmFigures(**values)


def _compare(tally: _Tally, one: Compared) -> None:
    if one.overlap is not None:
        tally.n_slates += 1
        tally.sum_overlap += one.overlap
    if one.probability is None or one.champion_probability is None or not math.isfinite(one.probability):
        return
    difference = one.probability - one.champion_probability
    tally.n_compared += 1
    tally.sum_difference += difference
    tally.sum_abs_difference += abs(difference)
    move = f"{one.champion_band}>{one.band}"
    tally.band_moves[move] = tally.band_moves.get(move, 0) + 1
