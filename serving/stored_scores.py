"""Scores of whole snapshots, worked out beside the requests: neither snapshot nor release changes until the next one.

A million customers take 0.2 GB for each release that is served.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import HoldfastError
from serving.pacing import breathe
from serving.release import Release
from serving.scoring import ChurnScores, score_churn
from serving.segments import Segments
from serving.snapshots import StoredFeatures

__all__ = ["Scored", "StoredScores", "scored"]

log = logging.getLogger("holdfast.scores")

_ROWS_A_STEP = 1_024
_ROWS_A_POLL = 8_192  # about a tenth of a second: who follows the rollout must not wait for a million customers


@dataclass(frozen=True, eq=False)
class Scored:
    """What a release says of n customers; `segments` is None in a release without."""

    scores: ChurnScores
    segments: Segments | None

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """Every array, by row."""
        return (*self.scores.columns(), *(() if self.segments is None else self.segments.columns()))

    def select(self, rows: npt.NDArray[np.int64], *, forecast: bool = True, segments: bool = True) -> Scored:
        """Of some of the customers, with forecast and segments or without."""
        return Scored(
            self.scores.select(rows, forecast=forecast),
            self.segments.select(rows) if segments and self.segments is not None else None,
        )


def scored(release: Release, table: FeatureTable, *, forecast: bool = True, segments: bool = True) -> Scored:
    """What a release says of the customers of a table; a customer's part does not depend on the others.

    Raises:
        ArtefactError: the table was computed with another feature set than the release reads.
        DataError: a value is infinite.
    """
    return Scored(
        score_churn(release.churn, release.bands, table, forecast=forecast),
        release.segments.of(table) if segments and release.segments is not None else None,
    )


@dataclass(eq=False)
class _Filling:
    """One snapshot under one release, scored up to `done`; `found` has room for all rows from the first part on."""

    release: Release
    stored: StoredFeatures
    keys: npt.NDArray[np.object_] = field(repr=False)
    found: Scored | None = field(default=None, repr=False)
    done: int = 0
    refused: bool = False

    @classmethod
    def of(cls, release: Release, stored: StoredFeatures) -> _Filling:
        keys = np.empty(len(stored.values), object)
        keys[list(stored.rows.values())] = list(stored.rows)
        return cls(release, stored, keys)

    @property
    def over(self) -> bool:
        return self.refused or self.done == len(self.keys)

    def go_on(self, most: int) -> int:
        """Score the next rows; how many."""
        chunk = slice(self.done, min(self.done + most, len(self.keys)))
        model = self.release.churn
        values = self.stored.values[chunk]
        table = FeatureTable(self.keys[chunk], self.stored.as_of_us, model.feature_names, values, model.fingerprint)
        part = scored(self.release, table)
        if self.found is None:
            self.found = part.select(np.zeros(len(self.keys), np.int64))
        for column, new in zip(self.found.columns(), part.columns(), strict=True):
            column[chunk] = new
        self.done = chunk.stop
        return len(values)


class StoredScores:
    """Keeps the scores of the snapshots that are answered from. `poll` runs beside the requests, a part at a time."""

    def __init__(self, rows_a_poll: int = _ROWS_A_POLL) -> None:
        self._rows_a_poll = rows_a_poll
        self._fillings: tuple[_Filling, ...] = ()

    def of(self, release: Release, stored: StoredFeatures) -> Scored | None:
        """Of every row of the snapshot, in its order; None as long as they are not all there."""
        for one in self._fillings:
            if one.release is release and one.stored is stored and one.done == len(one.keys):
                return one.found
        return None

    def poll(self, wanted: Sequence[tuple[Release, StoredFeatures]]) -> None:
        """Forget what is not wanted, then score some rows of what is; a snapshot that cannot be scored is told once.

        A request about it meets the same fault by itself, if it is about a customer that has it.
        """
        known = {(id(one.release), id(one.stored)): one for one in self._fillings}
        self._fillings = tuple(
            known.get((id(release), id(stored))) or _Filling.of(release, stored) for release, stored in wanted
        )
        left = self._rows_a_poll
        for one in self._fillings:
            try:
                while left > 0 and not one.over:
                    left -= one.go_on(min(left, _ROWS_A_STEP))
                    breathe()
            except HoldfastError as error:
                one.refused, one.found = True, None
                log.warning("the stored features are scored one by one for release %s: %s", one.release.name, error)
