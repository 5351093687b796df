"""The frozen calibrator: a monotone map from a model's margin to a probability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = ["BetaCalibrator", "sigmoid", "softplus"]

Array = npt.NDArray[np.float64]


def softplus(x: Array) -> Array:
    """`ln(1 + e^x)` without overflow.

    >>> [round(float(v), 6) for v in softplus(np.array([0.0, 800.0]))]
    [0.693147, 800.0]
    """
    return np.logaddexp(0.0, x)


def sigmoid(x: Array) -> Array:
    """`1 / (1 + e^-x)` without overflow.

    >>> [round(float(v), 6) for v in sigmoid(np.array([-800.0, 0.0, math.log(3)]))]
    [0.0, 0.5, 0.75]
    """
    result: Array = np.exp(-softplus(-x))
    return result


@dataclass(frozen=True)
class BetaCalibrator:
    """`p = sigmoid(a ln s - b ln(1 - s) + c)`, where `s = sigmoid(margin)`; a = b = 1, c = 0 changes nothing.

    a and b are positive, so the order of customers never changes. Three numbers cannot overfit a small slice, and the
    map moves the base rate (c), the spread (a and b together) and the two tails apart (a against b).

    Source: Kull, Silva Filho and Flach 2017, Beta calibration, AISTATS, equation 4.
    """

    a: float
    b: float
    c: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.a, self.b, self.c)):
            raise ArtefactError("the calibrator holds a number that is not finite; train the model again")
        if self.a <= 0 or self.b <= 0:
            raise ArtefactError("the calibrator's slopes must be above 0; train the model again")

    def log_odds(self, margins: Array) -> Array:
        """Calibrated log-odds, float64, for margins (log-odds before calibration) of any shape."""
        margins = np.asarray(margins, dtype=np.float64)
        return self.b * softplus(margins) - self.a * softplus(-margins) + self.c

    def probabilities(self, margins: Array) -> Array:
        """Probability of churning, float64 in [0, 1], for margins of any shape.

        >>> same = BetaCalibrator(1.0, 1.0, 0.0)
        >>> round(float(same.probabilities(np.array([math.log(3)]))[0]), 12)
        0.75
        >>> halved = BetaCalibrator(0.5, 0.5, 0.0)
        >>> round(float(halved.probabilities(np.array([math.log(9)]))[0]), 12)
        0.75
        """
        return sigmoid(self.log_odds(margins))

    def to_manifest(self) -> dict[str, object]:
        """The calibrator as JSON values."""
        return {"kind": "beta", "a": self.a, "b": self.b, "c": self.c}

    @classmethod
    def from_manifest(cls, manifest: object) -> BetaCalibrator:
        """The calibrator that `to_manifest` wrote.

        Raises:
            ArtefactError: it is of another kind, or a number is missing or not finite.
        """
        if not isinstance(manifest, Mapping) or manifest.get("kind") != "beta":
            raise ArtefactError("the calibrator is not of kind beta; this version reads no other")
        values = [manifest.get(name) for name in ("a", "b", "c")]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            raise ArtefactError("the calibrator needs the numbers a, b and c")
        return cls(*(float(v) for v in values if v is not None))
