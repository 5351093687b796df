"""The churn model as it is applied: the parts of its margin, a frozen calibrator; and what it forecasts beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError, DataError
from serving import strict_json
from serving.calibration import BetaCalibrator, sigmoid
from serving.forecast import Forecast, assemble_forecast
from serving.latent_attrition import LatentAttrition
from serving.linear_part import LinearPart
from serving.season import Season, season_from_manifest
from serving.timing import Timing
from serving.trees import Trees
from serving.value import Value

__all__ = ["Awaits", "ChurnModel"]

Array = npt.NDArray[np.float64]
Awaits = Literal["return", "churn"]
_FORMAT = 3
_WHAT = "churn.json"
_MARGIN_TREES = "booster.txt"
_TIMING_TREES = "timing.txt"


@dataclass(frozen=True, eq=False)
class ChurnModel:
    """A fitted, calibrated, complete model; there is no untrained state and nothing in it changes.

    feature_names, fingerprint: the feature set it reads, in order.
    horizons_days, gap_days: the windows `[as_of + gap, as_of + gap + h)`, ascending; the last is the headline.
    base_rate: share that churned in the calibration slice.
    linear: the linear part of the margin.
    trees, tree_weight: what the trees add to it, times the weight; None for no trees.
    attrition: what the law of silence adds to it; None where the question or the features have no place for it.
    calibrator: from margins to log-odds of churning within the headline horizon.
    reference: ascending probabilities of the calibration slice, float64 (q,), evenly spaced ranks 0 to 1.
    medians: what is usual in training, float64 (f,): the median of each feature, the commonest code of a categorical
        one; NaN where no customer had a value.
    awaits: what the question waits for: "return" (churned is who has not returned by the horizon), or "churn" itself.
    categories: for each categorical feature the texts of its codes 0, 1, ...; its values are these codes.
    season: how the base rate moves with the year; None where the log was too short to tell.
    timing: when what is awaited happens; None where not learnt.
    value_windows: how much is ordered, one for each window learnt, ascending.
    baseline: the data did not suffice for a model; this one knows only few features, and is marked as such.
    """

    feature_names: tuple[str, ...]
    fingerprint: str
    horizons_days: tuple[int, ...]
    gap_days: int
    base_rate: float
    linear: LinearPart
    trees: Trees | None
    calibrator: BetaCalibrator
    reference: Array
    medians: Array
    tree_weight: float = 1.0
    attrition: LatentAttrition | None = None
    awaits: Awaits = "return"
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    season: Season | None = None
    timing: Timing | None = None
    value_windows: tuple[Value, ...] = ()
    baseline: bool = False
    _rank_at: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_arrays(self)
        _check_parts(self)
        object.__setattr__(self, "_rank_at", _mean_ranks(self.reference))
        self.reference.setflags(write=False)
        self.medians.setflags(write=False)

    @property
    def horizon_days(self) -> int:
        """The headline horizon, the longest."""
        return self.horizons_days[-1]

    @property
    def n_trees(self) -> int:
        """Trees behind the margin."""
        return 0 if self.trees is None else self.trees.n_trees

    def margins(self, values: Array) -> Array:
        """Log-odds before calibration, float64 (n,), for values float64 (n, f); NaN is missing.

        Raises:
            DataError: the values are of another shape, or infinite.
        """
        rows = self._checked(values)
        found = self.linear.margins(rows)
        if self.trees is not None:
            found += self.tree_weight * self.trees.margins(rows)
        if self.attrition is not None:
            found += self.attrition.margins(rows)
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
        return sigmoid(self._log_odds(margins, as_of_us))

    def probability(self, row: Array, as_of_us: int | None = None) -> float:
        """The same for one customer's values, float64 (f,): bit for bit what `probabilities` gives."""
        return float(self.probabilities(np.asarray(row, dtype=np.float64).reshape(1, -1), as_of_us)[0])

    def contributions(self, values: Array) -> Array:
        """What each feature adds to the margin, float64 (n, f + 1); the last column is what no feature does.

        Exact for the linear part; for the others see `contributions` there. A row's sum is its margin (to rounding).
        """
        rows = self._checked(values)
        found = self.linear.contributions(rows)
        if self.trees is not None:
            found += self.tree_weight * self.trees.contributions(rows)
        if self.attrition is not None:
            found += self.attrition.contributions(rows, self.medians)
        return found

    def forecast(self, values: Array, as_of_us: int | None = None, *, margins: Array | None = None) -> Forecast:
        """By horizon, when, and how much, for values float64 (n, f); `margins` saves computing them again.

        Raises:
            DataError: the values are of another shape, or infinite.
        """
        rows = self._checked(values)
        known = self.margins(rows) if margins is None else margins
        return assemble_forecast(
            rows,
            known,
            self._log_odds(known, as_of_us),
            horizons_days=self.horizons_days,
            returns=self.awaits == "return",
            as_of_us=as_of_us,
            timing=self.timing,
            value_windows=self.value_windows,
        )

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
            "horizons_days": list(self.horizons_days),
            "gap_days": self.gap_days,
            "awaits": self.awaits,
            "base_rate": self.base_rate,
            "baseline": self.baseline,
            "categories": {name: list(texts) for name, texts in self.categories.items()},
            "linear": self.linear.to_manifest(),
            "tree_weight": None if self.trees is None else self.tree_weight,
            "attrition": None if self.attrition is None else self.attrition.to_manifest(),
            "calibrator": self.calibrator.to_manifest(),
            "season": None if self.season is None else self.season.to_manifest(),
            "timing": None if self.timing is None else self.timing.to_manifest(),
            "value_windows": [window.to_manifest() for window in self.value_windows],
            "reference": self.reference.tolist(),
            "medians": [None if math.isnan(median) else median for median in self.medians.tolist()],
        }
        files = {_value_trees(window.days): window.amount.location.trees.to_bytes() for window in self.value_windows}
        if self.trees is not None:
            files[_MARGIN_TREES] = self.trees.to_bytes()
        if self.timing is not None:
            files[_TIMING_TREES] = self.timing.quantity.location.trees.to_bytes()
        return {**files, _WHAT: strict_json.write_object(content)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> ChurnModel:
        """The model that `to_files` wrote.

        Raises:
            ArtefactError: a file is missing, extra, truncated, altered, of another format, or holds NaN.
        """
        if _WHAT not in files:
            raise ArtefactError(f"a churn model needs the file {_WHAT}")
        content = strict_json.read_object(files[_WHAT], _WHAT)
        if content.get("format") != _FORMAT or content.get("kind") != "churn":
            raise ArtefactError(
                f"{_WHAT} is not a churn model of format {_FORMAT}; train again, or load it with the version that "
                "wrote it"
            )
        reader = _Reader(content, files, strict_json.texts(content, "feature_names", _WHAT))
        reader.check_names()
        horizons = strict_json.wholes(content, "horizons_days", _WHAT, 1, 36_500)
        awaits = strict_json.text(content, "awaits", _WHAT)
        if awaits not in ("return", "churn"):
            raise ArtefactError(f"{_WHAT} awaits something else than a return or a churn; it was altered")
        return cls(
            feature_names=reader.feature_names,
            fingerprint=strict_json.text(content, "fingerprint", _WHAT),
            horizons_days=horizons,
            gap_days=strict_json.whole(content, "gap_days", _WHAT, 0, 36_500),
            base_rate=strict_json.number(content, "base_rate", _WHAT, 0.0, 1.0),
            linear=LinearPart.from_manifest(content.get("linear"), len(reader.feature_names)),
            trees=reader.margin_trees(),
            attrition=reader.attrition(),
            calibrator=BetaCalibrator.from_manifest(content.get("calibrator")),
            reference=strict_json.numbers(content, "reference", _WHAT),
            medians=strict_json.nullable_numbers(content, "medians", _WHAT),
            tree_weight=1.0
            if content.get("tree_weight") is None
            else strict_json.number(content, "tree_weight", _WHAT),
            awaits=cast("Awaits", awaits),
            categories=reader.categories(),
            season=season_from_manifest(content.get("season")),
            timing=reader.timing(horizons),
            value_windows=reader.value_windows(),
            baseline=strict_json.flag(content, "baseline", _WHAT),
        )

    def _log_odds(self, margins: Array, as_of_us: int | None) -> Array:
        shift = 0.0 if self.season is None or as_of_us is None else self.season.at(as_of_us)
        return self.calibrator.log_odds(margins) + shift

    def _checked(self, values: Array) -> Array:
        rows = np.ascontiguousarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise DataError(f"the model reads {len(self.feature_names)} features a row, not shape {rows.shape}")
        if np.isinf(rows).any():
            raise DataError("a feature value is infinite; missing is written as NaN")
        return rows


@dataclass(frozen=True)
class _Reader:
    """The parts of a model's files that hang together."""

    content: Mapping[str, Any]
    files: Mapping[str, bytes]
    feature_names: tuple[str, ...]

    def check_names(self) -> None:
        _check_features(self.feature_names)
        names = {_WHAT} | {_value_trees(days) for days in self._value_days()}
        names |= {_MARGIN_TREES} if self.content.get("tree_weight") is not None else set()
        names |= {_TIMING_TREES} if self.content.get("timing") is not None else set()
        if set(self.files) != names:
            raise ArtefactError(f"this churn model is exactly the files {', '.join(sorted(names))}")

    def margin_trees(self) -> Trees | None:
        if self.content.get("tree_weight") is None:
            return None
        return Trees.from_bytes(self.files[_MARGIN_TREES], self.feature_names, _MARGIN_TREES)

    def attrition(self) -> LatentAttrition | None:
        manifest = self.content.get("attrition")
        return None if manifest is None else LatentAttrition.from_manifest(manifest, self.feature_names)

    def timing(self, horizons_days: tuple[int, ...]) -> Timing | None:
        if self.content.get("timing") is None:
            return None
        return Timing.from_manifest(self.content["timing"], horizons_days, self._number_trees(_TIMING_TREES))

    def value_windows(self) -> tuple[Value, ...]:
        return tuple(
            Value.from_manifest(entry, self._number_trees(_value_trees(days)))
            for entry, days in zip(self.content["value_windows"], self._value_days(), strict=True)
        )

    def categories(self) -> dict[str, tuple[str, ...]]:
        found = strict_json.section(self.content, "categories", _WHAT)
        return {name: strict_json.texts(found, name, _WHAT) for name in found}

    def _value_days(self) -> list[int]:
        entries = self.content.get("value_windows")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ArtefactError(f"{_WHAT} needs a list value_windows")
        return [strict_json.whole(entry, "days", _WHAT, 1, 36_500) for entry in entries]

    def _number_trees(self, name: str) -> Trees:
        return Trees.from_bytes(self.files[name], self.feature_names, name, "regression")


def _value_trees(days: int) -> str:
    return f"value_{days}.txt"


def _check_features(feature_names: tuple[str, ...]) -> None:
    if not feature_names or len(set(feature_names)) != len(feature_names):
        raise ArtefactError("a churn model needs features, each named once")


def _check_arrays(model: ChurnModel) -> None:
    _check_features(model.feature_names)
    n_features = len(model.feature_names)
    if model.medians.shape != (n_features,) or np.isinf(model.medians).any():
        raise ArtefactError(f"a churn model over {n_features} features needs as many medians, none infinite")
    reference = model.reference
    if reference.ndim != 1 or reference.shape[0] < 2 or not np.isfinite(reference).all():
        raise ArtefactError("the reference distribution needs at least 2 finite probabilities")
    if reference[0] < 0 or reference[-1] > 1 or (np.diff(reference) < 0).any():
        raise ArtefactError("the reference distribution must rise from 0 to 1")
    if not 0 <= model.base_rate <= 1:
        raise ArtefactError("the base rate must lie from 0 to 1")


def _check_parts(model: ChurnModel) -> None:
    horizons = model.horizons_days
    if not horizons or horizons[0] < 1 or list(horizons) != sorted(set(horizons)):
        raise ArtefactError("the horizons of a churn model are whole days, ascending, at least one")
    if not math.isfinite(model.tree_weight):
        raise ArtefactError("the trees' weight must be a finite number")
    if model.linear.n_features != len(model.feature_names):
        raise ArtefactError("the linear part was made for other features than the model names")
    numbers = [window.amount for window in model.value_windows] + ([model.timing.quantity] if model.timing else [])
    if model.attrition is not None and model.attrition.feature_names != model.feature_names:
        raise ArtefactError("the latent attrition was made for other features than the model names")
    for trees in (model.trees, *(number.location.trees for number in numbers)):
        if trees is not None and trees.feature_names != model.feature_names:
            raise ArtefactError("trees were made for other features than the model names")
    if model.timing is not None and model.timing.horizons_days != horizons:
        raise ArtefactError("the timing was made for other horizons than the model's")
    days = [window.days for window in model.value_windows]
    if days != sorted(set(days)):
        raise ArtefactError("the value windows must ascend, each there once")
    if not set(model.categories) <= set(model.feature_names):
        raise ArtefactError("a category belongs to a feature that the model does not name")


def _mean_ranks(reference: Array) -> tuple[Array, Array]:
    """Distinct reference values and the mean rank, in [0, 1], of each."""
    at, where = np.unique(reference, return_inverse=True)
    ranks = np.linspace(0.0, 1.0, reference.shape[0])
    return at, np.bincount(where, weights=ranks) / np.bincount(where)
