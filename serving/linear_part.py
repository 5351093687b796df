"""The linear part of a churn model: a logistic curve on transformed features, frozen, its terms exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json

__all__ = ["Basis", "LinearPart", "signed_log1p"]

Array = npt.NDArray[np.float64]
Kind = Literal["log", "missing", "category"]
_WHAT = "the linear part"
_BLOCK_ROWS = 2_048
_MAX_CATEGORIES = 10_000


def signed_log1p(values: Array) -> Array:
    """`sign(x) ln(1 + |x|)`, of any shape; NaN stays NaN.

    >>> [round(float(v), 6) for v in signed_log1p(np.array([-1.0, 0.0, math.e - 1]))]
    [-0.693147, 0.0, 1.0]
    """
    found: Array = np.abs(values)
    np.log1p(found, out=found)
    return np.copysign(found, values, out=found)


@dataclass(frozen=True)
class Basis:
    """One column of the design and its coefficient.

    kind "log": `coefficient * clip((signed_log1p(x) - centre) / scale, -clip, clip)`, 0 where x is missing;
    "missing": `coefficient` where x is missing, else 0; "category": `coefficient` where x equals `code`, else 0.
    feature: the place of x among the features.
    """

    feature: int
    kind: Kind
    coefficient: float
    centre: float = 0.0
    scale: float = 1.0
    clip: float = 5.0
    code: int = 0

    def to_manifest(self) -> dict[str, object]:
        """The basis as JSON values."""
        found: dict[str, object] = {"feature": self.feature, "kind": self.kind, "coefficient": self.coefficient}
        if self.kind == "log":
            found |= {"centre": self.centre, "scale": self.scale, "clip": self.clip}
        elif self.kind == "category":
            found["code"] = self.code
        return found

    @classmethod
    def from_manifest(cls, manifest: object, n_features: int) -> Basis:
        """The basis that `to_manifest` wrote, for a model over so many features.

        Raises:
            ArtefactError: a number is missing, not finite or out of range, or the kind is unknown.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} holds a basis that is not a JSON object")
        kind = strict_json.text(manifest, "kind", _WHAT)
        if kind not in get_args(Kind):
            raise ArtefactError(
                f"{_WHAT} holds a basis of unknown kind; this version reads {', '.join(get_args(Kind))}"
            )
        feature = strict_json.whole(manifest, "feature", _WHAT, 0, n_features - 1)
        coefficient = strict_json.number(manifest, "coefficient", _WHAT)
        if kind == "log":
            return cls(
                feature,
                "log",
                coefficient,
                centre=strict_json.number(manifest, "centre", _WHAT),
                scale=strict_json.number(manifest, "scale", _WHAT, 1e-12),
                clip=strict_json.number(manifest, "clip", _WHAT, 1e-12),
            )
        if kind == "missing":
            return cls(feature, "missing", coefficient)
        code = strict_json.whole(manifest, "code", _WHAT, 0, _MAX_CATEGORIES - 1)
        return cls(feature, cast("Kind", kind), coefficient, code=code)


@dataclass(frozen=True, eq=False)
class LinearPart:
    """`intercept + the sum of the bases`; each feature's terms are exactly what it adds.

    A feature is either numeric (at most one "log" basis) or categorical ("category" bases, values are codes 0, 1, ...);
    either may have a "missing" basis. A category without a basis of its own adds nothing.
    """

    n_features: int
    intercept: float
    bases: tuple[Basis, ...]
    _folded: tuple[Array, Array, Array, Array, Array] = field(init=False, repr=False)
    _categories: tuple[tuple[int, Array], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "_folded", _fold(self))
        object.__setattr__(self, "_categories", _tables(self))

    def margins(self, values: Array) -> Array:
        """Log-odds, float64 (n,), for finite values float64 (n, f), C-ordered; NaN is missing.

        A row's margin is the same bits whatever rows stand beside it.
        """
        if not self.bases:
            return np.full(values.shape[0], self.intercept)
        if values.shape[0] <= _BLOCK_ROWS:
            alone: Array = np.add.reduce(self._terms(values), axis=1)
            return np.add(alone, self.intercept, out=alone)
        found = np.empty(values.shape[0])
        for start in range(0, values.shape[0], _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            np.add.reduce(self._terms(values[block]), axis=1, out=found[block])
        found += self.intercept
        return found

    def contributions(self, values: Array) -> Array:
        """What each feature adds to the margin, float64 (n, f + 1); the last column is the intercept.

        A row's sum is its margin, to rounding.
        """
        found = np.empty((values.shape[0], self.n_features + 1))
        found[:, :-1] = self._terms(values)
        found[:, -1] = self.intercept
        return found

    def scaled(self, weight: float, shift: float = 0.0) -> LinearPart:
        """The part whose margin is `weight * margin + shift`."""
        kept = self.bases if weight else ()
        bases = tuple(replace(basis, coefficient=weight * basis.coefficient) for basis in kept)
        return LinearPart(self.n_features, weight * self.intercept + shift, bases)

    def _terms(self, values: Array) -> Array:
        slope, offset, limit, negative, missing = self._folded
        terms = signed_log1p(values)
        terms *= slope
        terms += offset
        np.minimum(terms, limit, out=terms)
        np.maximum(terms, negative, out=terms)
        np.copyto(terms, missing, where=np.isnan(terms))
        for feature, table in self._categories:
            codes = values[:, feature]
            known = (codes >= 0) & (codes < table.size)
            # a value that is no code of this model is none of its categories
            found = table[np.where(known, codes, 0).astype(np.int64)]
            terms[:, feature] = np.where(np.isnan(codes), missing[feature], np.where(known, found, 0.0))
        return terms

    def to_manifest(self) -> dict[str, object]:
        """The part as JSON values."""
        return {"intercept": self.intercept, "bases": [basis.to_manifest() for basis in self.bases]}

    @classmethod
    def from_manifest(cls, manifest: object, n_features: int) -> LinearPart:
        """The part that `to_manifest` wrote, for a model over so many features.

        Raises:
            ArtefactError: something is missing, of a wrong type, not finite or out of range.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} is not a JSON object")
        bases: Any = manifest.get("bases")
        if not isinstance(bases, list):
            raise ArtefactError(f"{_WHAT} needs a list of bases")
        return cls(
            n_features,
            strict_json.number(manifest, "intercept", _WHAT),
            tuple(Basis.from_manifest(basis, n_features) for basis in bases),
        )


def _check(part: LinearPart) -> None:
    seen = set()
    kinds: dict[int, Kind] = {}
    for basis in part.bases:
        key = (basis.feature, basis.kind, basis.code)
        if not 0 <= basis.feature < part.n_features or key in seen:
            raise ArtefactError(f"{_WHAT} names feature {basis.feature} twice, or one that does not exist")
        seen.add(key)
        if basis.kind != "missing" and kinds.setdefault(basis.feature, basis.kind) != basis.kind:
            raise ArtefactError(f"{_WHAT} takes feature {basis.feature} for a number and for a category")
        numbers = (basis.coefficient, basis.centre, basis.scale, basis.clip)
        if not all(math.isfinite(number) for number in numbers) or basis.scale <= 0 or basis.clip <= 0:
            raise ArtefactError(f"{_WHAT} holds a number that is not finite, or a scale that is not above 0")
        if not 0 <= basis.code < _MAX_CATEGORIES:
            raise ArtefactError(
                f"{_WHAT} holds the category code {basis.code}; from 0 to {_MAX_CATEGORIES - 1} are read"
            )
    if not math.isfinite(part.intercept):
        raise ArtefactError(f"{_WHAT} has an intercept that is not finite")


def _fold(part: LinearPart) -> tuple[Array, Array, Array, Array, Array]:
    """Slope, offset, limit, -limit of `clip(slope * log + offset, -limit, limit)`; what a missing value adds; (f,)."""
    slope, offset, limit, missing = np.zeros((4, part.n_features))
    for basis in part.bases:
        if basis.kind == "log":
            slope[basis.feature] = basis.coefficient / basis.scale
            offset[basis.feature] = -basis.coefficient * basis.centre / basis.scale
            limit[basis.feature] = abs(basis.coefficient) * basis.clip
        elif basis.kind == "missing":
            missing[basis.feature] = basis.coefficient
    return slope, offset, limit, -limit, missing


def _tables(part: LinearPart) -> tuple[tuple[int, Array], ...]:
    """For each categorical feature, what each code adds."""
    coefficients: dict[int, dict[int, float]] = {}
    for basis in part.bases:
        if basis.kind == "category":
            coefficients.setdefault(basis.feature, {})[basis.code] = basis.coefficient
    return tuple(
        (feature, np.array([found.get(code, 0.0) for code in range(max(found) + 1)], dtype=np.float64))
        for feature, found in sorted(coefficients.items())
    )
