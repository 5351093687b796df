"""Whether the probabilities of every horizon hold: ranking, Brier score and calibration error, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.churn_model import Awaits
from training.churn_metrics import Interval, Ranking, bootstrap_over_customers, brier, expected_calibration_error
from training.labels import churned_by
from training.training_set import TrainingSet

__all__ = ["HorizonFigures", "HorizonSlice", "horizon_figures", "horizon_slices"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
_BINS = 10
_CHANCE_DRAWS = 100


@dataclass(frozen=True, eq=False)
class HorizonSlice:
    """What was said and what happened by one horizon: probabilities float64 (n,), labels bool (n,)."""

    horizon_days: int
    labels: Labels
    probabilities: Array


@dataclass(frozen=True)
class HorizonFigures:
    """How the probabilities of one horizon did. auc: higher is better; brier, ece: lower is better."""

    horizon_days: int
    base_rate: float
    mean_probability: float
    auc: float
    auc_interval: Interval
    brier: float
    brier_interval: Interval
    ece: float
    ece_interval: Interval


def horizon_slices(
    test_set: TrainingSet, by_horizon: Array, horizons_days: Sequence[int], awaits: Awaits
) -> tuple[HorizonSlice, ...]:
    """One slice a horizon that the model tells of, ascending; the last is the headline.

    Args:
        test_set: n labelled rows.
        by_horizon: float64 (n, h), churn probability by horizon; a column of NaN is a horizon the model did not learn.
        horizons_days: (h,), ascending.
        awaits: what the question waits for.

    A shorter horizon in which everybody left, or nobody, has no figures and is left out.
    """
    found = []
    for place, days in enumerate(horizons_days):
        last = place == len(horizons_days) - 1
        labels = test_set.labels if last else churned_by(test_set.event_days, days, awaits)
        known = not (np.isnan(by_horizon[:, place]).any() or (not last and np.isnan(test_set.event_days).any()))
        if last or (known and labels.any() and not labels.all()):
            found.append(HorizonSlice(days, labels, by_horizon[:, place]))
    return tuple(found)


def horizon_figures(
    slices: Sequence[HorizonSlice],
    customer_rows: npt.NDArray[np.int64],
    rng: np.random.Generator,
    replicates: int = 200,
) -> tuple[HorizonFigures, ...]:
    """Figures of every horizon, with 95% intervals from one bootstrap over customers.

    Chance makes every calibration error larger, a resample's once more than the sample's; so the interval of that error
    ends half the width of the resamples above the figure and begins as much lower still as resamples lie above it, or
    at 0 where calibrated probabilities would come out as far off by chance in one of 20 cases or more.
    """
    bins = {part.horizon_days: _bins(part.probabilities) for part in slices}
    rankings = {part.horizon_days: Ranking.of(part.labels, part.probabilities) for part in slices}

    def figures(weights: Array) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in slices:
            days = part.horizon_days
            found[f"auc.{days}"] = rankings[days].auc(weights)
            found[f"brier.{days}"] = brier(part.labels, part.probabilities, weights)
            missed = np.bincount(bins[days], weights=weights * (part.probabilities - part.labels))
            found[f"ece.{days}"] = float(np.abs(missed).sum() / weights.sum())
        return found

    intervals = bootstrap_over_customers(figures, customer_rows, rng, replicates)
    return tuple(
        _figures(part, rankings[part.horizon_days], intervals, _by_chance(part, bins[part.horizon_days], rng))
        for part in slices
    )


def _figures(
    part: HorizonSlice, ranking: Ranking, intervals: Mapping[str, Interval], by_chance: float
) -> HorizonFigures:
    days = part.horizon_days
    error, drawn = expected_calibration_error(part.labels, part.probabilities), intervals[f"ece.{days}"]
    half, by_drawing = (drawn.high - drawn.low) / 2, max(0.0, (drawn.high + drawn.low) / 2 - error)
    low = 0.0 if error <= by_chance else max(0.0, error - by_drawing - half)
    return HorizonFigures(
        horizon_days=days,
        base_rate=float(part.labels.mean()),
        mean_probability=float(part.probabilities.mean()),
        auc=ranking.auc(),
        auc_interval=intervals[f"auc.{days}"],
        brier=brier(part.labels, part.probabilities),
        brier_interval=intervals[f"brier.{days}"],
        ece=error,
        ece_interval=Interval(low, error + half),
    )


def _by_chance(part: HorizonSlice, bins: npt.NDArray[np.int64], rng: np.random.Generator) -> float:
    """The calibration error that calibrated probabilities stay below in 19 of 20 cases."""
    said = part.probabilities
    drawn = [
        np.abs(np.bincount(bins, weights=said - (rng.random(said.size) < said))).sum() / said.size
        for _ in range(_CHANCE_DRAWS)
    ]
    return float(np.quantile(drawn, 0.95))


def _bins(probabilities: Array) -> npt.NDArray[np.int64]:
    """int64 (n,): the tenth of each row by rising probability, as `calibration_bins` cuts them."""
    found = np.empty(probabilities.size, dtype=np.int64)
    for place, rows in enumerate(np.array_split(np.argsort(probabilities, kind="stable"), _BINS)):
        found[rows] = place
    return found
