"""How good a model is now, before anybody can know who left: confidence-based performance estimation (CBPE).

If a probability is calibrated, it says itself how often it will be wrong: of customers told .8, one in five stays. From
the probabilities alone come the expected confusion matrix, Brier score and AUC, and the range in which the true figures
must fall. Labels that arrive later either fall into that range, or show that the probabilities no longer hold.

The estimate sees a change of the customers (they have become harder to tell apart). It is blind to a change of the law:
where the same customers begin to leave more often, only labels tell. So it is always printed beside its own past
errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from features.errors import DataError, NotEnoughDataError
from training.churn_metrics import Ranking, brier, expected_calibration_error

__all__ = [
    "CheckedEstimate",
    "CheckedFigure",
    "EstimatedFigure",
    "QualityEstimate",
    "calibration_p_value",
    "check_estimate",
    "estimate_quality",
    "expected_auc",
    "expected_brier",
    "expected_confusion",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
_TAIL = 0.025
_SURE = 0.01


@dataclass(frozen=True)
class EstimatedFigure:
    """A figure as expected, and the 95% range of what comes out if the probabilities are right."""

    name: str
    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class QualityEstimate:
    """Expected quality of n scored customers; nobody's outcome is known yet.

    threshold: a probability `>= threshold` counts as told to leave.
    confusion: expected numbers of customers: told and left, told and stayed, not told and left, not told and stayed.
    figures: churned share, AUC, Brier score, calibration error, accuracy, precision and recall.
    """

    n: int
    threshold: float
    confusion: tuple[float, float, float, float]
    figures: tuple[EstimatedFigure, ...]

    def of(self, name: str) -> EstimatedFigure:
        """The figure of this name."""
        return next(figure for figure in self.figures if figure.name == name)


@dataclass(frozen=True)
class CheckedFigure:
    """An estimate against what happened; `held` is whether the truth lies in the estimate's range."""

    name: str
    expected: float
    low: float
    high: float
    true: float

    @property
    def held(self) -> bool:
        """Whether the truth lies in the range; undefined figures hold nothing."""
        return self.low <= self.true <= self.high


@dataclass(frozen=True)
class CheckedEstimate:
    """An estimate after the labels have arrived.

    p_value: how often calibrated probabilities would be this far off by chance; see `calibration_p_value`.
    """

    n: int
    figures: tuple[CheckedFigure, ...]
    p_value: float

    @property
    def calibrated(self) -> bool:
        """Whether chance explains the difference of said and happened, at 1%."""
        return self.p_value >= _SURE

    def of(self, name: str) -> CheckedFigure:
        """The figure of this name."""
        return next(figure for figure in self.figures if figure.name == name)

    @property
    def sentence(self) -> str:
        """What the labels say about the estimate, in words."""
        share, area = self.of("churned_share"), self.of("auc")
        figures = (
            f"{share.expected:.1%} were expected to leave and {share.true:.1%} did; AUC expected {area.expected:.3f}, "
            f"came out {area.true:.3f}"
        )
        if self.calibrated:
            return f"The estimate held: {figures}."
        return (
            f"The estimate did not hold: {figures}. Chance does not explain it (p = {self.p_value:.2g}): the "
            "probabilities are off, calibrate or train again."
        )


def expected_confusion(probabilities: Array, threshold: float) -> tuple[float, float, float, float]:
    """Expected customers told and left, told and stayed, not told and left, not told and stayed.

    Raises:
        DataError: a probability is not in [0, 1].

    Source: NannyML's CBPE; Garg, Balakrishnan, Lipton, Neyshabur and Sedghi 2022, section 2.

    >>> [round(count, 6) for count in expected_confusion(np.array([0.9, 0.6, 0.2]), threshold=0.5)]
    [1.5, 0.5, 0.2, 0.8]
    """
    _check(probabilities)
    told = probabilities >= threshold
    left, stayed = probabilities, 1.0 - probabilities
    return float(left[told].sum()), float(stayed[told].sum()), float(left[~told].sum()), float(stayed[~told].sum())


def expected_brier(probabilities: Array) -> float:
    """Mean of `p (1 - p)`, the expected squared error of calibrated probabilities.

    >>> round(expected_brier(np.array([0.9, 0.5])), 6)
    0.17
    """
    _check(probabilities)
    return float(np.mean(probabilities * (1.0 - probabilities)))


def expected_auc(probabilities: Array) -> float:
    """Expected pairs ranked rightly over expected pairs, a pair being one who leaves and another who stays.

    `sum p_i (1 - p_j) [p_i > p_j, or 1/2 if equal] / sum p_i (1 - p_j)` over all `i != j`.

    Raises:
        NotEnoughDataError: no pair is expected.

    >>> round(expected_auc(np.array([0.8, 0.4])), 6)  # .8 * .6 of .8 * .6 + .4 * .2
    0.857143
    """
    _check(probabilities)
    values, place = np.unique(probabilities, return_inverse=True)
    left = np.bincount(place, weights=probabilities, minlength=values.size)
    stayed = np.bincount(place, weights=1.0 - probabilities, minlength=values.size)
    with_itself = float(np.sum(probabilities * (1.0 - probabilities)))
    pairs = float(left.sum() * stayed.sum()) - with_itself
    if probabilities.size < 2 or pairs <= 0.0:
        raise NotEnoughDataError("no pair of one who leaves and one who stays is expected; the AUC is undefined")
    below = np.cumsum(stayed) - stayed
    return (float(np.sum(left * (below + 0.5 * stayed))) - 0.5 * with_itself) / pairs


def estimate_quality(
    probabilities: Array, rng: np.random.Generator, *, threshold: float, replicates: int = 200
) -> QualityEstimate:
    """Expected quality of calibrated probabilities, float64 (n,), and the range in which the truth must fall.

    The range is that of outcomes drawn by the probabilities themselves, each customer independently.

    Raises:
        DataError: a probability is not in [0, 1].
        NotEnoughDataError: fewer than 2 rows, or one outcome is never expected.
    """
    left_told, stayed_told, left_untold, stayed_untold = confusion = expected_confusion(probabilities, threshold)
    n, ascending = probabilities.size, np.sort(probabilities)
    expected = {
        "churned_share": (left_told + left_untold) / max(n, 1),
        "auc": expected_auc(probabilities),
        "brier": expected_brier(probabilities),
        "ece": math.nan,
        "accuracy": (left_told + stayed_untold) / n,
        "precision": _ratio(left_told, left_told + stayed_told),
        "recall": _ratio(left_told, left_told + left_untold),
    }
    ranking = Ranking.of(np.zeros(n, np.bool_), ascending)
    drawn = [_figures(rng.random(n) < ascending, ascending, threshold, ranking.relabelled) for _ in range(replicates)]
    rows = {name: np.array([row[name] for row in drawn]) for name in expected}
    expected["ece"] = float(np.nanmean(rows["ece"]))
    return QualityEstimate(
        n, threshold, confusion, tuple(_estimated(name, value, rows[name]) for name, value in expected.items())
    )


def check_estimate(estimate: QualityEstimate, labels: Labels, probabilities: Array) -> CheckedEstimate:
    """The estimate beside the truth, once `labels`, bool (n,), have arrived for the same customers.

    Raises:
        DataError: there are more or fewer labels than customers were estimated.
    """
    if labels.shape != (estimate.n,) or probabilities.shape != (estimate.n,):
        raise DataError(f"the estimate is of {estimate.n} customers; labels of {labels.shape[0]} cannot check it")
    true = _figures(labels, probabilities, estimate.threshold, lambda rows: Ranking.of(rows, probabilities))
    return CheckedEstimate(
        n=estimate.n,
        figures=tuple(CheckedFigure(f.name, f.expected, f.low, f.high, true[f.name]) for f in estimate.figures),
        p_value=calibration_p_value(labels, probabilities),
    )


def calibration_p_value(labels: Labels, probabilities: Array) -> float:
    """How often calibrated probabilities would be this far off or further by chance, in [0, 1], two-sided.

    The smaller of two tests, doubled: of the level, `z = sum (y - p) / sqrt(sum p (1 - p))`, and of the spread,
    `z = sum (y - p)(1 - 2 p) / sqrt(sum (1 - 2 p)^2 p (1 - p))`, which sees probabilities too sure or too timid.

    Source: Spiegelhalter 1986, Probabilistic prediction in patient management and clinical trials (the second test).

    >>> round(calibration_p_value(np.ones(4, bool), np.full(4, 0.5)), 4)  # four heads: z = 2, p = .0455, doubled
    0.091
    """
    missed, spread = labels - probabilities, probabilities * (1.0 - probabilities)
    weight = 1.0 - 2.0 * probabilities
    level = _p_value(float(missed.sum()), float(spread.sum()))
    return min(1.0, 2.0 * min(level, _p_value(float((missed * weight).sum()), float((weight**2 * spread).sum()))))


def _p_value(missed: float, variance: float) -> float:
    if variance == 0.0:
        return 1.0 if missed == 0.0 else 0.0
    return float(2.0 * norm.sf(abs(missed) / math.sqrt(variance)))


def _figures(
    labels: Labels, probabilities: Array, threshold: float, ranked: Callable[[Labels], Ranking]
) -> dict[str, float]:
    told = probabilities >= threshold
    found = float(np.count_nonzero(labels & told))
    one_class = not labels.any() or bool(labels.all())
    return {
        "churned_share": float(labels.mean()),
        "auc": math.nan if one_class else ranked(labels).auc(),
        "brier": brier(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
        "accuracy": float(np.mean(labels == told)),
        "precision": _ratio(found, float(np.count_nonzero(told))),
        "recall": _ratio(found, float(np.count_nonzero(labels))),
    }


def _estimated(name: str, expected: float, drawn: Array) -> EstimatedFigure:
    defined = drawn[~np.isnan(drawn)]
    if defined.size == 0:
        return EstimatedFigure(name, expected, math.nan, math.nan)
    low, high = np.quantile(defined, [_TAIL, 1.0 - _TAIL])
    return EstimatedFigure(name, expected, float(low), float(high))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else math.nan


def _check(probabilities: Array) -> None:
    if probabilities.ndim != 1 or not ((probabilities >= 0.0) & (probabilities <= 1.0)).all():
        raise DataError("an estimate of quality needs probabilities from 0 to 1, one a customer")
