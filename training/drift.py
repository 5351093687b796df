"""How far the inputs of today are from those a model was trained on: a population stability index for each feature.

Drift alone is no fault: it says that the model is being asked about other customers than it learnt from. Whether its
answers have become worse is told by `training.quality_estimate`.
"""

from __future__ import annotations

import hashlib
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
    "Bins",
    "Drift",
    "DriftLevel",
    "DriftReference",
    "drift_reference",
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


@dataclass(frozen=True, eq=False)
class DriftReference:
    """What a model was fitted on looked like; logged with the run, read by `holdfast monitor`.

    fingerprint: of the feature set. bins: of the training rows, one a feature, in the order of `feature_names`.
    scores: of the probabilities of the calibration slice, the season left out.
    """

    feature_names: tuple[str, ...]
    fingerprint: str
    bins: tuple[Bins, ...]
    scores: Bins

    @property
    def digest(self) -> str:
        """sha256 of the JSON, to be kept with the registered version."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """The reference as strict JSON."""
        content = {
            "feature_names": list(self.feature_names),
            "fingerprint": self.fingerprint,
            "bins": [bins.to_manifest() for bins in self.bins],
            "scores": self.scores.to_manifest(),
        }
        return strict_json.write_object(content)

    @classmethod
    def from_json(cls, data: bytes) -> DriftReference:
        """The reference that `to_json` wrote.

        Raises:
            ArtefactError: it is cut short, altered, or describes another number of features than it names.
        """
        content = strict_json.read_object(data, _WHAT)
        names, rows = strict_json.texts(content, "feature_names", _WHAT), content.get("bins")
        if not isinstance(rows, list) or len(rows) != len(names):
            raise ArtefactError(f"{_WHAT} needs the bins of {len(names)} features; train the model again")
        fingerprint = strict_json.text(content, "fingerprint", _WHAT)
        return cls(names, fingerprint, tuple(map(Bins.from_manifest, rows)), Bins.from_manifest(content.get("scores")))


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


def drift_reference(
    values: Array, scores: Array, feature_names: Sequence[str], fingerprint: str, *, categories: Sequence[str] = ()
) -> DriftReference:
    """Bins of every column of the training rows, float64 (n, f), and of the scores of the calibration slice, (m,).

    `categories` names the categorical columns.

    Raises:
        DataError: there are no rows or no scores, or another number of columns than names.
    """
    if values.ndim != 2 or values.shape[1] != len(feature_names) or 0 in (values.shape[0], scores.size):
        raise DataError(f"bins need scores and rows of {len(feature_names)} features, not shape {values.shape}")
    bins = [Bins.of(values[:, column], categorical=name in categories) for column, name in enumerate(feature_names)]
    return DriftReference(tuple(feature_names), fingerprint, tuple(bins), Bins.of(scores))


def input_drift(reference: DriftReference, values: Array) -> tuple[Drift, ...]:
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


def score_drift(reference: DriftReference, scores: Array) -> Drift:
    """Drift of the probabilities themselves, float64 (n,), the season left out.

    Raises:
        NotEnoughDataError: there are no scores.
    """
    return _drift("churn_probability", reference.scores.counts, reference.scores.count(scores))


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
