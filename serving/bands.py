"""Bands: low, medium and high risk, cut at probabilities that a release carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json

__all__ = ["Band", "BandChoice", "Bands"]

Band = Literal["low", "medium", "high"]
_WHAT = "bands"
_NAMES = np.array(["low", "medium", "high"], dtype=object)


@dataclass(frozen=True)
class BandChoice:
    """How cut-offs were chosen.

    by: from what an offer costs and what a kept customer is worth, or by shares of the customers.
    sentence: the choice in words. figures: what it rests on and what is expected of it, by name; amounts in minor
    units.
    """

    by: Literal["costs", "shares"]
    sentence: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_manifest(self) -> dict[str, object]:
        """The choice as JSON values."""
        return {"by": self.by, "sentence": self.sentence, "figures": dict(self.figures)}

    @classmethod
    def from_manifest(cls, manifest: object) -> BandChoice:
        """The choice that `to_manifest` wrote.

        Raises:
            ArtefactError: a part is missing or of a wrong type.
        """
        if not isinstance(manifest, Mapping) or manifest.get("by") not in ("costs", "shares"):
            raise ArtefactError("the choice of bands is by costs or by shares")
        content: dict[str, Any] = dict(manifest)
        figures = strict_json.section(content, "figures", _WHAT)
        return cls(
            by=cast("Literal['costs', 'shares']", content["by"]),
            sentence=strict_json.text(content, "sentence", _WHAT),
            figures={name: strict_json.number(figures, name, _WHAT) for name in figures},
        )


@dataclass(frozen=True)
class Bands:
    """A probability `>= high` is high, else `>= medium` is medium, else low; 0 <= medium <= high <= 1.

    `choice` says how the cut-offs came about, None where nobody wrote it down.

    >>> bands = Bands(medium=0.3, high=0.6)
    >>> [bands.of(p) for p in (0.29, 0.3, 0.6)]
    ['low', 'medium', 'high']
    """

    medium: float
    high: float
    choice: BandChoice | None = field(default=None, repr=False)

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

    def cutoffs(self) -> dict[str, float]:
        """The cut-offs by band."""
        return {"medium": self.medium, "high": self.high}

    def to_manifest(self) -> dict[str, object]:
        """The cut-offs, and how they were chosen, as JSON values."""
        return {**self.cutoffs(), **({} if self.choice is None else {"choice": self.choice.to_manifest()})}

    @classmethod
    def from_manifest(cls, manifest: object) -> Bands:
        """The bands that `to_manifest` wrote.

        Raises:
            ArtefactError: a cut-off is missing, not a number, or they do not rise; the choice is not understood.
        """
        if not isinstance(manifest, Mapping) or set(manifest) - {"choice"} != {"medium", "high"}:
            raise ArtefactError("bands need exactly the numbers medium and high")
        cutoffs = [manifest["medium"], manifest["high"]]
        for value in cutoffs:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ArtefactError("a band cut-off is not a number")
        choice = BandChoice.from_manifest(manifest["choice"]) if "choice" in manifest else None
        return cls(float(cutoffs[0]), float(cutoffs[1]), choice)
