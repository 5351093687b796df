"""Times what a release does for customers of a rollout, and counts it for their arms."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from serving.problems import Problem
from serving.release import Release
from serving.rollouts.arm_totals import ArmTotals
from serving.rollouts.state import NO_EXPERIMENT

__all__ = ["Counting", "Placed", "lacking", "shadowed"]

_MOST_MISSING = 0.5


def lacking(release: Release, quality: Mapping[str, Any]) -> bool:
    """Whether a churn answer of this `data_quality` rests on little: see `ArmFigures.n_missing`."""
    beyond: float = quality["missing_share"] - release.never_known_share
    return beyond > _MOST_MISSING or bool(quality.get("unseen_features"))


class Placed(Protocol):
    """A customer whom a release answers, in an arm of an experiment."""

    @property
    def release(self) -> Release:
        """That answers."""

    @property
    def arm(self) -> str:
        """See `serving.assignment`."""

    @property
    def experiment(self) -> str:
        """`none` for who is in no experiment, and is not counted."""


def shadowed(one: Placed) -> bool:
    """Whether the champion answers, and a shadow is to be asked the same."""
    return one.arm == "champion" and one.experiment != NO_EXPERIMENT


class Counting:
    """Around the work of one release: what it raises is an error of the release, but for a `Problem`, the caller's.

    What is put into the fields meanwhile is counted when the work ends. The latency is counted where one customer was
    asked about: of many at once, a slice of a hundredth and the rest would not compare.

    Attributes:
        probabilities: of churning, one a customer in the order of `placed`; empty where the work is a slate.
        missing: for each customer whether features were missing, see `ArmFigures.n_missing`; empty for none.
        fallback: of a slate.
    """

    def __init__(self, totals: ArmTotals, placed: Sequence[Placed], *, alone: bool = True) -> None:
        self.probabilities: Sequence[float] = ()
        self.missing: Sequence[bool] = ()
        self.fallback = False
        self._totals = totals
        self._placed = placed
        self._alone = alone
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: TracebackType | None) -> None:
        seconds = time.perf_counter() - self._started if self._alone else None
        if isinstance(error, Problem) or (error is not None and not isinstance(error, Exception)):
            return
        arms: dict[tuple[str, str, str], list[int]] = {}
        for place, one in enumerate(self._placed):
            if one.experiment != NO_EXPERIMENT:
                arms.setdefault((one.experiment, one.release.name, one.arm), []).append(place)
        for arm, places in arms.items():
            self._totals.answered(
                *arm,
                n=len(places),
                errors=len(places) if error is not None else 0,
                fallbacks=int(self.fallback),
                missing=sum(self.missing[place] for place in places) if self.missing else 0,
                seconds=seconds,
                probabilities=[self.probabilities[place] for place in places] if self.probabilities else (),
            )
