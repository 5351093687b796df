"""Churn scores as answered: history or snapshot in, the fields of the answer out, the decision kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.customer_view import CustomerView
from features.instants import MINUTE_US, format_instant, parse_instant
from serving.assignment import Arm
from serving.decisions import Decision
from serving.explanations import Wanted, explanations
from serving.forecast_answers import forecast_fields, segment_fields
from serving.history_features import Known, known_at
from serving.languages import LANGUAGES, Language
from serving.problems import Problem
from serving.release import Release
from serving.request_context import span
from serving.rollouts.counting import Counting
from serving.runtime import Runtime
from serving.scoring import ChurnScores, score_churn
from serving.snapshots import StoredFeatures
from serving.stored_scores import Scored, scored
from serving.trends import TREND_DAYS, TREND_US, from_book, recomputed

__all__ = ["ChurnRequest", "Gathered", "answer_many", "answer_one", "gather", "model_of"]

_CLOCK_SKEW_US = 5 * MINUTE_US  # a snapshot may have been built by a machine whose clock is ahead of ours
_MOST_MISSING = 0.5


_Values = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class ChurnRequest:
    """What is wanted: a past instant (or None for now), stored or fresh features, and what to tell beside the score.

    `fresh`: fresh features are asked for by name, not by default, so that stored ones will not do.
    `trend_computed`: where no book of scores tells the trend, compute the earlier score from the history, which costs
    as much as the score itself.
    """

    as_of: str | None = None
    stored: bool = False
    fresh: bool = False
    reasons: bool = True
    actions: bool = True
    forecast: bool = True
    trend: bool = True
    trend_computed: bool = False
    segment: bool = True
    what_if: bool = False
    language: Language = LANGUAGES[0]


@dataclass(frozen=True, eq=False)
class _Asked:
    """One customer of a request: the place in it, the outside id, the pseudonym, and what answers it."""

    index: int
    customer_id: str
    customer_key: str
    release: Release
    arm: Arm
    experiment: str


@dataclass(frozen=True, eq=False)
class Gathered:
    """All that an answer needs from shared state, taken at one moment; the rest can run in any thread.

    as_of_us, views: of the histories, for fresh answers. stored: by fingerprint, for the releases that answer from
    stored features.
    """

    request: ChurnRequest
    now_us: int
    as_of_us: int
    asked: tuple[_Asked, ...]
    views: tuple[CustomerView, ...]
    stored: Mapping[str, StoredFeatures]


def gather(runtime: Runtime, customer_ids: Sequence[str], request: ChurnRequest) -> Gathered:
    """Look the customers up. Those nobody knows are missing from `views` and `stored`.

    Raises:
        Problem: the instant lies in the future, stored features are asked for and there are none, or a table is asked
            for another moment than its own.
        UnavailableError: no release is loaded, or the store cannot be read.
    """
    served, now_us = runtime.served, runtime.clock()
    asked = []
    for index, customer_id in enumerate(customer_ids):
        key = runtime.pseudonyms.of(customer_id)
        asked.append(_Asked(index, customer_id, key, *served.route(key)))
    keys = dict.fromkeys(one.customer_key for one in asked)
    releases = {one.release.fingerprint: one.release for one in asked}
    stored = {
        fingerprint: _stored(runtime, release, request, now_us)
        for fingerprint, release in releases.items()
        if request.stored or release.table is not None
    }
    if stored.keys() == releases.keys():
        return Gathered(request, now_us, now_us, tuple(asked), (), stored)
    with span("history"):
        runtime.histories.catch_up()
        as_of_us = _as_of(runtime, request, keys, now_us)
        views = runtime.histories.many(keys)
    return Gathered(request, now_us, as_of_us, tuple(asked), views, stored)


def _stored(runtime: Runtime, release: Release, request: ChurnRequest, now_us: int) -> StoredFeatures:
    if release.table is not None and (request.fresh or request.as_of is not None):
        what = "as_of" if request.as_of is not None else "freshness=fresh"
        raise Problem(
            422,
            f"{what} is not for a table: this release answers from the stored table alone, which is of one moment, and "
            "events change nothing in it; leave it out",
            code="not_supported",
        )
    found = runtime.snapshots.of(release.fingerprint)
    if found is None:
        raise Problem(404, "no features are stored for this feature set; build them first", code="no_snapshot")
    if found.as_of_us > now_us + _CLOCK_SKEW_US:
        raise Problem(
            404,
            f"the stored features are of {format_instant(found.as_of_us)}, which lies in the future; build them "
            "again as of now, or ask for fresh ones",
            code="no_snapshot",
        )
    return found


def _as_of(runtime: Runtime, request: ChurnRequest, keys: dict[str, None], now_us: int) -> int:
    """A past instant as asked for; else now, or just after the newest accepted event where clocks are close."""
    if request.as_of is not None:
        as_of_us = parse_instant(request.as_of)
        if as_of_us > now_us:
            raise Problem(422, "as_of lies in the future; leave it out for a score as of now", code="in_the_future")
        return as_of_us
    latest = runtime.histories.latest_recorded_us
    return max(now_us, *(latest.get(key, 0) + 1 for key in keys))


def answer_one(runtime: Runtime, gathered: Gathered) -> tuple[dict[str, Any], Release]:
    """The answer for the one customer that was gathered.

    Raises:
        Problem: 404, nothing is known of the customer at that instant.
    """
    found = answer_many(runtime, gathered)[0]
    if isinstance(found, Problem):
        raise found
    return found, gathered.asked[0].release


def answer_many(runtime: Runtime, gathered: Gathered) -> list[dict[str, Any] | Problem]:
    """An answer or a problem for each customer, in the order asked."""
    known = known_at(gathered.views, gathered.as_of_us)
    fresh = {key: one.values for key, one in known.items()}
    answers: list[dict[str, Any] | Problem] = [
        Problem(404, "nothing is known of this customer at that instant", code="unknown_customer")
    ] * len(gathered.asked)
    for release in {id(one.release): one.release for one in gathered.asked}.values():
        stored = gathered.stored.get(release.fingerprint)
        values = fresh if stored is None else stored.rows_of(one.customer_key for one in gathered.asked)
        asked = [one for one in gathered.asked if one.release is release and one.customer_key in values]
        if asked:
            as_of_us = gathered.as_of_us if stored is None else stored.as_of_us
            table = _table(release, [one.customer_key for one in asked], values, as_of_us)
            with Counting(runtime.totals, asked, alone=len(gathered.asked) == 1) as counting:
                found = _answers(runtime, gathered, asked, table, known)
                counting.probabilities = [answer["churn_probability"] for answer in found]
                counting.missing = [_lacking(release, answer["data_quality"]) for answer in found]
            for one, answer in zip(asked, found, strict=True):
                answers[one.index] = answer
    return answers


def _lacking(release: Release, quality: Mapping[str, Any]) -> bool:
    """Whether an answer rests on little: see `ArmFigures.n_missing`."""
    beyond: float = quality["missing_share"] - release.never_known_share
    return beyond > _MOST_MISSING or bool(quality.get("unseen_features"))


def _table(release: Release, keys: Sequence[str], values: _Values, as_of_us: int) -> FeatureTable:
    rows = np.stack([values[key] for key in keys])
    return FeatureTable(np.array(keys, object), as_of_us, release.churn.feature_names, rows, release.fingerprint)


def _answers(
    runtime: Runtime,
    gathered: Gathered,
    asked: Sequence[_Asked],
    table: FeatureTable,
    known: Mapping[str, Known],
) -> list[dict[str, Any]]:
    """The fields of each answer; all of one release."""
    release, request = asked[0].release, gathered.request
    with span("score"):
        found = _scored(runtime, gathered, release, table)
    scores = found.scores
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
                "experiment": {"key": one.experiment, "arm": one.arm},
                "holdout": False,
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


def _kept(runtime: Runtime, one: _Asked, table: FeatureTable, row: int, probability: float) -> str:
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
