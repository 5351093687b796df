"""How good a churn model is: ranking, calibration, lift; and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import NotEnoughDataError

__all__ = [
    "CalibrationBin",
    "Interval",
    "Ranking",
    "auc",
    "average_precision",
    "bootstrap_over_customers",
    "brier",
    "calibration_bins",
    "expected_calibration_error",
    "lift_by_decile",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A percentile interval of a bootstrap: 95% unless told otherwise."""

    low: float
    high: float


@dataclass(frozen=True)
class CalibrationBin:
    """One of several groups of nearly equal size, by rising probability: what was said and what happened, in [0, 1]."""

    n: int
    mean_probability: float
    churned_share: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows sorted into distinct scores once, for figures under many weights, as a bootstrap wants them.

    labels: bool (n,). place: int64 (n,), the rank of each row's score among the distinct ones, ascending from 0.
    """

    labels: Labels
    place: npt.NDArray[np.int64]
    n_distinct: int

    @classmethod
    def of(cls, labels: Labels, scores: Array) -> Ranking:
        """Sort rows by score."""
        distinct, place = np.unique(scores, return_inverse=True)
        return cls(labels, place.astype(np.int64), int(distinct.size))

    def relabelled(self, labels: Labels) -> Ranking:
        """The same rows in the same order with other labels."""
        return Ranking(labels, self.place, self.n_distinct)

    def auc(self, weights: Array | None = None) -> float:
        """As the function `auc`."""
        churned, stayed = self._weighed(weights)
        below = np.cumsum(stayed) - stayed
        return float(np.sum(churned * (below + 0.5 * stayed)) / (churned.sum() * stayed.sum()))

    def average_precision(self, weights: Array | None = None) -> float:
        """As the function `average_precision`."""
        churned, stayed = self._weighed(weights)
        hits = np.cumsum(churned[::-1])
        shown = np.cumsum((churned + stayed)[::-1])
        precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
        return float(np.sum(precision * churned[::-1]) / churned.sum())

    def _weighed(self, weights: Array | None) -> tuple[Array, Array]:
        """Weight of churned and of stayed at each distinct score."""
        weight = np.ones(self.labels.shape[0]) if weights is None else weights
        churned = np.bincount(self.place, weights=weight * self.labels, minlength=self.n_distinct).astype(np.float64)
        stayed = np.bincount(self.place, weights=weight * ~self.labels, minlength=self.n_distinct).astype(np.float64)
        if churned.sum() <= 0 or stayed.sum() <= 0:
            raise NotEnoughDataError(
                f"{int(self.labels.sum())} of {self.labels.shape[0]} rows churned; ranking needs some who did and some "
                "who did not"
            )
        return churned, stayed


def auc(labels: Labels, scores: Array, weights: Array | None = None) -> float:
    """Probability that a churned customer scores above one who stayed, ties counting half.

    Raises:
        NotEnoughDataError: there is no row of one outcome.

    Source: Hanley and McNeil 1982, The meaning and use of the area under a ROC curve.

    >>> auc(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1]))
    0.875
    """
    return Ranking.of(labels, scores).auc(weights)


def average_precision(labels: Labels, scores: Array, weights: Array | None = None) -> float:
    """Mean precision over recall, customers of equal score taken together; the base rate for a useless score.

    Raises:
        NotEnoughDataError: there is no row of one outcome.

    >>> round(average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7])), 6)
    0.833333
    """
    return Ranking.of(labels, scores).average_precision(weights)


def brier(labels: Labels, probabilities: Array, weights: Array | None = None) -> float:
    """Mean squared difference between probability and outcome, lower is better.

    >>> round(brier(np.array([True, False]), np.array([0.8, 0.4])), 12)
    0.1
    """
    return float(np.average((probabilities - labels) ** 2, weights=weights))


def calibration_bins(labels: Labels, probabilities: Array, n_bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Groups of nearly equal size by rising probability; ties keep the order of the rows."""
    order = np.argsort(probabilities, kind="stable")
    return tuple(
        CalibrationBin(int(part.size), float(probabilities[part].mean()), float(labels[part].mean()))
        for part in np.array_split(order, n_bins)
        if part.size
    )


def expected_calibration_error(labels: Labels, probabilities: Array, n_bins: int = 10) -> float:
    """Mean distance between said and happened over bins of equal size, weighted by size; 0 is perfect.

    Chance alone gives about `sqrt(2 / pi) * sqrt(p (1 - p) n_bins / n)`: .010 for 10 bins, 10,000 rows and p near .4.

    >>> expected_calibration_error(np.array([True, False]), np.array([0.75, 0.25]), n_bins=2)
    0.25
    """
    bins = calibration_bins(labels, probabilities, n_bins)
    return sum(b.n * abs(b.mean_probability - b.churned_share) for b in bins) / sum(b.n for b in bins)


def lift_by_decile(labels: Labels, scores: Array, n_bins: int = 10) -> Array:
    """Churned share of each tenth of the customers over the overall share, riskiest tenth first, float64 (n_bins,).

    Raises:
        NotEnoughDataError: nobody churned, or there are fewer rows than tenths.
    """
    if not labels.any() or labels.shape[0] < n_bins:
        raise NotEnoughDataError(f"lift needs {n_bins} rows and someone who churned; there are {labels.shape[0]} rows")
    order = np.argsort(-scores, kind="stable")
    shares = np.array([labels[part].mean() for part in np.array_split(order, n_bins)], dtype=np.float64)
    return shares / float(labels.mean())


def bootstrap_over_customers(
    figures: Callable[[Array], Mapping[str, float]],
    customer_rows: npt.NDArray[np.int64],
    rng: np.random.Generator,
    replicates: int = 200,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile intervals of weighted figures when customers, with all their rows, are drawn anew.

    Args:
        figures: from row weights, float64 (n,), to named figures; a weight is how often the row was drawn.
        customer_rows: int64 (n,), whose row it is.
        rng: the only source of chance.
        replicates: how many times to draw.
        level: share of the draws inside the interval.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Davison and Hinkley 1997, 3.8.
    """
    customers, which = np.unique(customer_rows, return_inverse=True)
    drawn: dict[str, list[float]] = {}
    for _ in range(replicates):
        times = rng.multinomial(customers.size, np.full(customers.size, 1.0 / customers.size))
        for name, value in figures(times[which].astype(np.float64)).items():
            drawn.setdefault(name, []).append(value)
    tail = (1.0 - level) / 2.0
    return {
        name: Interval(float(np.quantile(values, tail)), float(np.quantile(values, 1.0 - tail)))
        for name, values in drawn.items()
    }
