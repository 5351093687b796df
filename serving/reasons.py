"""Why a score is what it is: contributions of features, gathered into few reasons that people can act on."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.churn_features import CHURN_FEATURES
from features.errors import DataError
from features.feature_set import Feature
from serving.churn_model import ChurnModel

__all__ = ["Direction", "Reason", "ReasonKind", "reason_kind", "reason_kinds", "reasons"]

Direction = Literal["raises", "lowers"]


@dataclass(frozen=True)
class ReasonKind:
    """An entry of the catalogue. `features` are shell patterns; `actions` fit it, best first."""

    code: str
    title: str
    controllable: bool
    actions: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True)
class Reason:
    """One reason of one customer's score.

    direction: whether it raises or lowers the risk. value: the customer's own value of the feature that weighs most in
    it, None where missing; usual: its training median. importance: its share of all that moves the score, in [0, 1].
    """

    code: str
    text: str
    direction: Direction
    feature: str
    value: float | None
    usual: float | None
    importance: float
    controllable: bool


_OTHER = ReasonKind("other", "Something else", controllable=False, actions=(), features=("*",))


@cache
def reason_kinds() -> tuple[ReasonKind, ...]:
    """The catalogue, read once from the package; the last kind takes what no other does."""
    text = resources.files("serving").joinpath("reason_catalogue.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)["reason"]
    return (
        *(
            ReasonKind(e["code"], e["title"], e["controllable"], tuple(e["actions"]), tuple(e["features"]))
            for e in entries
        ),
        _OTHER,
    )


@cache
def reason_kind(feature: str) -> ReasonKind:
    """The kind of reason that a feature belongs to; `other` for a feature that the catalogue does not know.

    >>> reason_kind("orders_recency_days").code
    'overdue'
    >>> reason_kind("moon_phase").code
    'other'
    """
    return next(kind for kind in reason_kinds() if any(fnmatchcase(feature, pattern) for pattern in kind.features))


def reasons(
    model: ChurnModel, row: npt.NDArray[np.float64], contributions: npt.NDArray[np.float64], k: int
) -> tuple[Reason, ...]:
    """At most k reasons of one customer's score, the weightiest first.

    Args:
        model: the model that scored.
        row: the customer's feature values, float64 (f,); NaN is missing.
        contributions: one row of `model.contributions`, float64 (f + 1,) or without the last, in margin space.
        k: how many at most; groups that move nothing are left out.

    Contributions are added within a kind of reason, so features that say the same thing do not crowd the list.

    Raises:
        DataError: a row has another length than the model has features.
    """
    n_features = len(model.feature_names)
    if row.shape != (n_features,) or contributions.shape[0] < n_features:
        raise DataError(
            f"reasons need {n_features} values and contributions, not {row.shape} and {contributions.shape}"
        )
    kinds, members = _members(model.feature_names)
    sums = np.bincount(members, weights=contributions[:n_features], minlength=len(kinds))
    whole = float(np.abs(sums).sum())
    found = []
    for place in np.argsort(-np.abs(sums), kind="stable")[: max(k, 0)]:
        if sums[place] != 0.0:
            sign = math.copysign(1.0, sums[place])
            pull = np.where(members == place, contributions[:n_features] * sign, -math.inf)
            found.append(_reason(model, row, kinds[place], int(np.argmax(pull)), float(sums[place]), whole))
    return tuple(found)


@cache
def _members(feature_names: tuple[str, ...]) -> tuple[tuple[ReasonKind, ...], npt.NDArray[np.int64]]:
    kinds = reason_kinds()
    place = {kind.code: index for index, kind in enumerate(kinds)}
    members = np.array([place[reason_kind(name).code] for name in feature_names], dtype=np.int64)
    members.setflags(write=False)
    return kinds, members


def _reason(
    model: ChurnModel, row: npt.NDArray[np.float64], kind: ReasonKind, column: int, moved: float, whole: float
) -> Reason:
    name = model.feature_names[column]
    value, usual = (None if math.isnan(x) else float(x) for x in (row[column], model.medians[column]))
    return Reason(
        code=kind.code,
        text=_text(kind, name, value, usual),
        direction="raises" if moved > 0 else "lowers",
        feature=name,
        value=value,
        usual=usual,
        importance=abs(moved) / whole,
        controllable=kind.controllable,
    )


@cache
def _features() -> dict[str, Feature]:
    return {feature.name: feature for feature in CHURN_FEATURES}


def _text(kind: ReasonKind, name: str, value: float | None, usual: float | None) -> str:
    feature = _features().get(name)
    meaning, unit = (feature.meaning, feature.unit) if feature else (name, "")
    missing = feature.missing if feature else "unknown"
    said = missing if value is None else _shown(value, unit)
    compared = "" if usual is None else f" (usual: {_shown(usual, unit)})"
    return f"{kind.title}: {meaning}: {said}{compared}"


def _shown(value: float, unit: str) -> str:
    return f"{value:,.0f} minor units" if unit == "minor" else f"{value:,.2f}".rstrip("0").rstrip(".")
