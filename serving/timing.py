"""When the event that a churn question waits for happens, given that it happens within the longest horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json
from serving.calibration import sigmoid
from serving.conditional_quantity import ConditionalQuantity
from serving.trees import Trees

__all__ = ["Timing", "log_odds_of_share"]

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


@dataclass(frozen=True, eq=False)
class Timing:
    """The distribution of T, days to the event, given T < H, the longest horizon; and P(T < h) for each horizon h.

    horizons_days: ascending; the last is H.
    quantity: of the log-odds of T / H.
    chain: for each shorter horizon h, from the longest of them down to the shortest, slope (above 0) and intercept that
        calibrate the log-odds of P(T < h | T < the next longer horizon).

    P(T < h) is the product of P(T < H) and the links of the chain down to h. Each link is a probability, so P(T < h)
    never falls as h rises, whatever the links are.
    """

    horizons_days: tuple[int, ...]
    quantity: ConditionalQuantity
    chain: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.chain) != len(self.horizons_days) - 1:
            raise ArtefactError(f"{_WHAT} needs a slope and an intercept for each shorter horizon")
        if not all(np.isfinite(link).all() and link[0] > 0 for link in self.chain):
            raise ArtefactError(f"{_WHAT} holds a slope that is not above 0, or a number that is not finite")

    def link_log_odds(self, locations: Array) -> Array:
        """Log-odds of P(T < h | T < next longer h) before calibration, float64 (n, h - 1), in the order of `chain`."""
        longest = float(self.horizons_days[-1])
        limits = log_odds_of_share(np.array(self.horizons_days[:-1], dtype=np.float64), longest)
        shares = np.ones((locations.size, len(self.horizons_days)))
        shares[:, :-1] = np.clip(self.quantity.shares_below(locations, limits), _SMALLEST_SHARE, 1.0)
        link = np.clip(shares[:, :-1] / shares[:, 1:], _SMALLEST_SHARE, 1 - _SMALLEST_SHARE)[:, ::-1]
        return np.asarray(np.log(link) - np.log1p(-link), dtype=np.float64)

    def event_probabilities(self, locations: Array, event_probability: Array) -> Array:
        """P(T < h), float64 (n, h), for P(T < H) float64 (n,); ascending along each row, the last column as given."""
        found = np.empty((locations.size, len(self.horizons_days)))
        found[:, -1] = event_probability
        links = self.link_log_odds(locations)
        for step, (slope, intercept) in enumerate(self.chain):
            column = found.shape[1] - 2 - step
            found[:, column] = found[:, column + 1] * sigmoid(slope * links[:, step] + intercept)
        return found

    def days(self, locations: Array, levels: Array) -> Array:
        """Quantiles of T given T < H, in days within [0, H], float64 (n, k), at levels (k,)."""
        return float(self.horizons_days[-1]) * sigmoid(self.quantity.quantiles(locations, levels))

    def to_manifest(self) -> dict[str, object]:
        """All but the trees as JSON values."""
        return {"quantity": self.quantity.to_manifest(), "chain": [list(link) for link in self.chain]}

    @classmethod
    def from_manifest(cls, manifest: object, horizons_days: tuple[int, ...], trees: Trees) -> Timing:
        """The timing that `to_manifest` wrote.

        Raises:
            ArtefactError: a number is missing, not finite or out of range.
        """
        if not isinstance(manifest, Mapping) or not isinstance(manifest.get("chain"), list):
            raise ArtefactError(f"{_WHAT} needs a quantity and a chain")
        chain = [strict_json.numbers({"chain": link}, "chain", _WHAT).tolist() for link in manifest["chain"]]
        if any(len(link) != 2 for link in chain):
            raise ArtefactError(f"{_WHAT} needs a slope and an intercept for each shorter horizon")
        quantity = ConditionalQuantity.from_manifest(manifest.get("quantity"), trees, _WHAT)
        return cls(horizons_days, quantity, tuple((slope, intercept) for slope, intercept in chain))
