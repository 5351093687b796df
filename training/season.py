"""Learn how the base rate of churn moves with the year from what the model misses at each labelled cut-off."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from features.instants import DAY_US
from serving.calibration import sigmoid
from serving.season import LevelReversion, Season, SeasonShift, harmonics

__all__ = ["fit_season", "season_through"]

Array = npt.NDArray[np.float64]
_LEAST_SPAN_DAYS = 330
_LEAST_CUTOFFS = 10
_LEAST_FOR_A_MEAN = 3
_RIDGE = 1.0
_FURTHEST = 5.0


def fit_season(
    log_odds: Array, labels: npt.NDArray[np.bool_], as_of_us: npt.NDArray[np.int64], anchor_us: int
) -> Season | None:
    """Two harmonics of the year through what the model misses at each cut-off; their mean over less than a year.

    For each cut-off the shift of the log-odds is found that brings the mean probability to the share that churned; a
    ridge regression on the harmonics, its intercept free, runs through the shifts. Only differences to the anchor are
    used, so the level stays that of the latest slice. Over less than a year the latest slice is one season's: its level
    fades into the mean of all (see `LevelReversion`). None where there are fewer than three cut-offs.

    Args:
        log_odds: calibrated, float64 (n,), of labelled rows of all cut-offs, the calibration slice among them.
        labels: bool (n,).
        as_of_us: int64 (n,), the cut-off of each row.
        anchor_us: the cut-off of the calibration slice.
    """
    cutoffs = np.unique(as_of_us)
    missed = [_missed(log_odds[as_of_us == cutoff], labels[as_of_us == cutoff]) for cutoff in cutoffs]
    return season_through(np.array(missed), cutoffs, anchor_us)


def season_through(missed: Array, cutoffs: npt.NDArray[np.int64], anchor_us: int) -> Season | None:
    """The season that runs through what was missed, on any additive scale, at each of several cut-offs.

    Args:
        missed: what to add at each cut-off, float64 (c,).
        cutoffs: int64 (c,), ascending and distinct, the anchor among them.
        anchor_us: where the season is to be 0.
    """
    if cutoffs.size < _LEAST_FOR_A_MEAN:
        return None
    if cutoffs.size < _LEAST_CUTOFFS or cutoffs[-1] - cutoffs[0] < _LEAST_SPAN_DAYS * DAY_US:
        return LevelReversion(float(missed.mean() - missed[cutoffs == anchor_us].mean()), anchor_us)
    design = np.column_stack([np.ones(cutoffs.size), harmonics(cutoffs)])
    penalty = _RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    found = np.linalg.solve(design.T @ design + penalty, design.T @ missed)
    return SeasonShift(tuple(float(c) for c in found[1:]), anchor_us)


def _missed(log_odds: Array, labels: npt.NDArray[np.bool_]) -> float:
    share = float(np.clip(labels.mean(), 1e-3, 1 - 1e-3))

    def excess(shift: float) -> float:
        return float(sigmoid(log_odds + shift).mean()) - share

    if excess(-_FURTHEST) >= 0:
        return -_FURTHEST
    return _FURTHEST if excess(_FURTHEST) <= 0 else float(brentq(excess, -_FURTHEST, _FURTHEST))
