"""Two versions of a model on the same rows, and the decision about promoting one.

Both are judged at the challenger's own test cut-off, on the log version it was trained with, by the scorer and the
slates that the service gives. A version that learnt from what happened after that cut-off is not judged there, because
it would be told the answers. The difference comes with a 95% interval.

A released recommender is fitted on the whole log, so it cannot be judged on that log's last days; the figures of its
twin that saw nothing of them stand for it. They are compared with the champion's twin if that was judged on the same
slice, or else with the champion itself if it was fitted before the slice began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from features.churn_features import CHURN_FEATURES
from features.compute import FeatureTable
from features.errors import ArtefactError, ConfigurationError
from features.instants import parse_instant
from features.workspace import Workspace
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.recommender import Recommender
from serving.scoring import score_churn
from training.churn_files import read_churn_parts
from training.churn_metrics import auc, average_precision, bootstrap_over_customers, brier, expected_calibration_error
from training.churn_problem import ChurnProblem
from training.jobs import Progress, read_log, recommender_metrics, silent
from training.promotion import NO_CHAMPION, Measured, PromotionDecision, PromotionRule, decide
from training.recommender_evaluation import evaluate_recommender
from training.registry import CHAMPION, CHURN, RECOMMENDER, ModelVersion, Registry
from training.settings import Settings
from training.standing import why_unreadable
from training.table_comparing import compared_rows, is_table
from training.training_set import TrainingSet, label_cutoff

__all__ = ["Comparison", "baselines_of", "compare_versions", "decide_promotion"]

Floats = npt.NDArray[np.float64]
Judge = Callable[[Workspace, Registry, ModelVersion, ModelVersion, Settings, Progress], "Comparison"]


@dataclass(frozen=True)
class Comparison:
    """Two versions on one slice. difference: 95% interval of challenger minus champion, in the rule's metric."""

    challenger: Measured
    champion: Measured
    difference: tuple[float, float]


def compare_versions(
    workspace: Workspace,
    registry: Registry,
    challenger: ModelVersion,
    champion: ModelVersion,
    settings: Settings,
    progress: Progress = silent,
) -> Comparison:
    """Judge two versions of one model on the same rows.

    Raises:
        ConfigurationError: they are versions of different models.
        ArtefactError: a file was altered, or a version reads another feature set or answers another question.
    """
    if challenger.name != champion.name:
        raise ConfigurationError(f"{challenger.name} and {champion.name} are different models; compare two of one")
    return _JUDGES[challenger.name](workspace, registry, challenger, champion, settings, progress)


def decide_promotion(
    workspace: Workspace, registry: Registry, version: ModelVersion, settings: Settings, progress: Progress = silent
) -> PromotionDecision:
    """Decide about a version by the settings' rule: against its baselines, and against the champion on the same rows.

    A version that is itself a baseline, for want of data (see `training.data_gate`), need not beat baselines, and
    never takes the place of a full model. A champion that this code cannot read counts as none (see
    `training.standing`), and the reasons say so.

    Raises:
        ConfigurationError: the version is the champion already.
    """
    if CHAMPION in version.aliases:
        raise ConfigurationError(f"{version.name} {version.version} is the champion already; train a new challenger")
    rule = _rule(version.name, settings)
    recorded = registry.metrics(version)
    champion = registry.find(version.name, CHAMPION)
    name = f"version {version.version}"
    baselines = {} if _is_baseline(version) else baselines_of(recorded)
    alone = Measured(name, version.tags.get("test_as_of", ""), recorded)
    if champion is None:
        return decide(alone, None, baselines, rule)
    try:
        fallen = why_unreadable(registry, champion)
        if fallen is not None:
            return _after_fallen(registry, champion, fallen, version, decide(alone, None, baselines, rule))
    except ArtefactError as error:
        return PromotionDecision(False, (f"not comparable: {error}",), {})
    if _is_baseline(version) and not _is_baseline(champion):
        why = f"{name} is a baseline and the champion a full model: {version.tags.get('gate', 'too few data')}"
        return PromotionDecision(False, (why,), {})
    try:
        found = compare_versions(workspace, registry, version, champion, settings, progress)
    except ArtefactError as error:
        return PromotionDecision(False, (f"not comparable: {error}",), {})
    return decide(found.challenger, found.champion, baselines, rule, found.difference)


def _after_fallen(
    registry: Registry, champion: ModelVersion, fallen: str, version: ModelVersion, decision: PromotionDecision
) -> PromotionDecision:
    """What was decided as if there were no champion, and why; what cannot be read itself never follows."""
    unread = why_unreadable(registry, version)
    if unread is not None:
        return PromotionDecision(False, (f"this code cannot read version {version.version} itself: {unread}",), {})
    why = f"the champion version {champion.version} counts as none, because this code cannot read it: {fallen}"
    return replace(decision, reasons=(*(said for said in decision.reasons if said != NO_CHAMPION), why))


def _is_baseline(version: ModelVersion) -> bool:
    return version.tags.get("baseline") == "true"


def baselines_of(recorded: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The baselines' figures among a run's metrics.

    >>> baselines_of({"auc": 0.8, "baseline.recency.auc": 0.7})
    {'recency': {'auc': 0.7}}
    """
    found: dict[str, dict[str, float]] = {}
    for key, value in recorded.items():
        if key.startswith("baseline."):
            _, name, metric = key.split(".", 2)
            found.setdefault(name, {})[metric] = value
    return found


def _rule(name: str, settings: Settings) -> PromotionRule:
    return settings.promotion.churn if name == CHURN else settings.promotion.recommender


def _judge_churn(
    workspace: Workspace,
    registry: Registry,
    challenger: ModelVersion,
    champion: ModelVersion,
    settings: Settings,
    progress: Progress,
) -> Comparison:
    if is_table(challenger) or is_table(champion):
        progress("judging both versions on the customers kept apart of the challenger's table")
        models = {"ours": _churn_model(registry, challenger), "theirs": _churn_model(registry, champion)}
        rows = compared_rows(workspace, challenger, champion, models["ours"].feature_names)
        said = {name: _said(model, rows) for name, model in models.items()}
        return _compared(challenger, champion, said, rows, settings)
    for version in (challenger, champion):
        _refuse_told(version, challenger)
    ours, theirs = _churn_model(registry, challenger), _churn_model(registry, champion)
    if (ours.horizon_days, ours.gap_days) != (theirs.horizon_days, theirs.gap_days):
        raise ArtefactError(
            f"one version tells {ours.horizon_days} days after a gap of {ours.gap_days}, the other "
            f"{theirs.horizon_days} after {theirs.gap_days}: they answer different questions"
        )
    asked = replace(settings.churn, problem=_question(challenger, champion, settings, ours))
    progress("reading the event log")
    data = read_log(workspace, int(challenger.tags["log_version"]))
    as_of_us = parse_instant(challenger.tags["test_as_of"])
    progress("judging both versions on the same customers")
    rows = label_cutoff(data.view, CHURN_FEATURES, as_of_us, asked, observed_until_us=data.end_us)
    said = {"ours": _said(ours, rows), "theirs": _said(theirs, rows)}
    return _compared(challenger, champion, said, rows, settings)


def _question(challenger: ModelVersion, champion: ModelVersion, settings: Settings, model: ChurnModel) -> ChurnProblem:
    """What both versions answer, as recorded with them; the settings' question where a version records none."""
    asked = [
        ChurnProblem.from_json(version.tags["question"])
        for version in (challenger, champion)
        if "question" in version.tags
    ]
    if len(asked) == 2 and not asked[0].asks_the_same(asked[1]):
        raise ArtefactError(
            f"version {challenger.version} answers the problem {asked[0].name} ({asked[0].sentence()}), version "
            f"{champion.version} {asked[1].name} ({asked[1].sentence()}): they answer different questions"
        )
    return asked[0] if asked else settings.churn.problem.over(model.horizon_days, model.gap_days)


def _churn_model(registry: Registry, version: ModelVersion) -> ChurnModel:
    return read_churn_parts(registry.files(version)).model


def _said(model: ChurnModel, rows: TrainingSet) -> Floats:
    """Probabilities as the service would have said them; a model of another feature set is refused there."""
    keys = np.array([str(row) for row in rows.customer_rows], dtype=np.object_)
    table = FeatureTable(keys, rows.cutoffs[-1], rows.feature_names, rows.values, rows.fingerprint)
    return score_churn(model, Bands(0.0, 1.0), table).churn_probability


def _compared(
    challenger: ModelVersion, champion: ModelVersion, said: Mapping[str, Floats], rows: TrainingSet, settings: Settings
) -> Comparison:
    labels, metric = rows.labels, settings.promotion.churn.metric
    if metric not in _CHURN_FIGURES:
        raise ConfigurationError(f"promotion.churn.metric is {metric}; known: {', '.join(_CHURN_FIGURES)}")
    figure = _CHURN_FIGURES[metric]

    def difference(weights: Floats) -> dict[str, float]:
        return {metric: figure(labels, said["ours"], weights) - figure(labels, said["theirs"], weights)}

    rng = np.random.default_rng([settings.churn.seed, 3])
    interval = bootstrap_over_customers(difference, rows.customer_rows, rng, settings.churn.bootstrap_replicates)
    data = challenger.tags.get("stored_table") or f"log {challenger.tags['log_version']}"
    slice_name = f"{data} at {challenger.tags['test_as_of']}, {rows.n_rows} customers"

    def measured(version: ModelVersion, probabilities: Floats) -> Measured:
        figures = {name: of(labels, probabilities, None) for name, of in _CHURN_FIGURES.items()}
        figures["ece"] = expected_calibration_error(labels, probabilities)
        return Measured(f"version {version.version}", slice_name, figures)

    found = interval[metric]
    return Comparison(measured(challenger, said["ours"]), measured(champion, said["theirs"]), (found.low, found.high))


def _judge_recommender(
    workspace: Workspace,
    registry: Registry,
    challenger: ModelVersion,
    champion: ModelVersion,
    settings: Settings,
    progress: Progress,
) -> Comparison:
    slice_name = f"log {challenger.tags['log_version']} at {challenger.tags['test_as_of']}"
    ours = Measured(f"version {challenger.version}", slice_name, registry.metrics(challenger))
    name = f"version {champion.version}"
    if all(challenger.tags[tag] == champion.tags[tag] for tag in ("log_version", "test_as_of")):
        theirs = Measured(name, slice_name, registry.metrics(champion))
    else:
        _refuse_told(champion, challenger)
        progress("reading the event log")
        data = read_log(workspace, int(challenger.tags["log_version"]))
        progress("judging the champion at the challenger's test cut-off")
        recommender = Recommender.from_files(registry.files(champion))
        as_of_us = parse_instant(challenger.tags["test_as_of"])
        report = evaluate_recommender(recommender, data.view, as_of_us, settings.evaluation)
        theirs = Measured(name, slice_name, recommender_metrics(report))
    return Comparison(ours, theirs, _unpaired(ours.metrics, theirs.metrics, settings.promotion.recommender.metric))


def _unpaired(ours: Mapping[str, float], theirs: Mapping[str, float], metric: str) -> tuple[float, float]:
    """An interval for the difference of two figures from the interval of each; wider than a paired one.

    >>> _unpaired({"f": 5.0, "f_ci_low": 2.0, "f_ci_high": 8.0}, {"f": 4.0, "f_ci_low": 0.0, "f_ci_high": 8.0}, "f")
    (-4.0, 6.0)
    """
    halves = [
        (of.get(f"{metric}_ci_high", math.nan) - of.get(f"{metric}_ci_low", math.nan)) / 2 for of in (ours, theirs)
    ]
    difference, half = ours.get(metric, math.nan) - theirs.get(metric, math.nan), math.hypot(*halves)
    return difference - half, difference + half


def _refuse_told(version: ModelVersion, challenger: ModelVersion) -> None:
    learnt, test = version.tags["learnt_until"], challenger.tags["test_as_of"]
    if parse_instant(learnt) > parse_instant(test):
        raise ArtefactError(
            f"version {version.version} learnt from what happened up to {learnt}, so it cannot be judged fairly at "
            f"{test}; wait for more events, or promote by --force and say why"
        )


_CHURN_FIGURES: dict[str, Callable[[npt.NDArray[np.bool_], Floats, Floats | None], float]] = {
    "auc": auc,
    "average_precision": average_precision,
    "brier": brier,
}
_JUDGES: dict[str, Judge] = {CHURN: _judge_churn, RECOMMENDER: _judge_recommender}
