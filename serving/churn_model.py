"""The churn model as it is applied: boosted trees, a frozen calibrator and the distribution to rank against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError, DataError
from serving import strict_json
from serving.booster_text import check_booster_text, trees_only
from serving.calibration import BetaCalibrator, sigmoid
from serving.season import Season, season_from_manifest

__all__ = ["ChurnModel"]

Array = npt.NDArray[np.float64]
_FORMAT = 1
_WHAT = "churn.json"
_FILES = frozenset({"booster.txt", "churn.json"})
_ONE_THREAD_ROWS = 1_000


@dataclass(frozen=True, eq=False)
class ChurnModel:
    """A fitted, calibrated, complete model; there is no untrained state and nothing in it changes.

    feature_names, fingerprint: the feature set it reads, in order.
    horizon_days, gap_days: it tells the probability of no order in `[as_of + gap, as_of + gap + horizon)`.
    base_rate: share that churned in the calibration slice.
    reference: ascending probabilities of the calibration slice, float64 (q,), evenly spaced ranks 0 to 1.
    medians: what is usual, the training median of each feature, float64 (f,); NaN where no customer had a value.
    booster_text: LightGBM's text model; what stands behind its trees is dropped.
    season: how the base rate moves with the year; None where the log was too short to tell.
    """

    feature_names: tuple[str, ...]
    fingerprint: str
    horizon_days: int
    gap_days: int
    base_rate: float
    calibrator: BetaCalibrator
    reference: Array
    medians: Array
    booster_text: str
    season: Season | None = None
    n_trees: int = field(init=False)
    _booster: lgb.Booster = field(init=False, repr=False)
    _rank_at: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_arrays(self)
        object.__setattr__(self, "booster_text", trees_only(self.booster_text))
        object.__setattr__(self, "n_trees", check_booster_text(self.booster_text, self.feature_names))
        booster = lgb.Booster(model_str=self.booster_text)
        object.__setattr__(self, "_booster", booster)
        object.__setattr__(self, "_rank_at", _mean_ranks(self.reference))
        self.reference.setflags(write=False)
        self.medians.setflags(write=False)

    def margins(self, values: Array) -> Array:
        """Log-odds before calibration, float64 (n,), for values float64 (n, f); NaN is missing."""
        rows = self._checked(values)
        threads = 1 if rows.shape[0] <= _ONE_THREAD_ROWS else 0
        found: Array = np.asarray(
            self._booster.predict(rows, raw_score=True, num_threads=threads), dtype=np.float64
        ).reshape(rows.shape[0])
        return found

    def probabilities(self, values: Array, as_of_us: int | None = None) -> Array:
        """Calibrated probability of churning, float64 (n,) in [0, 1], for values float64 (n, f); NaN is missing.

        `as_of_us` is when the values were computed and brings the season in; without it, the season is that of the
        calibration slice.

        Raises:
            DataError: the values are of another shape, or infinite.
        """
        return self.calibrated(self.margins(values), as_of_us)

    def calibrated(self, margins: Array, as_of_us: int | None = None) -> Array:
        """`probabilities` from margins that are known already, float64 (n,)."""
        shift = 0.0 if self.season is None or as_of_us is None else self.season.at(as_of_us)
        return sigmoid(self.calibrator.log_odds(margins) + shift)

    def probability(self, row: Array, as_of_us: int | None = None) -> float:
        """The same for one customer's values, float64 (f,): bit for bit what `probabilities` gives."""
        return float(self.probabilities(np.asarray(row, dtype=np.float64).reshape(1, -1), as_of_us)[0])

    def contributions(self, values: Array) -> Array:
        """What each feature adds to the margin, float64 (n, f + 1); the last column is the average margin.

        A row's sum is its margin (to rounding).

        Source: Lundberg, Erion and Lee 2018, Consistent individualized feature attribution (TreeSHAP).
        """
        rows = self._checked(values)
        threads = 1 if rows.shape[0] <= _ONE_THREAD_ROWS else 0
        found: Array = np.asarray(
            self._booster.predict(rows, pred_contrib=True, num_threads=threads), dtype=np.float64
        ).reshape(rows.shape[0], len(self.feature_names) + 1)
        return found

    def percentile(self, probabilities: Array) -> Array:
        """Percent of the calibration slice's customers with a lower probability (ties count half), in [0, 100]."""
        at, ranks = self._rank_at
        return np.asarray(100.0 * np.interp(probabilities, at, ranks), dtype=np.float64)

    def to_files(self) -> dict[str, bytes]:
        """The model as files: text trees and JSON; no code, no pickle."""
        content: dict[str, object] = {
            "format": _FORMAT,
            "kind": "churn",
            "feature_names": list(self.feature_names),
            "fingerprint": self.fingerprint,
            "horizon_days": self.horizon_days,
            "gap_days": self.gap_days,
            "base_rate": self.base_rate,
            "calibrator": self.calibrator.to_manifest(),
            "season": None if self.season is None else self.season.to_manifest(),
            "reference": self.reference.tolist(),
            "medians": [None if math.isnan(median) else median for median in self.medians.tolist()],
        }
        return {"booster.txt": self.booster_text.encode("ascii"), "churn.json": strict_json.write_object(content)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> ChurnModel:
        """The model that `to_files` wrote.

        Raises:
            ArtefactError: a file is missing, extra, truncated, altered, of a newer format, or holds NaN.
        """
        if set(files) != _FILES:
            raise ArtefactError(f"a churn model is exactly the files {', '.join(sorted(_FILES))}")
        content = strict_json.read_object(files["churn.json"], _WHAT)
        if content.get("format") != _FORMAT or content.get("kind") != "churn":
            raise ArtefactError(
                f"{_WHAT} is not a churn model of format {_FORMAT}; load it with the version that wrote it"
            )
        try:
            booster_text = files["booster.txt"].decode("ascii")
        except UnicodeDecodeError:
            raise ArtefactError("booster.txt is not plain text; it was altered") from None
        if trees_only(booster_text) != booster_text:
            raise ArtefactError("booster.txt holds more than trees; it was altered")
        return cls(
            feature_names=strict_json.texts(content, "feature_names", _WHAT),
            fingerprint=strict_json.text(content, "fingerprint", _WHAT),
            horizon_days=strict_json.whole(content, "horizon_days", _WHAT, 1, 36_500),
            gap_days=strict_json.whole(content, "gap_days", _WHAT, 0, 36_500),
            base_rate=strict_json.number(content, "base_rate", _WHAT, 0.0, 1.0),
            calibrator=BetaCalibrator.from_manifest(content.get("calibrator")),
            season=season_from_manifest(content.get("season")),
            reference=strict_json.numbers(content, "reference", _WHAT),
            medians=strict_json.nullable_numbers(content, "medians", _WHAT),
            booster_text=booster_text,
        )

    def _checked(self, values: Array) -> Array:
        rows = np.ascontiguousarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise DataError(f"the model reads {len(self.feature_names)} features a row, not shape {rows.shape}")
        if np.isinf(rows).any():
            raise DataError("a feature value is infinite; missing is written as NaN")
        return rows


def _check_arrays(model: ChurnModel) -> None:
    n_features = len(model.feature_names)
    if n_features == 0 or len(set(model.feature_names)) != n_features:
        raise ArtefactError("a churn model needs features, each named once")
    if model.medians.shape != (n_features,) or np.isinf(model.medians).any():
        raise ArtefactError(f"a churn model over {n_features} features needs as many medians, none infinite")
    reference = model.reference
    if reference.ndim != 1 or reference.shape[0] < 2 or not np.isfinite(reference).all():
        raise ArtefactError("the reference distribution needs at least 2 finite probabilities")
    if reference[0] < 0 or reference[-1] > 1 or (np.diff(reference) < 0).any():
        raise ArtefactError("the reference distribution must rise from 0 to 1")
    if not 0 <= model.base_rate <= 1:
        raise ArtefactError("the base rate must lie from 0 to 1")


def _mean_ranks(reference: Array) -> tuple[Array, Array]:
    """Distinct reference values and the mean rank, in [0, 1], of each."""
    at, where = np.unique(reference, return_inverse=True)
    ranks = np.linspace(0.0, 1.0, reference.shape[0])
    return at, np.bincount(where, weights=ranks) / np.bincount(where)
