"""How the features of a model fall into reasons, and where a cause shows in a customer's values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from serving.reason_catalogue import FeatureWords, ReasonKind, catalogue
from serving.usual import OwnUsual, own_usual

__all__ = ["ReasonPlan", "reason_kind", "reason_kinds", "reason_plan"]

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ReasonPlan:
    """How the features of a model fall into reasons.

    kinds: the reasons that occur, g. members: int64 (f,), the place in kinds of each feature.
    words, usuals, told: of each feature, what it says, how the customer's own usual follows, and the column it is told
    as. order, starts: the columns sorted by reason, and where each reason starts in them.
    causes: bool (g,). troubles: int64 (t,), the columns in which a cause can show; limits, above: float64 and bool
    (t,), where it does: above the limit, or else at most at it; NaN is the training median.
    """

    kinds: tuple[ReasonKind, ...]
    members: Ints
    words: tuple[FeatureWords, ...]
    usuals: tuple[OwnUsual, ...]
    told: Ints
    order: Ints
    starts: Ints
    causes: Flags
    troubles: Ints
    limits: Array
    above: Flags

    def sums(self, contributions: Array) -> Array:
        """Contributions added within each reason, float64 (n, g), of float64 (n, f + 1) or (n, f)."""
        return np.asarray(np.add.reduceat(contributions[:, self.order], self.starts, axis=1), dtype=np.float64)

    def shows_trouble(self, values: Array, medians: Array) -> Flags:
        """Where a customer's value shows that a cause was there, bool (n, f), for values float64 (n, f)."""
        found = np.zeros(values.shape, np.bool_)
        given = values[:, self.troubles]
        limits = np.where(np.isnan(self.limits), medians[self.troubles], self.limits)
        found[:, self.troubles] = np.where(self.above, given > limits, given <= limits)
        return found


def reason_kinds() -> tuple[ReasonKind, ...]:
    """The reasons of the catalogue, in its order."""
    return catalogue().kinds


def reason_kind(feature: str) -> ReasonKind:
    """The kind of reason that a feature belongs to; one of its own for a feature that the catalogue does not know.

    >>> reason_kind("orders_recency_days").code
    'overdue'
    >>> reason_kind("moon phase").code
    'moon_phase'
    """
    return catalogue().words(feature).kind


@cache
def reason_plan(feature_names: tuple[str, ...]) -> ReasonPlan:
    """The plan of a model's features, made once."""
    column_of = {name: column for column, name in enumerate(feature_names)}
    words = tuple(catalogue().words(name) for name in feature_names)
    known = {kind.code: place for place, kind in enumerate(reason_kinds())}
    codes = [one.kind.code for one in words]
    kinds = {one.kind.code: one.kind for one in words}
    ordered = sorted(kinds, key=lambda code: (known.get(code, len(known)), codes.index(code)))
    place = {code: index for index, code in enumerate(ordered)}
    members = np.array([place[code] for code in codes], np.int64)
    order = np.argsort(members, kind="stable")
    troubles = [(column, one.trouble) for column, one in enumerate(words) if one.trouble is not None]
    for shared in (members, order):
        shared.setflags(write=False)
    return ReasonPlan(
        kinds=tuple(kinds[code] for code in ordered),
        members=members,
        words=words,
        usuals=tuple(own_usual(one, column_of) for one in words),
        told=np.array([column_of.get(one.told_as, column) for column, one in enumerate(words)], np.int64),
        order=order,
        starts=np.searchsorted(members[order], np.arange(len(ordered))),
        causes=np.array([kinds[code].role == "cause" for code in ordered], np.bool_),
        troubles=np.array([column for column, _ in troubles], np.int64),
        limits=np.array([math.nan if isinstance(limit.to, str) else limit.to for _, limit in troubles]),
        above=np.array([limit.kind == "above" for _, limit in troubles], np.bool_),
    )
