"""Bands: low, medium and high risk, cut at probabilities that a release carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = ["Band", "Bands"]

Band = Literal["low", "medium", "high"]
_NAMES = np.array(["low", "medium", "high"], dtype=object)


@dataclass(frozen=True)
class Bands:
    """A probability `>= high` is high, else `>= medium` is medium, else low; 0 <= medium <= high <= 1.

    >>> bands = Bands(medium=0.3, high=0.6)
    >>> [bands.of(p) for p in (0.29, 0.3, 0.6)]
    ['low', 'medium', 'high']
    """

    medium: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.medium <= self.high <= 1:
            raise ArtefactError(
                f"band cut-offs are medium {self.medium} and high {self.high}; they must rise from 0 to 1"
            )

    def of(self, probability: float) -> Band:
        """The band of one probability."""
        return "high" if probability >= self.high else "medium" if probability >= self.medium else "low"

    def of_many(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
        """The bands of many probabilities, object array of str, same shape."""
        names: npt.NDArray[np.object_] = _NAMES[np.searchsorted([self.medium, self.high], probabilities, side="right")]
        return names

    def to_manifest(self) -> dict[str, float]:
        """The cut-offs as JSON values."""
        return {"medium": self.medium, "high": self.high}

    @classmethod
    def from_manifest(cls, manifest: object) -> Bands:
        """The bands that `to_manifest` wrote.

        Raises:
            ArtefactError: a cut-off is missing, not a number, or they do not rise.
        """
        if not isinstance(manifest, Mapping) or set(manifest) != {"medium", "high"}:
            raise ArtefactError("bands need exactly the numbers medium and high")
        for value in manifest.values():
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ArtefactError("a band cut-off is not a number")
        return cls(float(manifest["medium"]), float(manifest["high"]))
