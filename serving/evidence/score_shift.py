"""How far one sample of scores or inputs lies from another: the population stability index, over one's quantile bins.

The one definition: the gates of a rollout compare a challenger's scores with the champion's by it, `training.drift` the
inputs of today with those a model was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from features.errors import ArtefactError, NotEnoughDataError
from serving import strict_json

__all__ = ["MOVED", "MOVED_MUCH", "Bins", "Drift", "DriftLevel", "drift_between", "psi", "psi_by_chance", "score_shift"]

Array = npt.NDArray[np.float64]
DriftLevel = Literal["steady", "moved", "moved much"]

MOVED, MOVED_MUCH = 0.10, 0.25
"""Above the first a sample has moved, above the second it has moved much; the limits that credit scoring uses."""

_OWN_BIN_UP_TO = 10
_CHANCE_LEVEL = 0.99
_HALF_A_ROW = 0.5
_WHAT = "drift.json"


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of one column and how many reference rows fell into each.

    edges: float64 (b - 1,), ascending; bin k holds the values in `(edges[k - 1], edges[k]]`, the outer bins are open.
    counts: int64 (b + 1,); the last one counts the missing, which are a bin of their own.
    """

    edges: Array
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: Array, n_bins: int = 10, *, categorical: bool = False) -> Bins:
        """Tenths of values, float64 (n,), by quantiles, equal quantiles merged; a bin a value where there are few.

        A column of at most 10 different values, or a categorical one, gets a bin a value. NaN is missing.
        """
        empty = cls(_edges(values, n_bins, categorical), np.empty(0, np.int64))
        return cls(empty.edges, empty.count(values))

    def count(self, values: Array) -> npt.NDArray[np.int64]:
        """How many of `values`, float64 (n,), fall into each bin, int64 (b + 1,); NaN is missing."""
        missing = np.isnan(values)
        place = np.where(missing, self.edges.size + 1, np.searchsorted(self.edges, values, side="left"))
        return np.bincount(place, minlength=self.edges.size + 2).astype(np.int64)

    def to_manifest(self) -> dict[str, object]:
        """The bins as JSON values."""
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist()}

    @classmethod
    def from_manifest(cls, manifest: object) -> Bins:
        """The bins that `to_manifest` wrote.

        Raises:
            ArtefactError: edges and counts are missing or do not fit together.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} holds bins that are no JSON object; train the model again")
        edges, counts = (strict_json.numbers(manifest, key, _WHAT) for key in ("edges", "counts"))
        rising = bool((np.diff(edges) > 0).all())
        if counts.size != edges.size + 2 or not rising or (counts < 0).any() or counts.sum() <= 0:
            raise ArtefactError(f"{_WHAT} holds bins that do not fit together; train the model again")
        return cls(edges, counts.astype(np.int64))


@dataclass(frozen=True)
class Drift:
    """How far one input, or the score, has moved from a sample before to a sample now.

    psi: 0 is no change. by_chance: what two samples of this size differ by 99 times in 100 without any change.
    missing_before, missing_now: shares in [0, 1].
    """

    name: str
    psi: float
    by_chance: float
    missing_before: float
    missing_now: float

    @property
    def level(self) -> DriftLevel:
        """In a word; a figure that chance explains is steady however large it is."""
        if self.psi <= max(MOVED, self.by_chance):
            return "steady"
        return "moved much" if self.psi > MOVED_MUCH else "moved"


def score_shift(champion: Array, challenger: Array) -> Drift:
    """How far the challenger's scores lie from the champion's, float64 (n,) and (m,), by tenths of the champion's.

    NaN, which no sound release answers, is a bin of its own. On the same customers the two samples move
    together, and chance explains less than `by_chance`, which is of samples apart.

    Raises:
        NotEnoughDataError: a sample has no scores.

    >>> scores = np.linspace(0.0, 1.0, 1_000)
    >>> score_shift(scores, scores).level, score_shift(scores, np.full(1_000, 0.5)).level
    ('steady', 'moved much')
    """
    bins = Bins.of(champion)
    return drift_between("score", bins.counts, bins.count(challenger))


def drift_between(name: str, then: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> Drift:
    """Drift between two samples counted in the same bins, int64 (b + 1,), the last bin the missing.

    Raises:
        NotEnoughDataError: a sample is empty.
    """
    moved = psi(then, now)
    used = int(np.count_nonzero(then + now))
    n_then, n_now = int(then.sum()), int(now.sum())
    return Drift(name, moved, psi_by_chance(used, n_then, n_now), float(then[-1] / n_then), float(now[-1] / n_now))


def psi(expected: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]) -> float:
    """Population stability index of two samples counted in the same bins: `sum (a - e) ln(a / e)` over their shares.

    A share is `(count + 1/2) / (n + bins / 2)`, so an empty bin counts as half a row and the index stays finite. Bins
    empty in both samples are left out.

    Raises:
        NotEnoughDataError: a sample is empty.

    Source: Siddiqi 2006, Credit Risk Scorecards; it is the divergence J of Kullback and Leibler 1951.

    >>> psi(np.array([500, 500]), np.array([500, 500]))
    0.0
    >>> round(psi(np.array([600_000, 400_000]), np.array([400_000, 600_000])), 4)  # .2 ln 1.5 + .2 ln 1.5
    0.1622
    """
    used = (expected + actual) > 0
    first, second = expected[used] + _HALF_A_ROW, actual[used] + _HALF_A_ROW
    if not expected.any() or not actual.any():
        raise NotEnoughDataError("drift compares two samples, and one of them has 0 rows")
    e, a = first / first.sum(), second / second.sum()
    return float(np.sum((a - e) * np.log(a / e)))


def psi_by_chance(n_bins: int, n_expected: int, n_actual: int, level: float = _CHANCE_LEVEL) -> float:
    """The index that two samples of one law stay below with probability `level`: `chi2_(bins - 1) (1 / n + 1 / m)`.

    Source: Yurdakul 2018, Statistical Properties of Population Stability Index.

    >>> round(psi_by_chance(11, 1_000_000, 200), 3)
    0.116
    """
    return float(chdtri(max(n_bins - 1, 1), 1.0 - level)) * (1.0 / n_expected + 1.0 / n_actual)


def _edges(values: Array, n_bins: int, categorical: bool) -> Array:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return np.empty(0)
    distinct = np.unique(present)
    if categorical or distinct.size <= _OWN_BIN_UP_TO:
        return distinct
    return np.unique(np.quantile(present, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))
