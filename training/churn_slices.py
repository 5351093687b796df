"""How a churn model does for each kind of customer: figures by slice, and a warning where one is much worse off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError, NotEnoughDataError
from training.churn_metrics import Interval, auc, brier, expected_calibration_error
from training.quality_estimate import expected_auc

__all__ = ["Grouping", "SliceFigures", "slice_figures"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

LEAST_ROWS = 50
"""A group of fewer customers is left out: its figures would be chance."""

MUCH_LOWER_AUC = 0.05
MUCH_OFF = 0.05
_SURE = 2.576  # standard deviations: 1% both sides
_TWO_SIDED_95 = 1.96


@dataclass(frozen=True, eq=False)
class Grouping:
    """One way to part customers: `codes` int64 (n,) point into `groups`; -1 belongs to none.

    `dimension` and `groups` are words for people.
    """

    dimension: str
    groups: tuple[str, ...]
    codes: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.codes.size and not -1 <= int(self.codes.min()) <= int(self.codes.max()) < len(self.groups):
            raise DataError(f"the grouping by {self.dimension} has codes outside its {len(self.groups)} groups")


@dataclass(frozen=True)
class SliceFigures:
    """One group's figures. auc and its interval are NaN where only one outcome occurred.

    auc_expected: what these customers' own probabilities promise (see `expected_auc`): customers who are much alike
    cannot be told apart by any model.
    warning: empty, or what is much worse here than for everybody.
    """

    dimension: str
    group: str
    n: int
    base_rate: float
    mean_probability: float
    auc: float
    auc_interval: Interval
    auc_expected: float
    brier: float
    ece: float
    warning: str

    @property
    def off(self) -> float:
        """By how much too high the probabilities are here; negative is too low."""
        return self.mean_probability - self.base_rate


def slice_figures(
    labels: Labels, probabilities: Array, groupings: Sequence[Grouping], least: int = LEAST_ROWS
) -> tuple[SliceFigures, ...]:
    """Figures of every group of at least `least` customers, grouping by grouping.

    A warning is given where the AUC's 95% interval lies more than .05 below everybody's AUC; it says whether the
    group's own probabilities promise more than that, so that the model fails there, or whether these customers are much
    alike. Another is given where the mean probability is more than .05 off and chance does not explain it (1%).

    Raises:
        DataError: a grouping is of another number of customers.
    """
    everybody = _auc(labels, probabilities)
    found = []
    for grouping in groupings:
        if grouping.codes.shape != labels.shape:
            raise DataError(f"the grouping by {grouping.dimension} is of {grouping.codes.size} rows, not {labels.size}")
        for code, group in enumerate(grouping.groups):
            rows = grouping.codes == code
            if np.count_nonzero(rows) >= least:
                found.append(_figures(grouping.dimension, group, labels[rows], probabilities[rows], everybody))
    return tuple(found)


def auc_interval(area: float, n_churned: int, n_stayed: int) -> Interval:
    """95% interval of an AUC by its standard error, cut to [0, 1]; NaN where undefined.

    Source: Hanley and McNeil 1982, The meaning and use of the area under a ROC curve, equation 1.

    >>> round(auc_interval(0.5, 8, 8).high, 4)  # se^2 = (.25 + 2 * 7 (1/3 - .25)) / 64, se = .1488
    0.7916
    """
    if not math.isfinite(area):
        return Interval(math.nan, math.nan)
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    variance = area * (1.0 - area) + (n_churned - 1) * (q1 - area**2) + (n_stayed - 1) * (q2 - area**2)
    half = _TWO_SIDED_95 * math.sqrt(variance / (n_churned * n_stayed))
    return Interval(max(0.0, area - half), min(1.0, area + half))


def _figures(dimension: str, group: str, labels: Labels, said: Array, everybody: float) -> SliceFigures:
    area, n_churned = _auc(labels, said), int(labels.sum())
    interval = auc_interval(area, n_churned, labels.size - n_churned)
    off = float(said.mean() - labels.mean())
    chance = _SURE * math.sqrt(float(np.sum(said * (1.0 - said)))) / labels.size
    promised = _promised(said)
    warnings = []
    if interval.high < everybody - MUCH_LOWER_AUC:
        why = "the model fails here" if interval.high < promised else "as expected: these customers are much alike"
        warnings.append(f"ranks much worse, AUC {area:.3f} against {everybody:.3f} for all; {why}")
    if abs(off) > max(MUCH_OFF, chance):
        warnings.append(f"says {abs(off):.1%} too {'much' if off > 0 else 'little'}")
    return SliceFigures(
        dimension=dimension,
        group=group,
        n=int(labels.size),
        base_rate=float(labels.mean()),
        mean_probability=float(said.mean()),
        auc=area,
        auc_interval=interval,
        auc_expected=promised,
        brier=brier(labels, said),
        ece=expected_calibration_error(labels, said),
        warning="; ".join(warnings),
    )


def _promised(said: Array) -> float:
    try:
        return expected_auc(said)
    except NotEnoughDataError:
        return math.nan


def _auc(labels: Labels, said: Array) -> float:
    return auc(labels, said) if labels.any() and not labels.all() else math.nan
