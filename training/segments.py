"""Fit the segmentation: RFM fifths, the shop's usual cycle, and behavioural segments with a figure of stability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from features.compute import FeatureTable
from features.errors import NotEnoughDataError
from serving.behaviour import MEASURES, Behaviour, measure
from serving.lifecycle import Lifecycle
from serving.rfm import RFM_FEATURES, RfmScale
from serving.segments import Segmentation, Stability
from training.segment_naming import name_segments, plain_names
from training.segment_settings import SegmentSettings

__all__ = ["adjusted_rand", "fit_segments"]

Array = npt.NDArray[np.float64]
_SILHOUETTE_ROWS = 4_000
_SAMPLE_ROWS = 4_000
_FITTED_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class _Found:
    centroids: Array
    labels: npt.NDArray[np.int64]
    stability: Stability


def fit_segments(table: FeatureTable, settings: SegmentSettings) -> Segmentation:
    """The segmentation of the customers of a table who ordered in the last 365 days; equal input gives equal bits.

    Raises:
        NotEnoughDataError: nobody ordered in that time.
    """
    table = table.select(np.flatnonzero(table.column("orders_count_365d") > 0))
    if len(table.customer_keys) == 0:
        raise NotEnoughDataError("0 customers ordered in the last 365 days; segments need at least 1")
    behaviour, stability = _behaviour(table, settings)
    return Segmentation(_rfm(table), Lifecycle(_usual_cycle(table)), behaviour, stability, table.as_of_us)


def adjusted_rand(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Agreement of two partitions of the same customers: 1 is the same up to names, 0 is what chance gives.

    Source: Hubert and Arabie 1985, Comparing partitions, Journal of Classification 2, equation 5.

    >>> import numpy as np
    >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))
    1.0
    >>> round(adjusted_rand(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])), 2)
    -0.5
    """
    return float(adjusted_rand_score(first, second))


def _rfm(table: FeatureTable) -> RfmScale:
    fifths = np.array([0.2, 0.4, 0.6, 0.8])
    return RfmScale(*(np.quantile(table.column(name), fifths, method="higher") for name in RFM_FEATURES))


def _usual_cycle(table: FeatureTable) -> float:
    """The median of the customers' mean gaps, days; of the customers' ages where nobody ordered twice."""
    gaps = table.column("order_gap_mean_days_all")
    known = gaps[~np.isnan(gaps)]
    return max(float(np.median(known if known.size else table.column("tenure_days"))), 1.0)


def _behaviour(table: FeatureTable, settings: SegmentSettings) -> tuple[Behaviour, Stability]:
    measured = measure(table, MEASURES)
    known = ~np.isnan(measured)
    counted = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, measured, 0.0).sum(axis=0) / counted
    scale = np.sqrt(np.where(known, (measured - centre) ** 2, 0.0).sum(axis=0) / counted)
    varies = np.flatnonzero(scale > 1e-9)
    names = tuple(MEASURES[place] for place in varies)
    n = len(measured)
    nobody = Behaviour(names, centre[varies], scale[varies], np.zeros((1, varies.size)), (plain_names(),))
    if n < settings.min_customers or not names:
        return nobody, Stability(np.nan, np.nan, np.nan, n)
    rng = np.random.default_rng(settings.seed)
    rows = np.sort(rng.permutation(n)[:_FITTED_ROWS])
    found = _chosen(nobody.standardised(measured[np.ix_(rows, varies)]), settings, rng)
    order = np.argsort(-np.bincount(found.labels, minlength=len(found.centroids)), kind="stable")
    centroids = found.centroids[order]
    return Behaviour(names, centre[varies], scale[varies], centroids, name_segments(centroids, names)), found.stability


def _chosen(points: Array, settings: SegmentSettings, rng: np.random.Generator) -> _Found:
    """The number of segments with the widest silhouette of those that are stable."""
    with threadpool_limits(1):  # its threads spin while they wait: slower, where others compute too
        tried = [_clustered(points, count, settings, rng) for count in settings.counts]
    smallest = [np.bincount(found.labels, minlength=len(found.centroids)).min() / len(points) for found in tried]
    large = [found for found, share in zip(tried, smallest, strict=True) if share >= settings.min_share] or tried[:1]
    stable = [found for found in large if found.stability.rand_mean >= settings.min_stability]
    if stable:
        return max(stable, key=lambda found: found.stability.silhouette)
    return max(large, key=lambda found: found.stability.rand_mean)


def _clustered(points: Array, count: int, settings: SegmentSettings, rng: np.random.Generator) -> _Found:
    """k-means, and how well the same segments are found again on bootstrap samples of the customers.

    Source: Hennig 2007, Cluster-wise assessment of cluster stability, Computational Statistics & Data Analysis 52,
    section 3 (bootstrap); here with one figure for the whole partition, the adjusted Rand index over all customers.
    """
    whole = _k_means(points, count, settings.seed)
    again = []
    for _ in range(settings.bootstraps):
        sample = rng.integers(0, len(points), min(_SAMPLE_ROWS, len(points)))
        model = _k_means(points[sample], count, int(rng.integers(1 << 31)))
        again.append(adjusted_rand(whole.labels_, model.predict(points)))
    size = min(_SILHOUETTE_ROWS, len(points))
    width = silhouette_score(points, whole.labels_, sample_size=size, random_state=settings.seed % (1 << 31))
    stability = Stability(float(width), float(np.mean(again)), float(np.quantile(again, 0.1)), len(points))
    return _Found(np.asarray(whole.cluster_centers_, np.float64), whole.labels_.astype(np.int64), stability)


def _k_means(points: Array, count: int, seed: int) -> KMeans:
    return KMeans(count, n_init=5, random_state=seed % (1 << 31)).fit(points)
