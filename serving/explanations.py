"""What an answer says beside the score: reasons, what-if and recommended actions, as far as they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.languages import LANGUAGES, Language
from serving.reasons import Reason, reasons_of_many
from serving.release import Release
from serving.scoring import ChurnScores
from serving.what_if import WhatIf, what_if

__all__ = ["Wanted", "explanations"]


@dataclass(frozen=True)
class Wanted:
    """What to explain, in which language, and amounts in which currency; at most `reasons_count` reasons."""

    reasons: bool = True
    actions: bool = True
    what_if: bool = False
    language: Language = LANGUAGES[0]
    currency: str | None = None
    reasons_count: int = 3


def explanations(
    release: Release, wanted: Wanted, scores: ChurnScores, values: npt.NDArray[np.float64]
) -> list[dict[str, Any]]:
    """`reasons` and `recommended_actions` of each row, float64 (n, f), of scores made from these values.

    What-if is part of the reasons, so to ask for it is to ask for them.
    """
    told = wanted.reasons or wanted.what_if
    if not (told or wanted.actions):
        return [{}] * len(values)
    model, language = release.churn, wanted.language
    contributions = model.contributions(values)
    found = reasons_of_many(model, values, contributions, wanted.reasons_count, language, wanted.currency)
    supposed: Sequence[Sequence[WhatIf | None]] | None = None
    if wanted.what_if:
        supposed = what_if(model, values, found, scores.churn_probability, scores.as_of_us, language)
    explained = []
    for row, band in enumerate(scores.band):
        fields: dict[str, Any] = {}
        if told:
            fields["reasons"] = _reasons(found[row], None if supposed is None else supposed[row])
        if wanted.actions:
            actions = release.policy.recommended_actions(band, found[row], language)
            fields["recommended_actions"] = [{"action": one.action, "why": one.why} for one in actions]
        explained.append(fields)
    return explained


def _reasons(found: Sequence[Reason], supposed: Sequence[WhatIf | None] | None) -> list[dict[str, Any]]:
    told = [_fields(reason) for reason in found]
    for fields, one in zip(told, supposed or (), strict=supposed is not None):
        fields["if_resolved"] = None if one is None else vars(one)
    return told


def _fields(reason: Reason) -> dict[str, Any]:
    return {
        "code": reason.code,
        "role": reason.role,
        "text": reason.text,
        "direction": reason.direction,
        "value": reason.value,
        "usual": reason.usual,
        "usual_of": reason.usual_of,
        "importance": reason.importance,
        "controllable": reason.controllable,
        "actions": list(reason.actions),
    }
