"""How far the inputs of today are from those a model was trained on: a population stability index for each feature.

Drift alone is no fault: it says that the model is being asked about other customers than it learnt from. Whether its
answers have become worse is told by `training.quality_estimate`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError, DataError
from serving import strict_json
from serving.evidence.score_shift import Bins, Drift, drift_between

__all__ = ["DriftReference", "drift_reference", "input_drift", "score_drift"]

Array = npt.NDArray[np.float64]
_WHAT = "drift.json"


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
        drift_between(name, bins.counts, bins.count(values[:, column]))
        for column, (name, bins) in enumerate(zip(reference.feature_names, reference.bins, strict=True))
    ]
    return tuple(sorted(found, key=lambda drift: (-drift.psi, drift.name)))


def score_drift(reference: DriftReference, scores: Array) -> Drift:
    """Drift of the probabilities themselves, float64 (n,), the season left out.

    Raises:
        NotEnoughDataError: there are no scores.
    """
    return drift_between("churn_probability", reference.scores.counts, reference.scores.count(scores))
