"""Churn scores as answered: history or snapshot in, the fields of the answer out, the decision kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import ArtefactError
from features.instants import format_instant
from serving.churn_gathering import Asked, ChurnRequest, Gathered, without_histories
from serving.decisions import Decision
from serving.explanations import Wanted, explanations
from serving.forecast_answers import forecast_fields, segment_fields
from serving.history_features import Known, known_at
from serving.problems import Problem
from serving.release import Release
from serving.releases import experiment_of
from serving.request_context import span
from serving.rollouts.counting import Counting, lacking, shadowed
from serving.rollouts.shadow_lines import AskedScore
from serving.runtime import Runtime
from serving.scoring import ChurnScores, score_churn
from serving.stored_scores import Scored, scored
from serving.trends import TREND_DAYS, TREND_US, from_book, recomputed

__all__ = ["answer_many", "answer_one", "model_of"]

log = logging.getLogger("holdfast.answers")

_Values = Mapping[str, npt.NDArray[np.float64]]
_Answer = dict[str, Any] | Problem


def answer_one(runtime: Runtime, gathered: Gathered) -> tuple[dict[str, Any], Release]:
    """The answer for the one customer that was gathered.

    Raises:
        Problem: 404, nothing is known of the customer at that instant.
    """
    (found, release), *_ = _answered(runtime, gathered)
    if isinstance(found, Problem):
        raise found
    return found, release


def answer_many(runtime: Runtime, gathered: Gathered) -> tuple[list[_Answer], list[str]]:
    """An answer or a problem for each customer, in the order asked, and the names of the releases that answered."""
    answered = _answered(runtime, gathered)
    return [answer for answer, _ in answered], sorted({release.name for _, release in answered})


def _answered(runtime: Runtime, gathered: Gathered) -> list[tuple[_Answer, Release]]:
    """For each customer the answer and whose it is: of the champion where a challenger failed."""
    gathered, known = _known(runtime, gathered)
    unknown = _unknown(gathered)
    answers: list[tuple[_Answer, Release]] = [(unknown, one.release) for one in gathered.asked]
    for release in {id(one.release): one.release for one in gathered.asked}.values():
        asked = [one for one in gathered.asked if one.release is release]
        try:
            told = _by_release(runtime, gathered, asked, known)
        except Exception as error:
            if release is not gathered.served.challenger or isinstance(error, Problem):
                raise
            log.warning("release %s failed (%s); the champion stands in", release.name, type(error).__name__)
            asked = [replace(one, release=gathered.served.champion, stood_in_for=release.name) for one in asked]
            told = _by_release(runtime, gathered, asked, known)
        for one in asked:
            answers[one.index] = (told.get(one.index, unknown), one.release)
    return answers


def _known(runtime: Runtime, gathered: Gathered) -> tuple[Gathered, Mapping[str, Known]]:
    """What the histories tell; where they cannot be read, what is stored answers in their place."""
    try:
        return gathered, known_at(gathered.views, gathered.as_of_us)
    except Exception as error:
        instead = without_histories(runtime, gathered)
        if instead is None:
            raise
        log.warning("histories could not be read (%s); stored features stand in", type(error).__name__)
        return instead, {}


def _unknown(gathered: Gathered) -> Problem:
    if gathered.degraded is not None:
        detail = "nothing is known of this customer, and the newest events cannot be read just now; ask again later"
        return Problem(503, detail, headers={"Retry-After": "1"})
    return Problem(404, "nothing is known of this customer at that instant", code="unknown_customer")


def _by_release(
    runtime: Runtime, gathered: Gathered, asked: Sequence[Asked], known: Mapping[str, Known]
) -> dict[int, dict[str, Any]]:
    """The answers of one release, by the customer's place in the request; those whom nobody knows are out.

    Raises:
        ArtefactError: the release answers no number.
    """
    release = asked[0].release
    stored = gathered.stored.get(release.fingerprint)
    values = (
        {key: one.values for key, one in known.items()}
        if stored is None
        else stored.rows_of(one.customer_key for one in asked)
    )
    asked = [one for one in asked if one.customer_key in values]
    if not asked:
        return {}
    as_of_us = gathered.as_of_us if stored is None else stored.as_of_us
    table = _table(release, [one.customer_key for one in asked], values, as_of_us)
    counted = asked if asked[0].stood_in_for is None else ()
    with Counting(runtime.totals, counted, alone=len(gathered.asked) == 1) as counting:
        found = _answers(runtime, gathered, asked, table, known)
        counting.probabilities = [answer["churn_probability"] for answer in found]
        counting.missing = [lacking(release, answer["data_quality"]) for answer in found]
    told = vars(gathered.request) | {"stored": stored is not None}
    for one, answer in zip(asked, found, strict=True):
        if shadowed(one):
            runtime.shadow.hand_over(AskedScore.of(one.customer_key, as_of_us, told, answer))
    return {one.index: answer for one, answer in zip(asked, found, strict=True)}


def _table(release: Release, keys: Sequence[str], values: _Values, as_of_us: int) -> FeatureTable:
    rows = np.stack([values[key] for key in keys])
    return FeatureTable(np.array(keys, object), as_of_us, release.churn.feature_names, rows, release.fingerprint)


def _answers(
    runtime: Runtime,
    gathered: Gathered,
    asked: Sequence[Asked],
    table: FeatureTable,
    known: Mapping[str, Known],
) -> list[dict[str, Any]]:
    """The fields of each answer; all of one release."""
    release, request = asked[0].release, gathered.request
    with span("score"):
        found = _scored(runtime, gathered, release, table)
    scores = found.scores
    if not np.isfinite(scores.churn_probability).all():
        raise ArtefactError(f"release {release.name} answers no number; take it away: holdfast rollout rollback")
    beside = _beside(runtime, gathered, release, table, found)
    explained = explanations(release, _wanted(runtime, request), scores, table.values)
    missing = np.isnan(table.values).mean(axis=1)
    stored = gathered.stored.get(release.fingerprint)
    as_of = format_instant(gathered.as_of_us if stored is None else gathered.now_us)
    features_as_of = format_instant(table.as_of_us)
    answers = []
    for row, one in enumerate(asked):
        score = scores.one(row)
        quality: dict[str, Any] = {"missing_share": round(float(missing[row]), 4), "gate": _gate(release)}
        quality |= {"degraded": gathered.degraded is not None, "degraded_reason": gathered.degraded}
        if gathered.degraded is not None:
            runtime.metrics.degraded.labels("churn", gathered.degraded).inc()
        if stored is not None and release.table is not None:
            quality["unseen_features"] = list(stored.unseen.get(one.customer_key, ()))
        elif one.customer_key in known:
            history = known[one.customer_key]
            quality |= {
                "events_count": history.events_count,
                "last_event_at": format_instant(history.last_event_us),
            }
        answers.append(
            {
                "customer_id": one.customer_id,
                "horizon_days": release.churn.horizon_days,
                "churn_score": score.churn_score,
                "churn_probability": score.churn_probability,
                "percentile": score.percentile,
                "band": score.band,
                "band_cutoffs": release.bands.cutoffs(),
                **beside[row],
                **explained[row],
                "model": {**model_of(release, "churn"), "baseline": release.churn.baseline},
                "as_of": as_of,
                "features_as_of": features_as_of,
                "data_quality": quality,
                "decision_id": _kept(runtime, one, table, row, score.churn_probability),
                "experiment": experiment_of(one),
                "holdout": one.arm == "holdout",
            }
        )
    return answers


def _scored(runtime: Runtime, gathered: Gathered, release: Release, table: FeatureTable) -> Scored:
    """Scores and segments of a table's customers; those of a snapshot as worked out beforehand, where they are."""
    request, stored = gathered.request, gathered.stored.get(release.fingerprint)
    ready = None if stored is None else runtime.scores.of(release, stored)
    if stored is None or ready is None:
        return scored(release, table, forecast=request.forecast, segments=request.segment)
    rows = np.array([stored.rows[key] for key in table.customer_keys])
    return ready.select(rows, forecast=request.forecast, segments=request.segment)


def _beside(
    runtime: Runtime, gathered: Gathered, release: Release, table: FeatureTable, found: Scored
) -> list[dict[str, Any]]:
    """Forecast, trend and segments of each row, as far as they were asked for."""
    request, scores = gathered.request, found.scores
    fields: list[dict[str, Any]] = [{} for _ in range(len(scores))]
    if scores.forecast is not None:
        currency = runtime.histories.currency
        for row, told in enumerate(fields):
            told.update(forecast_fields(release.churn, scores.forecast, row, table.as_of_us, currency))
    if request.trend:
        for told, moved in zip(fields, _trends(runtime, gathered, release, table, scores), strict=True):
            told.update(moved)
    if request.segment:
        named = segment_fields(release.segments, found.segments, len(scores), request.language)
        for told, segments in zip(fields, named, strict=True):
            told.update(segments)
    return fields


def _trends(
    runtime: Runtime, gathered: Gathered, release: Release, table: FeatureTable, scores: ChurnScores
) -> list[dict[str, Any]]:
    """`trend` and `population_percentile`: from the books of scores, else, if wanted, computed again."""
    then_us = table.as_of_us - TREND_US
    earlier = runtime.books.near(then_us, release.name)
    population = runtime.books.near(table.as_of_us, release.name, within_days=TREND_DAYS)
    probabilities, keys = scores.churn_probability.tolist(), table.customer_keys.tolist()
    trends = [from_book(earlier, key, p) for key, p in zip(keys, probabilities, strict=True)]
    wanted = gathered.request.trend_computed
    lacking = {key: row for row, key in enumerate(keys) if wanted and trends[row]["basis"] is None}
    history = {key: one.values for key, one in known_at(gathered.views, then_us).items()} if lacking else {}
    found = [key for key in lacking if key in history]
    if found:
        earlier_table = _table(release, found, history, then_us)
        before = score_churn(release.churn, release.bands, earlier_table, forecast=False)
        for key, probability in zip(found, before.churn_probability.tolist(), strict=True):
            trends[lacking[key]] = recomputed(probabilities[lacking[key]], probability, then_us)
    return [
        {"population_percentile": None if population is None else population.percentile(p), "trend": trend}
        for p, trend in zip(probabilities, trends, strict=True)
    ]


def _wanted(runtime: Runtime, request: ChurnRequest) -> Wanted:
    return Wanted(
        reasons=request.reasons,
        actions=request.actions,
        what_if=request.what_if,
        language=request.language,
        currency=runtime.histories.currency,
        reasons_count=runtime.settings.reasons_count,
    )


def _kept(runtime: Runtime, one: Asked, table: FeatureTable, row: int, probability: float) -> str:
    decision_id = f"d-{runtime.new_id()}"
    served = table.values[row].astype("<f8").tobytes()
    runtime.decisions.record(
        Decision(
            decision_id,
            "churn",
            one.customer_key,
            table.as_of_us,
            one.release.name,
            one.experiment,
            one.arm,
            churn_probability=probability,
            fingerprint=table.fingerprint,
            feature_values=served,
        )
    )
    runtime.metrics.predicted("churn", one.release.name, one.arm)
    return decision_id


def _gate(release: Release) -> str:
    """Whether there was enough to learn from: `passed`, or what is lacking, where a baseline answers."""
    if not release.churn.baseline:
        return "passed"
    told = release.manifest["provenance"].get("churn")
    return str(told["gate"]) if isinstance(told, dict) and told.get("gate") else "too few customers for a full model"


def model_of(release: Release, name: str) -> dict[str, str]:
    """Which model answered: its name, its version as registered, and the release it came in."""
    registered = release.manifest["provenance"].get(name)
    known = registered if isinstance(registered, dict) else {}
    version = str(known.get("version", release.name))
    return {"name": str(known.get("name", name)), "version": version, "release": release.name}
