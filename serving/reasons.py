"""Why a score is what it is: contributions of features, gathered into few reasons that people can act on.

A cause (a late delivery, an item out of stock) comes before its symptoms (no order for a long time) where it was
there at all and raises the risk materially; the rest follows by weight. Each reason is told by one of its features,
with the customer's value and what is usual for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.errors import DataError
from serving.churn_model import ChurnModel
from serving.languages import Language
from serving.reason_catalogue import ReasonKind, Role
from serving.reason_plan import ReasonPlan, reason_kind, reason_kinds, reason_plan
from serving.reason_texts import tell

__all__ = [
    "MATERIAL",
    "Direction",
    "Reason",
    "ReasonKind",
    "reason_kind",
    "reason_kinds",
    "reasons",
    "reasons_of_many",
]

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Direction = Literal["raises", "lowers"]
UsualOf = Literal["own", "others"]
_Said = tuple[str, float | str | None, float | str | None, UsualOf | None]

MATERIAL = math.log(1.1)
"""A cause is material where it raises the odds of churning by at least a tenth."""


@dataclass(frozen=True)
class Reason:
    """One reason of one customer's score.

    direction: whether it raises or lowers the risk. feature: the one that the text tells; value: the customer's own of
    it, in the feature's unit (a category as text), None where missing. usual: their own usual value (`usual_of` own)
    or the training median (others), None where unknown. importance: share of all that moves the score, in [0, 1].
    actions: that fit it, best first.
    """

    code: str
    text: str
    direction: Direction
    feature: str
    value: float | str | None
    usual: float | str | None
    importance: float
    controllable: bool
    role: Role = "context"
    usual_of: UsualOf | None = None
    actions: tuple[str, ...] = ()


def reasons(
    model: ChurnModel,
    row: Array,
    contributions: Array,
    k: int,
    language: Language = "en",
    currency: str | None = None,
) -> tuple[Reason, ...]:
    """`reasons_of_many` for one customer: values float64 (f,), contributions float64 (f + 1,) or (f,)."""
    return reasons_of_many(model, row[np.newaxis], contributions[np.newaxis], k, language, currency)[0]


def reasons_of_many(
    model: ChurnModel,
    values: Array,
    contributions: Array,
    k: int,
    language: Language = "en",
    currency: str | None = None,
) -> list[tuple[Reason, ...]]:
    """At most k reasons of each customer's score, in the order in which to read them.

    Args:
        model: the model that scored.
        values: float64 (n, f); NaN is missing.
        contributions: `model.contributions(values)`, float64 (n, f + 1), or without the last column, in margin space.
        k: how many at most; what moves nothing is left out.
        language: of the texts.
        currency: of amounts in the texts, an ISO-4217 code.

    Contributions are added within a kind of reason, so features that say the same thing do not crowd the list. Causes
    that were there and raise the risk materially come first, by weight; then all others, by weight; last what would be
    a cause but never was there. Where anything raises the risk, at least one of the k does.

    Raises:
        DataError: the arrays have other shapes than the model's features ask for.
    """
    n, f = values.shape[0], len(model.feature_names)
    if values.shape != (n, f) or contributions.shape not in ((n, f), (n, f + 1)):
        raise DataError(f"reasons need {f} values and contributions a row, not {values.shape}, {contributions.shape}")
    plan = reason_plan(model.feature_names)
    sums = plan.sums(contributions[:, :f])
    evident = plan.shows_trouble(values, model.medians)
    there = _present(plan, evident)
    chosen = _chosen(plan, sums, there, k)
    leading = _leading(plan, contributions[:, :f], sums, chosen, evident)
    found: list[list[Reason]] = [[] for _ in range(n)]
    for row, reason in _Teller(model, plan, values, language, currency).told(chosen, leading, sums):
        found[row].append(reason)
    return [tuple(one) for one in found]


def _present(plan: ReasonPlan, evident: Flags) -> Flags:
    """Whether the cause was there at all, bool (n, g)."""
    return np.asarray(np.logical_or.reduceat(evident[:, plan.order], plan.starts, axis=1))


def _chosen(plan: ReasonPlan, sums: Array, there: Flags, k: int) -> Ints:
    """The places of at most k reasons, int64 (n, k), in order; -1 for none."""
    weights = np.abs(sums)
    above_all = weights.max(axis=1, keepdims=True) + 1.0
    raising = plan.causes & (sums > 0)
    ranked = weights + np.where(raising & there & (sums >= MATERIAL), above_all, 0.0)
    ranked -= np.where(raising & ~there, above_all, 0.0)
    ranked[weights == 0] = -np.inf
    places = np.argsort(-ranked, axis=1, kind="stable")[:, : max(k, 0)]
    every = np.arange(sums.shape[0])[:, np.newaxis]
    if places.shape[1]:
        raises = sums > 0
        lacking = raises.any(axis=1) & ~raises[every, places].any(axis=1)
        places[lacking, -1] = np.where(raises, ranked, -np.inf).argmax(axis=1)[lacking]
    return np.where(weights[every, places] > 0, places, -1)


def _leading(plan: ReasonPlan, contributions: Array, sums: Array, chosen: Ints, evident: Flags) -> Ints:
    """For each chosen reason the column that tells it, int64 (n, k): of those that pull its way, the strongest.

    A cause that raises the risk is told by a feature that shows it, where one does.
    """
    leading = np.zeros_like(chosen)
    every = np.arange(chosen.shape[0])
    for slot in range(chosen.shape[1]):
        place = chosen[:, slot]
        sign = np.where(sums[every, place] > 0, 1.0, -1.0)[:, np.newaxis]
        inside = plan.members == place[:, np.newaxis]
        showing = inside & evident & (sign > 0)
        told_by = np.where(showing.any(axis=1)[:, np.newaxis], showing, inside)
        leading[:, slot] = np.where(told_by, contributions * sign, -np.inf).argmax(axis=1)
    return leading


@dataclass(frozen=True, eq=False)
class _Teller:
    """Makes the reasons of the rows of one call."""

    model: ChurnModel
    plan: ReasonPlan
    values: Array
    language: Language
    currency: str | None

    def told(self, chosen: Ints, leading: Ints, sums: Array) -> Iterator[tuple[int, Reason]]:
        """(row, reason), row by row and in order, of places and leading columns int64 (n, k)."""
        rows, slots = np.nonzero(chosen >= 0)
        places, columns = chosen[rows, slots], self.plan.told[leading[rows, slots]]
        moved = sums[rows, places]
        shares = np.abs(moved) / np.abs(sums).sum(axis=1)[rows]
        said = self._said(rows, columns)
        parts = zip(
            rows.tolist(), places.tolist(), columns.tolist(), moved.tolist(), shares.tolist(), said, strict=True
        )
        for row, place, column, moves, share, (text, value, usual, usual_of) in parts:
            kind = self.plan.kinds[place]
            reason = Reason(
                kind.code,
                text,
                "raises" if moves > 0 else "lowers",
                self.model.feature_names[column],
                value,
                usual,
                share,
                kind.controllable,
                kind.role,
                usual_of,
                kind.actions,
            )
            yield row, reason

    def _said(self, rows: Ints, columns: Ints) -> list[_Said]:
        """Text, value, usual and whose usual of each cell, worked out column by column."""
        said: list[_Said] = [("", None, None, None)] * rows.size
        by_column = np.argsort(columns, kind="stable")
        for cells in np.split(by_column, np.flatnonzero(np.diff(columns[by_column])) + 1):
            if cells.size:
                found = self._of_column(int(columns[cells[0]]), rows[cells])
                for cell, one in zip(cells.tolist(), found, strict=True):
                    said[cell] = one
        return said

    def _of_column(self, column: int, rows: Ints) -> Iterator[_Said]:
        model, words, rule = self.model, self.plan.words[column], self.plan.usuals[column]
        values, own = self.values[rows, column], rule.of_rows(self.values, rows)
        is_own = ~np.isnan(own)
        is_told = words.phrases[self.language].get("others") != ""
        usuals = np.where(is_own, own, model.medians[rule.typical] if is_told else np.nan)
        categories = model.categories.get(words.name)
        texts = tell(
            words, self.language, values, usuals, is_own, currency=self.currency, categories=categories
        )  # fmt: skip
        whose: list[UsualOf] = ["own" if one else "others" for one in is_own.tolist()]
        outside = zip(texts, _outside(values, categories), _outside(usuals, categories), whose, strict=True)
        for text, value, usual, usual_of in outside:
            yield text, value, usual, None if usual is None else usual_of


def _outside(values: Array, categories: tuple[str, ...] | None) -> list[float | str | None]:
    """Values as they are answered: a category as its text, None for missing."""
    if categories is None:
        return [None if math.isnan(value) else value for value in values.tolist()]
    known = dict(enumerate(categories))
    return [known.get(value) for value in values.tolist()]
