"""The distribution of a number given features: a location says where it lies, residuals by bins how far around.

The location alone is one number a row. What was left over on rows that its fit never saw, sorted into bins of what it
said there, gives every quantile around it; so an interval is as wide as the errors were for such customers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json
from serving.linear_part import LinearPart
from serving.trees import Trees

__all__ = ["ConditionalQuantity", "Location"]

Array = npt.NDArray[np.float64]
_MAX_BINS = 1_000


@dataclass(frozen=True, eq=False)
class Location:
    """Where a number lies, given features: a linear part and regression trees, times their weight."""

    linear: LinearPart
    trees: Trees
    tree_weight: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.tree_weight) or self.linear.n_features != len(self.trees.feature_names):
            raise ArtefactError("a location needs a linear part and trees over the same features, and a finite weight")

    def of(self, values: Array) -> Array:
        """Float64 (n,), for finite values float64 (n, f), C-ordered; NaN is missing."""
        found = self.linear.margins(values)
        found += self.tree_weight * self.trees.margins(values)
        return found

    def to_manifest(self) -> dict[str, object]:
        """All but the trees as JSON values."""
        return {"linear": self.linear.to_manifest(), "tree_weight": self.tree_weight}

    @classmethod
    def from_manifest(cls, manifest: object, trees: Trees, what: str) -> Location:
        """The location that `to_manifest` wrote; `what` names it in errors.

        Raises:
            ArtefactError: something is missing, of a wrong type or not finite.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{what} needs a location")
        linear = LinearPart.from_manifest(manifest.get("linear"), len(trees.feature_names))
        return cls(linear, trees, strict_json.number(manifest, "tree_weight", what))


@dataclass(frozen=True, eq=False)
class ConditionalQuantity:
    """A number's distribution, given features.

    location: where it lies.
    edges: float64 (b - 1,), ascending; bin k holds the locations in `[edges[k - 1], edges[k])`.
    residuals: float64 (b, l), for each bin the quantiles of number minus location at l evenly spaced levels, 0 to 1.

    Source: Papadopoulos and others 2002, Inductive confidence machines for regression (split conformal residuals), by
    bins of the prediction as Boström and Johansson 2020, Mondrian conformal regressors.
    """

    location: Location
    edges: Array
    residuals: Array
    _levels: Array = field(init=False, repr=False)
    _smear: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        edges, residuals = self.edges, self.residuals
        if residuals.ndim != 2 or residuals.shape[1] < 2 or residuals.shape[0] != edges.size + 1:
            raise ArtefactError("a conditional quantity needs residuals at 2 levels or more for each of its bins")
        if residuals.shape[0] > _MAX_BINS or not np.isfinite(edges).all() or not np.isfinite(residuals).all():
            raise ArtefactError(f"a conditional quantity has at most {_MAX_BINS} bins, and only finite numbers")
        if (np.diff(edges) <= 0).any() or (np.diff(residuals, axis=1) < 0).any():
            raise ArtefactError("the edges and residuals of a conditional quantity must ascend")
        exponentials = np.exp(residuals)
        object.__setattr__(self, "_levels", np.linspace(0.0, 1.0, residuals.shape[1]))
        object.__setattr__(self, "_smear", (0.5 * (exponentials[:, 1:] + exponentials[:, :-1])).mean(axis=1))
        edges.setflags(write=False)
        residuals.setflags(write=False)

    def locations(self, values: Array) -> Array:
        """Where the number lies, float64 (n,), for values float64 (n, f)."""
        return self.location.of(values)

    def quantiles(self, locations: Array, levels: Array) -> Array:
        """The quantiles at levels in [0, 1], float64 (n, k), for locations (n,) and levels (k,) or (n, k)."""
        bins = self.edges.searchsorted(locations, side="right")
        steps = self.residuals.shape[1] - 1
        place = np.asarray(levels, dtype=np.float64) * steps
        low = np.minimum(place.astype(np.int64), steps - 1)
        rest = place - low
        row = bins[:, None]
        below, above = self.residuals[row, low], self.residuals[row, low + 1]
        found: Array = locations[:, None] + below + rest * (above - below)
        return found

    def shares_below(self, locations: Array, limits: Array) -> Array:
        """P(number < limit), float64 (n, k) in [0, 1], for locations (n,) and limits (k,) ascending."""
        bins = self.edges.searchsorted(locations, side="right")
        found = np.empty((locations.size, limits.size))
        for one in np.flatnonzero(np.bincount(bins)):
            there = bins == one
            found[there] = np.interp(limits - locations[there, None], self.residuals[one], self._levels)
        return found

    def mean_exponentials(self, locations: Array) -> Array:
        """The mean of e to the number, float64 (n,), for numbers that are logarithms.

        Source: Duan 1983, Smearing estimate: a nonparametric retransformation method.
        """
        return np.asarray(np.exp(locations) * self._smear[self.edges.searchsorted(locations, side="right")])

    def to_manifest(self) -> dict[str, object]:
        """All but the trees as JSON values."""
        return {
            "location": self.location.to_manifest(),
            "edges": self.edges.tolist(),
            "residuals": self.residuals.tolist(),
        }

    @classmethod
    def from_manifest(cls, manifest: object, trees: Trees, what: str) -> ConditionalQuantity:
        """The quantity that `to_manifest` wrote; `what` names it in errors.

        Raises:
            ArtefactError: a number is missing or not finite, or something does not ascend.
        """
        if not isinstance(manifest, Mapping) or not isinstance(manifest.get("residuals"), list):
            raise ArtefactError(f"{what} needs edges and residuals")
        rows = [strict_json.numbers({"residuals": row}, "residuals", what) for row in manifest["residuals"]]
        if not rows or len({row.size for row in rows}) != 1:
            raise ArtefactError(f"{what} needs as many residuals for each bin")
        location = Location.from_manifest(manifest.get("location"), trees, what)
        return cls(location, strict_json.numbers(manifest, "edges", what), np.stack(rows))
