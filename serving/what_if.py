"""What the model would say if a reason were resolved: an association that it learnt, not the effect of an action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.churn_model import ChurnModel
from serving.languages import Language
from serving.reason_catalogue import Limit, catalogue
from serving.reason_plan import ReasonPlan, reason_plan
from serving.reason_texts import percent
from serving.reasons import Reason

__all__ = ["WhatIf", "what_if"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WhatIf:
    """The probability with one reason's features as if it were resolved, all else as it is; `note` says so in words."""

    churn_probability: float
    note: str


def what_if(
    model: ChurnModel,
    values: Array,
    found: Sequence[Sequence[Reason]],
    probabilities: Array,
    as_of_us: int | None = None,
    language: Language = "en",
) -> list[list[WhatIf | None]]:
    """For each reason of each of n customers, in their order; None for a reason that lowers or that nobody controls.

    Args:
        model: the model that scored.
        values: float64 (n, f); NaN is missing.
        found: the reasons of each customer, from `reasons_of_many`.
        probabilities: float64 (n,), what the model says of them as they are.
        as_of_us: when the values were computed; brings the season in.
        language: of the note.

    What each feature of a reason is set to is written in the catalogue. All rows are predicted at once.
    """
    plan = reason_plan(model.feature_names)
    place = {kind.code: index for index, kind in enumerate(plan.kinds)}
    asked = [
        (row, slot, place[reason.code])
        for row, of_one in enumerate(found)
        for slot, reason in enumerate(of_one)
        if reason.controllable and reason.direction == "raises"
    ]
    answers: list[list[WhatIf | None]] = [[None] * len(of_one) for of_one in found]
    if asked:
        rows = np.array([row for row, _, _ in asked], np.int64)
        resolved = _resolved(model, plan, values, rows, np.array([reason for _, _, reason in asked], np.int64))
        said = model.probabilities(resolved, as_of_us).tolist()
        for (row, slot, reason), probability in zip(asked, said, strict=True):
            note = _note(plan, reason, float(probabilities[row]), probability, language)
            answers[row][slot] = WhatIf(probability, note)
    return answers


def _resolved(
    model: ChurnModel, plan: ReasonPlan, values: Array, rows: npt.NDArray[np.int64], reasons: npt.NDArray[np.int64]
) -> Array:
    """A copy of these rows, float64 (m, f), each with the features of its reason resolved."""
    changed = values[rows]
    for column in np.flatnonzero(np.isin(plan.members, reasons)).tolist():
        limit = plan.words[column].resolved
        if limit is not None:
            at = np.flatnonzero(reasons == plan.members[column])
            changed[at, column] = _set(
                limit, changed[at, column], _target(model, plan, values, rows[at], column, limit)
            )
    return changed


def _target(
    model: ChurnModel, plan: ReasonPlan, values: Array, rows: npt.NDArray[np.int64], column: int, limit: Limit
) -> Array:
    if not isinstance(limit.to, str):
        return np.full(rows.size, limit.to)
    rule = plan.usuals[column]
    typical = np.full(rows.size, model.medians[column if limit.to == "typical" else rule.typical])
    if limit.to == "typical":
        return typical
    own = rule.of_rows(values, rows)
    return np.where(np.isnan(own), typical, own)


def _set(limit: Limit, given: Array, target: Array) -> Array:
    """A target that is not known leaves the value; a missing value stays missing unless it is set."""
    if limit.kind == "set":
        return target
    bound = np.where(np.isnan(target), given, target)
    return np.asarray(np.minimum(given, bound) if limit.kind == "at_most" else np.maximum(given, bound))


def _note(plan: ReasonPlan, reason: int, before: float, after: float, language: Language) -> str:
    text: str = catalogue().shared["what_if"][language]["note"]
    return text.format(
        resolved=plan.kinds[reason].resolved[language], percent=percent(before), resolved_percent=percent(after)
    )
