"""How the base rate of churn moves with the year: a frozen shift of the log-odds, relative to the calibration slice.

Where a year of cut-offs was seen the shift is a curve of the year, `SeasonShift`. Where less was seen the curve is
unknown, and the level of the latest slice is one season's: `LevelReversion` lets it fade into the mean of all slices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from features.instants import DAY_US
from serving import strict_json

__all__ = ["N_HARMONICS", "LevelReversion", "Season", "SeasonShift", "harmonics", "season_from_manifest"]

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
        return {"kind": "harmonics", "coefficients": list(self.coefficients), "anchor_us": self.anchor_us}


@dataclass(frozen=True)
class LevelReversion:
    """From the level of the calibration slice back to the mean of all slices, as time leads away from that slice.

    mean_shift: the mean level of the slices seen minus that of the calibration slice at `anchor_us`, in log-odds.

    With a yearly wave of unknown phase and size, the best linear forecast of the level at a distance d from the latest
    one is `mean + cos(2 pi d / year) (latest - mean)`: a month on, nearly the latest; a quarter on, the mean. Beyond a
    quarter it stays at the mean, since a wave that was never seen is not to be mirrored.

    Source: Brockwell and Davis 1991, Time Series: Theory and Methods, section 5.1 (best linear predictor), for the
    autocovariance cos of a harmonic process, section 4.2.
    """

    mean_shift: float
    anchor_us: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean_shift):
            raise ArtefactError(f"{_WHAT} holds a number that is not finite; train the model again")

    def at(self, as_of_us: int) -> float:
        """Log-odds to add at an instant: 0 at the calibration slice, `mean_shift` a quarter of a year from it and on.

        >>> reversion = LevelReversion(-0.4, anchor_us=0)
        >>> [round(reversion.at(int(turn * _YEAR_US)), 6) for turn in (1 / 6, 1 / 4, 1 / 2)]
        [-0.2, -0.4, -0.4]
        """
        turn = abs(as_of_us - self.anchor_us) / _YEAR_US
        kept = math.cos(2.0 * math.pi * turn) if turn < 0.25 else 0.0
        return self.mean_shift * (1.0 - kept)

    def to_manifest(self) -> dict[str, object]:
        """The reversion as JSON values."""
        return {"kind": "reversion", "mean_shift": self.mean_shift, "anchor_us": self.anchor_us}


Season = SeasonShift | LevelReversion


def season_from_manifest(manifest: object) -> Season | None:
    """What `to_manifest` wrote; None for none.

    Raises:
        ArtefactError: the kind is unknown, or a number is missing or not finite.
    """
    if manifest is None:
        return None
    if not isinstance(manifest, Mapping):
        raise ArtefactError(f"{_WHAT} is not a JSON object")
    anchor_us = strict_json.whole(manifest, "anchor_us", _WHAT, -(1 << 62), 1 << 62)
    if manifest.get("kind") == "harmonics":
        return SeasonShift(tuple(strict_json.numbers(manifest, "coefficients", _WHAT).tolist()), anchor_us)
    if manifest.get("kind") == "reversion":
        return LevelReversion(strict_json.number(manifest, "mean_shift", _WHAT, -100.0, 100.0), anchor_us)
    raise ArtefactError(f"{_WHAT} is of a kind that this version does not know; install a newer one")
