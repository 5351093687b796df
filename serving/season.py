"""How the base rate of churn moves with the year: a frozen shift of the log-odds, relative to the calibration slice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from features.instants import DAY_US
from serving import strict_json

__all__ = ["N_HARMONICS", "SeasonShift", "harmonics"]

N_HARMONICS = 2
_YEAR_US = 365.25 * DAY_US
_WHAT = "the season"


def harmonics(instants_us: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Cosine and sine of one and of two turns a year, float64 (n, 4), for instants int64 (n,).

    >>> harmonics(np.array([0]))
    array([[1., 0., 1., 0.]])
    """
    turn = 2.0 * math.pi * np.asarray(instants_us, dtype=np.float64) / _YEAR_US
    return np.column_stack([wave(turn * k) for k in range(1, N_HARMONICS + 1) for wave in (np.cos, np.sin)])


@dataclass(frozen=True)
class SeasonShift:
    """`at(as_of)` is what to add to the log-odds of a score at `as_of`; 0 at `anchor_us`, the calibration slice."""

    coefficients: tuple[float, ...]
    anchor_us: int

    def __post_init__(self) -> None:
        if len(self.coefficients) != 2 * N_HARMONICS or not all(math.isfinite(c) for c in self.coefficients):
            raise ArtefactError(f"{_WHAT} needs {2 * N_HARMONICS} finite coefficients; train the model again")

    def at(self, as_of_us: int) -> float:
        """Log-odds to add at an instant.

        >>> SeasonShift((0.5, 0.0, 0.0, 0.0), anchor_us=0).at(0)
        0.0
        """
        return self._level(as_of_us) - self._level(self.anchor_us)

    def _level(self, instant_us: int) -> float:
        """The harmonics of one instant, weighed; in plain floats, since every fresh score asks for another instant."""
        turn = 2.0 * math.pi * instant_us / _YEAR_US
        waves = (wave(turn * k) for k in range(1, N_HARMONICS + 1) for wave in (math.cos, math.sin))
        return sum(weight * wave for weight, wave in zip(self.coefficients, waves, strict=True))

    def to_manifest(self) -> dict[str, object]:
        """The shift as JSON values."""
        return {"coefficients": list(self.coefficients), "anchor_us": self.anchor_us}

    @classmethod
    def from_manifest(cls, manifest: object) -> SeasonShift | None:
        """The shift that `to_manifest` wrote; None for none.

        Raises:
            ArtefactError: a number is missing or not finite.
        """
        if manifest is None:
            return None
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} is not a JSON object")
        return cls(
            coefficients=tuple(strict_json.numbers(manifest, "coefficients", _WHAT).tolist()),
            anchor_us=strict_json.whole(manifest, "anchor_us", _WHAT, -(1 << 62), 1 << 62),
        )
