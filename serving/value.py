"""How much a customer orders in a window ahead: nothing with some probability, else an amount."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json
from serving.calibration import BetaCalibrator
from serving.conditional_quantity import ConditionalQuantity
from serving.season import Season, season_from_manifest
from serving.trees import Trees

__all__ = ["YEAR_DAYS", "Value", "ValueForecast"]

Array = npt.NDArray[np.float64]
_WHAT = "the value"
YEAR_DAYS = 365


@dataclass(frozen=True, eq=False)
class ValueForecast:
    """Of n customers: the point mass at 0, float64 (n,); quantiles (n, k), mean (n,) and mean if any (n,), minor."""

    none_probability: Array
    quantiles_minor: Array
    mean_minor: Array
    mean_if_any_minor: Array


@dataclass(frozen=True, eq=False)
class Value:
    """The distribution of the amount ordered in `[as_of + gap, as_of + gap + days)`, minor units.

    amount: of the logarithm of the amount, given that it is above 0.
    none: P(nothing ordered) from the log-odds of churning; see `takes_season` for which.
    season: how the logarithm moves with the year; None where not learnt.
    """

    days: int
    amount: ConditionalQuantity
    none: BetaCalibrator
    season: Season | None = None

    @property
    def takes_season(self) -> bool:
        """Whether `none` reads the calibrated log-odds of as_of; a year holds every season, so it reads the margin."""
        return self.days < YEAR_DAYS

    def forecast(
        self, values: Array, log_odds: Array, levels: tuple[float, ...], as_of_us: int | None = None
    ) -> ValueForecast:
        """Quantiles at ascending levels and means, for values float64 (n, f) and log-odds float64 (n,)."""
        nothing = self.none.probabilities(log_odds)
        locations = self.amount.locations(values)
        factor = 1.0 if self.season is None or as_of_us is None else math.exp(self.season.at(as_of_us))
        some = 1.0 - nothing
        # below the point mass the quantile is 0; above it the levels of the amount begin
        within = (np.array(levels) - nothing[:, None]) / np.maximum(some, 1e-12)[:, None]
        amounts = factor * np.exp(self.amount.quantiles(locations, np.minimum(np.maximum(within, 0.0), 1.0)))
        if_any = factor * self.amount.mean_exponentials(locations)
        return ValueForecast(nothing, np.where(within > 0.0, amounts, 0.0), some * if_any, if_any)

    def to_manifest(self) -> dict[str, object]:
        """All but the trees as JSON values."""
        return {
            "days": self.days,
            "amount": self.amount.to_manifest(),
            "none": self.none.to_manifest(),
            "season": None if self.season is None else self.season.to_manifest(),
        }

    @classmethod
    def from_manifest(cls, manifest: object, trees: Trees) -> Value:
        """The value that `to_manifest` wrote.

        Raises:
            ArtefactError: a number is missing, not finite or out of range.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} is not a JSON object")
        return cls(
            strict_json.whole(manifest, "days", _WHAT, 1, 36_500),
            ConditionalQuantity.from_manifest(manifest.get("amount"), trees, _WHAT),
            BetaCalibrator.from_manifest(manifest.get("none")),
            season_from_manifest(manifest.get("season")),
        )
