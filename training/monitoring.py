"""How a released churn model is doing now: drift of its inputs, its quality as far as it can be told without labels.

The bins of the training rows were logged with the model's run. Past snapshots that the model did not learn from, and
whose labels have arrived, show how far such estimates could be trusted.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.errors import ArtefactError, NotEnoughDataError
from features.instants import DAY_US, format_instant, parse_instant
from features.workspace import Workspace
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.evidence.score_shift import Drift
from training.churn_recording import DRIFT, MONITORING_FOLDER
from training.churn_settings import ChurnSettings
from training.drift import DriftReference, input_drift, score_drift
from training.log_data import LogData, Progress, read_log, silent
from training.population import eligible
from training.quality_estimate import CheckedEstimate, QualityEstimate, check_estimate, estimate_quality
from training.registry import ModelVersion
from training.release_moves import Contender
from training.training_set import label_cutoff

__all__ = ["CheckedSnapshot", "Monitored", "monitor_churn", "read_reference"]

Array = npt.NDArray[np.float64]
_LEAST_CUSTOMERS = 50
_FOR_TABLES = (
    "train on a newer table with labels, then holdfast compare churn challenger champion judges both on it; the card "
    "tells of slices"
)


@dataclass(frozen=True)
class CheckedSnapshot:
    """A past snapshot whose labels have arrived: the estimate made of it, and the truth."""

    as_of_us: int
    checked: CheckedEstimate


@dataclass(frozen=True, eq=False)
class Monitored:
    """How a churn model is doing at an instant.

    inputs: drift from the training rows, the largest first. scores: drift of the probabilities from the calibration
    slice, the season left out. estimate: quality as the probabilities promise. past: what such estimates were worth.
    """

    name: str
    as_of_us: int
    n_customers: int
    inputs: tuple[Drift, ...]
    scores: Drift
    estimate: QualityEstimate
    past: tuple[CheckedSnapshot, ...]

    @property
    def moved(self) -> tuple[Drift, ...]:
        """The inputs that moved, the most first."""
        return tuple(drift for drift in self.inputs if drift.level != "steady")

    @property
    def sentences(self) -> tuple[str, ...]:
        """What there is to know, in words."""
        area, share = self.estimate.of("auc"), self.estimate.of("churned_share")
        much = sum(drift.level == "moved much" for drift in self.moved)
        drift = (
            f"{len(self.moved)} of {len(self.inputs)} inputs have moved since training, {much} of them much; the "
            f"scores: {self.scores.level} (stability index {self.scores.psi:.2f})."
        )
        promise = (
            f"If its probabilities hold, {share.expected:.1%} of {self.n_customers:,} customers will leave and the AUC "
            f"will be {area.expected:.3f} (95% range {area.low:.3f} to {area.high:.3f})."
        )
        return drift, promise, self._past_sentence()

    def _past_sentence(self) -> str:
        if not self.past:
            return "No labels have arrived yet of a snapshot that it did not learn from: the estimate is unproven."
        held = sum(snapshot.checked.calibrated for snapshot in self.past)
        off = max(abs(s.checked.of("churned_share").true - s.checked.of("churned_share").expected) for s in self.past)
        missed = max(abs(s.checked.of("auc").true - s.checked.of("auc").expected) for s in self.past)
        return (
            f"At {len(self.past)} past snapshots such an estimate held {held} times; at worst it was {off:.1%} off in "
            f"the share that left and {missed:.3f} in the AUC."
        )

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values; undefined ones are null."""
        return {
            "model": self.name,
            "as_of": format_instant(self.as_of_us),
            "customers": self.n_customers,
            "inputs": [_drift_json(drift) for drift in self.inputs],
            "scores": _drift_json(self.scores),
            "threshold": self.estimate.threshold,
            "confusion": dict(zip(_CONFUSION, self.estimate.confusion, strict=True)),
            "estimate": {
                f.name: {"expected": _defined(f.expected), "low": _defined(f.low), "high": _defined(f.high)}
                for f in self.estimate.figures
            },
            "past": [
                {
                    "as_of": format_instant(snapshot.as_of_us),
                    "customers": snapshot.checked.n,
                    "calibrated": snapshot.checked.calibrated,
                    "p_value": snapshot.checked.p_value,
                    "figures": {
                        f.name: {"expected": _defined(f.expected), "true": _defined(f.true), "held": f.held}
                        for f in snapshot.checked.figures
                    },
                }
                for snapshot in self.past
            ],
            "sentences": list(self.sentences),
        }


_CONFUSION = ("told_and_leaves", "told_and_stays", "untold_and_leaves", "untold_and_stays")


def read_reference(version: ModelVersion) -> DriftReference:
    """What the training rows of a version looked like, as logged with its run.

    Raises:
        ArtefactError: it was not logged, or was altered since.
    """
    path = version.folder.parent / MONITORING_FOLDER / DRIFT
    try:
        data = path.read_bytes()
    except OSError:
        raise ArtefactError(
            f"{version.name} {version.version} was logged without {DRIFT}, so its drift cannot be told; train again"
        ) from None
    if hashlib.sha256(data).hexdigest() != version.tags.get("drift_digest"):
        raise ArtefactError(f"{DRIFT} of {version.name} {version.version} was altered since training; train again")
    return DriftReference.from_json(data)


def monitor_churn(
    workspace: Workspace,
    side: Contender,
    settings: ChurnSettings,
    *,
    as_of_us: int | None = None,
    progress: Progress = silent,
) -> Monitored:
    """Monitor a release or version of the churn model on the event log as of an instant, by default after its end.

    The question is the one that the version answers. Past snapshots are `step_days` apart, the latest first, back to
    the instant up to which the version looked at outcomes.

    Raises:
        ConfigurationError: the version reads a labelled table.
        ArtefactError: what the training rows looked like is not known, or the version reads another feature set.
        NotEnoughDataError: fewer than 50 customers are eligible at the instant.
    """
    side.require_log("monitoring", _FOR_TABLES)
    version, model, bands = side.version, side.model, side.bands
    if version is None:
        raise ArtefactError(f"the run that made {side.name} is not in this workspace, so its drift cannot be told")
    reference = read_reference(version)
    if model.fingerprint != CHURN_FEATURES.fingerprint() or reference.fingerprint != model.fingerprint:
        raise ArtefactError(
            f"{version.name} {version.version} reads feature set {model.fingerprint[:12]}, this code computes "
            f"{CHURN_FEATURES.fingerprint()[:12]}; train again"
        )
    asked = replace(settings, problem=side.problem or settings.problem)
    progress("reading the event log")
    data = read_log(workspace)
    instant = data.known_us if as_of_us is None else as_of_us
    progress("scoring the eligible customers of now")
    values = _eligible_values(data, instant, asked)
    margins = model.margins(values)
    said = model.calibrated(margins, instant)
    estimate = _estimate(said, bands, settings, 0)
    progress("checking past estimates whose labels have arrived")
    return Monitored(
        name=side.name,
        as_of_us=instant,
        n_customers=said.size,
        inputs=input_drift(reference, values),
        scores=score_drift(reference, model.calibrated(margins)),
        estimate=estimate,
        past=_past(data, version, model, bands, asked, instant),
    )


def _eligible_values(data: LogData, as_of_us: int, settings: ChurnSettings) -> Array:
    rows = np.flatnonzero(eligible(data.view, as_of_us, settings)).astype(np.int64)
    if rows.size < _LEAST_CUSTOMERS:
        raise NotEnoughDataError(
            f"{rows.size} customers are eligible at {format_instant(as_of_us)}; at least {_LEAST_CUSTOMERS} are needed "
            "to tell how a model is doing; choose another instant"
        )
    values = np.array(compute(data.view.select(rows), CHURN_FEATURES, as_of_us).values, dtype=np.float64)
    values[:, np.isin(CHURN_FEATURES.names, settings.problem.barred(CHURN_FEATURES))] = np.nan
    return values


def _estimate(said: Array, bands: Bands, settings: ChurnSettings, place: int) -> QualityEstimate:
    rng = np.random.default_rng([settings.seed, 5, place])
    return estimate_quality(said, rng, threshold=bands.high, replicates=settings.bootstrap_replicates)


def _past(
    data: LogData, version: ModelVersion, model: ChurnModel, bands: Bands, settings: ChurnSettings, as_of_us: int
) -> tuple[CheckedSnapshot, ...]:
    """Snapshots from the end of what the version learnt to the latest one whose labels have arrived by `as_of`."""
    learnt_us = parse_instant(version.tags["learnt_until"])
    latest = (min(as_of_us, data.end_us) - settings.horizon_us) // DAY_US * DAY_US
    found = []
    for place, instant in enumerate(range(latest, learnt_us - 1, -settings.step_days * DAY_US), start=1):
        rows = label_cutoff(
            data.view, CHURN_FEATURES, instant, settings, observed_until_us=data.end_us, known_us=as_of_us
        )
        if rows.n_rows < _LEAST_CUSTOMERS or rows.labels.all() or not rows.labels.any():
            continue
        said = model.probabilities(rows.values, instant)
        checked = check_estimate(_estimate(said, bands, settings, place), rows.labels, said)
        found.append(CheckedSnapshot(instant, checked))
    return tuple(found[::-1])


def _drift_json(drift: Drift) -> dict[str, Any]:
    return {
        "name": drift.name,
        "psi": drift.psi,
        "by_chance": drift.by_chance,
        "level": drift.level,
        "missing_before": drift.missing_before,
        "missing_now": drift.missing_now,
    }


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
