"""How far the inputs of today are from those a model was trained on: a population stability index for each feature.

Drift alone is no fault: it says that the model is being asked about other customers than it learnt from. Whether its
answers have become worse is told by `training.quality_estimate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from features.errors import ArtefactError, DataError, NotEnoughDataError
from serving import strict_json

__all__ = [
    "MOVED",
    "MOVED_MUCH",
    "Drift",
    "DriftLevel",
    "InputBins",
    "InputReference",
    "bin_inputs",
    "input_drift",
    "psi",
    "psi_by_chance",
    "score_drift",
]

Array = npt.NDArray[np.float64]
DriftLevel = Literal["steady", "moved", "moved much"]

MOVED, MOVED_MUCH = 0.10, 0.25
"""Above the first an input has moved, above the second it has moved much; the limits that credit scoring uses."""

_OWN_BIN_UP_TO = 10
_CHANCE_LEVEL = 0.99
_HALF_A_ROW = 0.5
_WHAT = "inputs.json"


@dataclass(frozen=True, eq=False)
class InputBins:
    """The bins of one feature and how many reference rows fell into each.

    edges: float64 (b - 1,), ascending; bin k holds the values in `(edges[k - 1], edges[k]]`, the outer bins are open.
    counts: int64 (b + 1,); the last one counts the missing, which are a bin of their own.
    """

    edges: Array
    counts: npt.NDArray[np.int64]

    def count(self, values: Array) -> npt.NDArray[np.int64]:
        """How many of `values`, float64 (n,), fall into each bin, int64 (b + 1,); NaN is missing."""
        missing = np.isnan(values)
        place = np.where(missing, self.edges.size + 1, np.searchsorted(self.edges, values, side="left"))
        return np.bincount(place, minlength=self.edges.size + 2).astype(np.int64)


@dataclass(frozen=True, eq=False)
class InputReference:
    """What the inputs of a model's training rows looked like; logged with the run, read by `holdfast monitor`.

    fingerprint: of the feature set. bins: one a feature, in the order of `feature_names`.
    """

    feature_names: tuple[str, ...]
    fingerprint: str
    bins: tuple[InputBins, ...]

    def to_json(self) -> bytes:
        """The reference as strict JSON."""
        rows = [{"edges": b.edges.tolist(), "counts": b.counts.tolist()} for b in self.bins]
        content = {"feature_names": list(self.feature_names), "fingerprint": self.fingerprint, "bins": rows}
        return strict_json.write_object(content)

    @classmethod
    def from_json(cls, data: bytes) -> InputReference:
        """The reference that `to_json` wrote.

        Raises:
            ArtefactError: it is cut short, altered, or describes another number of features than it names.
        """
        content = strict_json.read_object(data, _WHAT)
        names, rows = strict_json.texts(content, "feature_names", _WHAT), content.get("bins")
        if not isinstance(rows, list) or len(rows) != len(names):
            raise ArtefactError(f"{_WHAT} needs the bins of {len(names)} features; train the model again")
        return cls(names, strict_json.text(content, "fingerprint", _WHAT), tuple(_read_bins(row) for row in rows))


@dataclass(frozen=True)
class Drift:
    """How far one input, or the score, has moved.

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
    return float(chi2.ppf(level, max(n_bins - 1, 1))) * (1.0 / n_expected + 1.0 / n_actual)


def bin_inputs(
    values: Array, feature_names: Sequence[str], fingerprint: str, *, categories: Sequence[str] = (), n_bins: int = 10
) -> InputReference:
    """Bins of every column of the training rows, float64 (n, f): tenths by quantiles, equal quantiles merged.

    A column of at most 10 different values, and every one named in `categories`, gets a bin a value. Missing is a bin
    of its own.

    Raises:
        DataError: there are no rows, or another number of columns than names.
    """
    if values.ndim != 2 or values.shape[1] != len(feature_names) or values.shape[0] == 0:
        raise DataError(f"bins need rows of {len(feature_names)} features, not shape {values.shape}")
    bins = []
    for column, name in enumerate(feature_names):
        edges = _edges(values[:, column], n_bins, name in categories)
        empty = InputBins(edges, np.zeros(edges.size + 2, np.int64))
        bins.append(InputBins(edges, empty.count(values[:, column])))
    return InputReference(tuple(feature_names), fingerprint, tuple(bins))


def input_drift(reference: InputReference, values: Array) -> tuple[Drift, ...]:
    """Drift of every feature between the reference rows and `values`, float64 (n, f), the largest first.

    Raises:
        DataError: the values have another number of columns.
        NotEnoughDataError: there are no rows.
    """
    if values.ndim != 2 or values.shape[1] != len(reference.feature_names):
        raise DataError(f"the reference knows {len(reference.feature_names)} features, not shape {values.shape}")
    found = [
        _drift(name, bins.counts, bins.count(values[:, column]))
        for column, (name, bins) in enumerate(zip(reference.feature_names, reference.bins, strict=True))
    ]
    return tuple(sorted(found, key=lambda drift: (-drift.psi, drift.name)))


def score_drift(reference: Array, n_reference: int, scores: Array, n_bins: int = 10) -> Drift:
    """Drift of the scores themselves, in tenths of the reference.

    Args:
        reference: ascending, evenly spaced quantiles of the scores back then, float64 (q,), as a churn model carries.
        n_reference: of how many rows they were taken.
        scores: of now, float64 (n,).
        n_bins: how many bins.
    """
    edges = _edges(reference, n_bins, categorical=False)
    bins = InputBins(edges, np.zeros(edges.size + 2, np.int64))
    then = np.rint(bins.count(reference) / reference.size * n_reference).astype(np.int64)
    return _drift("churn_probability", then, bins.count(scores))


def _edges(values: Array, n_bins: int, categorical: bool) -> Array:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return np.empty(0)
    distinct = np.unique(present)
    if categorical or distinct.size <= _OWN_BIN_UP_TO:
        return distinct
    return np.unique(np.quantile(present, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))


def _drift(name: str, then: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> Drift:
    used = int(np.count_nonzero(then + now))
    n_then, n_now = int(then.sum()), int(now.sum())
    moved = psi(then, now)
    return Drift(name, moved, psi_by_chance(used, n_then, n_now), float(then[-1] / n_then), float(now[-1] / n_now))


def _read_bins(row: object) -> InputBins:
    if not isinstance(row, Mapping):
        raise ArtefactError(f"{_WHAT} holds bins that are no JSON object; train the model again")
    edges, counts = (strict_json.numbers(row, key, _WHAT) for key in ("edges", "counts"))
    rising = bool((np.diff(edges) > 0).all())
    if counts.size != edges.size + 2 or not rising or (counts < 0).any() or counts.sum() <= 0:
        raise ArtefactError(f"{_WHAT} holds bins that do not fit together; train the model again")
    return InputBins(edges, counts.astype(np.int64))
