"""Segments of a shop's customers at one instant: fitted, and described by what became of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.compute import compute
from features.customer_view import CustomerView
from features.feature_set import FeatureSet
from serving.segments import Segmentation
from training.churn_settings import ChurnSettings
from training.labels import churned
from training.population import eligible
from training.segment_report import SegmentRow, segment_rows
from training.segments import fit_segments

__all__ = ["Segmented", "segment_customers"]


@dataclass(frozen=True, eq=False)
class Segmented:
    """The segmentation, and a row for each group of the customers that it was fitted on."""

    segmentation: Segmentation
    rows: tuple[SegmentRow, ...]

    def metrics(self) -> dict[str, float]:
        """The figures of stability, and the number of behavioural segments."""
        stability = self.segmentation.stability
        return {
            "segments.count": float(len(self.segmentation.behaviour.names)),
            "segments.silhouette": stability.silhouette,
            "segments.rand_mean": stability.rand_mean,
            "segments.rand_low": stability.rand_low,
        }


def segment_customers(
    view: CustomerView, feature_set: FeatureSet, as_of_us: int, settings: ChurnSettings, *, observed_until_us: int
) -> Segmented:
    """Fit on everybody who had ordered by `as_of`, and tell how many of those asked about churned.

    Labels take no part in the fit. `observed_until_us` is the exclusive end of the log.

    Raises:
        NotEnoughDataError: nobody ordered in the 365 days before `as_of`, or the label window is not yet observed.
    """
    table = compute(view, feature_set, as_of_us)
    known = np.flatnonzero(~np.isnan(table.column("orders_recency_days")))
    segmentation = fit_segments(table, settings.segments)
    asked = eligible(view, as_of_us, settings)[known]
    left = churned(view, as_of_us, settings, observed_until_us=observed_until_us)[known]
    return Segmented(segmentation, segment_rows(segmentation, table.select(known), asked, left))
