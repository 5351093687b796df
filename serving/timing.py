"""When the event that a churn question waits for happens, given that it happens within the longest horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json
from serving.calibration import sigmoid
from serving.conditional_quantity import ConditionalQuantity
from serving.season import Season, season_from_manifest
from serving.trees import Trees

__all__ = ["Link", "Timing", "log_odds_of_share"]

Array = npt.NDArray[np.float64]
_WHAT = "the timing"
_HOUR_DAYS = 1.0 / 24.0
_SMALLEST_SHARE = 1e-6


def log_odds_of_share(days: Array, longest_days: float) -> Array:
    """`ln(T / (H - T))` for T in [0, H], taken no nearer to either end than an hour.

    >>> log_odds_of_share(np.array([45.0]), 90.0).tolist()
    [0.0]
    """
    kept = np.clip(days, _HOUR_DAYS, longest_days - _HOUR_DAYS)
    return np.asarray(np.log(kept) - np.log(longest_days - kept), dtype=np.float64)


@dataclass(frozen=True)
class Link:
    """Calibrates the log-odds of P(T < h | T < the next longer horizon): `slope * log_odds + intercept + season`."""

    slope: float
    intercept: float
    season: Season | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite([self.slope, self.intercept]).all() and self.slope > 0):
            raise ArtefactError(f"{_WHAT} holds a slope that is not above 0, or a number that is not finite")

    def probabilities(self, log_odds: Array, as_of_us: int | None) -> Array:
        """Calibrated, float64 (n,) in [0, 1]; without `as_of_us` in the season of the calibration slice."""
        shift = 0.0 if self.season is None or as_of_us is None else self.season.at(as_of_us)
        return sigmoid(self.slope * log_odds + (self.intercept + shift))

    def to_manifest(self) -> dict[str, object]:
        """The link as JSON values."""
        season = None if self.season is None else self.season.to_manifest()
        return {"slope": self.slope, "intercept": self.intercept, "season": season}

    @classmethod
    def from_manifest(cls, manifest: object) -> Link:
        """The link that `to_manifest` wrote.

        Raises:
            ArtefactError: a number is missing, not finite or out of range.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} has a link that is not a JSON object")
        return cls(
            strict_json.number(manifest, "slope", _WHAT),
            strict_json.number(manifest, "intercept", _WHAT),
            season_from_manifest(manifest.get("season")),
        )


@dataclass(frozen=True, eq=False)
class Timing:
    """The distribution of T, days to the event, given T < H, the longest horizon.

    horizons_days: ascending; the last is H.
    quantity: of the log-odds of T / H.
    links: one for each shorter horizon, from the longest of them down to the shortest.

    P(T < h | T < H) is the product of the links down to h. Each link is a probability, so P(T < h) never falls as h
    rises, for any row, season and calibration. The quantiles of T follow from the same calibrated distribution.
    """

    horizons_days: tuple[int, ...]
    quantity: ConditionalQuantity
    links: tuple[Link, ...]
    _limits: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.links) != len(self.horizons_days) - 1:
            raise ArtefactError(f"{_WHAT} needs a link for each shorter horizon")
        *shorter, longest = (float(days) for days in self.horizons_days)
        object.__setattr__(self, "_limits", log_odds_of_share(np.array(shorter), longest))

    def raw_shares(self, locations: Array) -> Array:
        """P(T < h | T < H) before calibration, float64 (n, h); ascending along each row, the last column is 1."""
        found = np.ones((locations.size, len(self.horizons_days)))
        np.maximum(self.quantity.shares_below(locations, self._limits), _SMALLEST_SHARE, out=found[:, :-1])
        return found

    def link_log_odds(self, raw_shares: Array) -> Array:
        """Log-odds of P(T < h | T < next longer h) before calibration, float64 (n, h - 1), in the order of `links`."""
        link = np.minimum(raw_shares[:, :-1] / raw_shares[:, 1:], 1 - _SMALLEST_SHARE)[:, ::-1]
        np.maximum(link, _SMALLEST_SHARE, out=link)
        return np.asarray(np.log(link) - np.log1p(-link), dtype=np.float64)

    def shares(self, raw_shares: Array, as_of_us: int | None = None) -> Array:
        """P(T < h | T < H), calibrated, float64 (n, h); ascending along each row, the last column is 1."""
        found = np.ones_like(raw_shares)
        log_odds = self.link_log_odds(raw_shares)
        for step, link in enumerate(self.links):
            column = found.shape[1] - 2 - step
            found[:, column] = found[:, column + 1] * link.probabilities(log_odds[:, step], as_of_us)
        return found

    def days(self, locations: Array, raw_shares: Array, shares: Array, levels: tuple[float, ...]) -> Array:
        """Quantiles of T given T < H, in days within [0, H], float64 (n, k), at k levels."""
        wanted = np.broadcast_to(np.array(levels), (locations.size, len(levels)))
        raw_levels = _carried(wanted, shares, raw_shares)
        return float(self.horizons_days[-1]) * sigmoid(self.quantity.quantiles(locations, raw_levels))

    def to_manifest(self) -> dict[str, object]:
        """All but the trees as JSON values."""
        return {"quantity": self.quantity.to_manifest(), "links": [link.to_manifest() for link in self.links]}

    @classmethod
    def from_manifest(cls, manifest: object, horizons_days: tuple[int, ...], trees: Trees) -> Timing:
        """The timing that `to_manifest` wrote.

        Raises:
            ArtefactError: a number is missing, not finite or out of range.
        """
        if not isinstance(manifest, Mapping) or not isinstance(manifest.get("links"), list):
            raise ArtefactError(f"{_WHAT} needs a quantity and links")
        quantity = ConditionalQuantity.from_manifest(manifest.get("quantity"), trees, _WHAT)
        return cls(horizons_days, quantity, tuple(Link.from_manifest(link) for link in manifest["links"]))


def _carried(wanted: Array, source: Array, target: Array) -> Array:
    """Levels float64 (n, k) carried by the line through (0, 0) and the points (source, target) of each row, (n, h)."""
    found = np.empty(wanted.shape)
    low_x = low_y = np.zeros((wanted.shape[0], 1))
    for column in range(source.shape[1]):
        high_x, high_y = source[:, column, None], target[:, column, None]
        within = wanted >= low_x
        rise = (high_y - low_y) / np.maximum(high_x - low_x, 1e-300)
        np.copyto(found, low_y + (wanted - low_x) * rise, where=within)
        low_x, low_y = high_x, high_y
    return np.minimum(np.maximum(found, 0.0, out=found), 1.0, out=found)
