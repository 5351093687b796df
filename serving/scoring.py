"""Score customers: features in, probability, score, percentile and band out. The service and the backtest call this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import ArtefactError
from serving.bands import Band, Bands
from serving.churn_model import ChurnModel
from serving.forecast import Forecast

__all__ = ["ChurnScore", "ChurnScores", "score_churn"]


@dataclass(frozen=True)
class ChurnScore:
    """One customer's score; see `ChurnScores` for the meaning of each figure."""

    churn_probability: float
    churn_score: int
    percentile: float
    band: Band


@dataclass(frozen=True, eq=False)
class ChurnScores:
    """Scores of n customers at one instant. The score ranks, the probability is calibrated.

    customer_keys: object (n,). as_of_us: exclusive end of the history that was read.
    churn_probability: float64 (n,) in [0, 1], of no order in `[as_of + gap, as_of + gap + horizon)`.
    percentile: float64 (n,) in [0, 100], percent of the customers of the calibration slice with a lower probability,
    the season left out, so that a quiet season does not move everybody's rank.
    churn_score: int64 (n,), 0 to 100, the percentile rounded: 90 is riskier than 90% of customers. It compares
    customers; it is no probability.
    band: object (n,) of `low`, `medium`, `high`, by the probability and the release's cut-offs.
    forecast: by horizon, when, and how much; None where it was not asked for.
    """

    customer_keys: npt.NDArray[np.object_]
    as_of_us: int
    churn_probability: npt.NDArray[np.float64]
    churn_score: npt.NDArray[np.int64]
    percentile: npt.NDArray[np.float64]
    band: npt.NDArray[np.object_]
    forecast: Forecast | None = None

    def __len__(self) -> int:
        return int(self.churn_probability.shape[0])

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """Every array, those of the forecast too."""
        own = (self.customer_keys, self.churn_probability, self.churn_score, self.percentile, self.band)
        return own if self.forecast is None else (*own, *self.forecast.columns())

    def select(self, rows: npt.NDArray[np.int64], *, forecast: bool = True) -> ChurnScores:
        """The scores of some of the customers, with their forecast or without."""
        return ChurnScores(
            self.customer_keys[rows],
            self.as_of_us,
            self.churn_probability[rows],
            self.churn_score[rows],
            self.percentile[rows],
            self.band[rows],
            self.forecast.select(rows) if forecast and self.forecast is not None else None,
        )

    def one(self, row: int) -> ChurnScore:
        """The score of one row."""
        return ChurnScore(
            churn_probability=float(self.churn_probability[row]),
            churn_score=int(self.churn_score[row]),
            percentile=float(self.percentile[row]),
            band=self.band[row],
        )


def score_churn(
    model: ChurnModel,
    bands: Bands,
    table: FeatureTable,
    *,
    forecast: bool = True,
    margins: npt.NDArray[np.float64] | None = None,
) -> ChurnScores:
    """Scores of every customer of a feature table, one or many; a customer's score does not depend on the others.

    `margins`, the model's of this table, float64 (n,), saves computing them again.

    Raises:
        ArtefactError: the table was computed with another feature set than the model reads.
    """
    if table.fingerprint != model.fingerprint or tuple(table.names) != model.feature_names:
        raise ArtefactError(
            f"features of fingerprint {table.fingerprint[:12]} cannot be scored by a model of fingerprint "
            f"{model.fingerprint[:12]}; compute them again, or load the release that fits"
        )
    if margins is None:
        margins = model.margins(table.values)
    probabilities = model.calibrated(margins, table.as_of_us)
    unseasoned = probabilities if model.season is None else model.calibrated(margins)
    percentile = model.percentile(unseasoned)
    return ChurnScores(
        customer_keys=table.customer_keys,
        as_of_us=table.as_of_us,
        churn_probability=probabilities,
        churn_score=np.rint(percentile).astype(np.int64),
        percentile=percentile,
        band=bands.of_many(probabilities),
        forecast=model.forecast(table.values, table.as_of_us, margins=margins) if forecast else None,
    )
