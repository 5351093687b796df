"""What is to be expected of a customer, over HTTP: by horizon, when, how much; the segment; and since last week."""

from dataclasses import replace
from datetime import date, timedelta
from math import exp, log
from typing import Any

import httpx
import numpy as np
import pytest

from features.instants import DAY_US, format_instant
from serving.lifecycle import STAGES
from serving.score_book import write_book
from serving.settings import ServiceSettings
from tests.forecasting import AMOUNTS_MINOR, HORIZONS, forecasting_model, two_segments
from tests.score_books import book_rows, facts
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US, TinyShop

TODAY = date(2024, 3, 1)
GAP_DAYS = 7
SHIFT = -1.5
"""By so much the calibrator moves the log-odds."""


def served(shop: TinyShop, name: str, **made: Any) -> Running:
    shop.release(name, **made)
    return Running(shop, ServiceSettings(shop.workspace.root, release=name, rollout_poll_ms=20, lock_timeout_ms=50))


@pytest.fixture
def forecasting(shop: TinyShop) -> Running:
    return served(shop, "forecasting", churn=forecasting_model(SHIFT), segments=two_segments())


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_who_returns_more_likely_than_not_has_days_for_it(forecasting: Running) -> None:
    body = forecasting.call("GET", "/v1/customers/c1/churn").json()
    assert body["churn_probability"] < 0.5
    # residuals run straight from -1 over 0 to 1, so the 10th and 90th percentile of the log-odds of T / 90 are -.8, .8
    start = TODAY + timedelta(days=GAP_DAYS)
    expected = {level: (start + timedelta(days=90 * sigmoid(x))).isoformat() for level, x in
                (("p10", -0.8), ("p50", 0.0), ("p90", 0.8))}  # fmt: skip
    assert body["next_purchase"] == expected | {"reason": None}


def test_where_not_returning_is_likelier_there_are_no_days_and_the_answer_says_why(forecasting: Running) -> None:
    body = forecasting.call("GET", "/v1/customers/c39/churn").json()
    assert body["churn_probability"] > 0.5
    assert body["next_purchase"] == {"p10": None, "p50": None, "p90": None, "reason": "less_likely_than_not"}


def test_the_headline_is_the_longest_horizon_and_probabilities_fall_with_the_horizon(forecasting: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        return [(await client.get(f"/v1/customers/c{n}/churn?include=forecast")).json() for n in range(0, 40, 3)]

    for body in forecasting.run(talk):
        told = body["horizons"]
        assert [one["horizon_days"] for one in told] == list(HORIZONS)
        assert told[-1]["churn_probability"] == body["churn_probability"]
        probabilities = [one["churn_probability"] for one in told]
        assert probabilities == sorted(probabilities, reverse=True)


def test_value_is_whole_minor_units_and_the_loss_is_what_leaves_with_the_customer(forecasting: Running) -> None:
    body = forecasting.call("GET", "/v1/customers/c1/churn").json()
    value, churn = body["predicted_value"], body["churn_probability"]
    assert value["currency"] == "EUR"
    # over 90 days nothing is ordered by who churns; over a year, which knows no season, the margin says by whom
    none = {90: churn, 365: sigmoid(log(churn / (1 - churn)) - SHIFT)}
    for days, median in AMOUNTS_MINOR.items():
        # above the point mass the amounts begin: level p is (p - none) / (1 - none) of them
        for level, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
            within = (share - none[days]) / (1 - none[days])
            expected = 0 if within <= 0 else median * exp(2 * within - 1)
            assert value[f"days_{days}"][level] == pytest.approx(expected, abs=1)
    # the mean of e to a residual that is even over [-1, 1] by halves, by the trapezoid: (e^-1 + 2 + e) / 4
    mean_if_any = AMOUNTS_MINOR[365] * (exp(-1) + 2 + exp(1)) / 4
    assert body["expected_loss"] == {"amount_minor": round(churn * mean_if_any), "currency": "EUR"}


def test_what_the_model_did_not_learn_is_null(running: Running) -> None:
    body = running.call("GET", "/v1/customers/c1/churn").json()
    assert body["horizons"] == [{"horizon_days": 90, "churn_probability": body["churn_probability"]}]
    assert body["next_purchase"] == {"p10": None, "p50": None, "p90": None, "reason": "not_learnt"}
    nothing = {"p10": None, "p50": None, "p90": None}
    assert body["predicted_value"] == {"days_90": nothing, "days_365": nothing, "currency": "EUR"}
    assert body["expected_loss"] is None
    assert (body["segment"], body["lifecycle_stage"], body["rfm"]) == (None, None, None)


def test_a_question_that_waits_for_leaving_tells_the_days_of_leaving(shop: TinyShop) -> None:
    leaving = replace(forecasting_model(1.5), awaits="churn")
    body = served(shop, "leaving", churn=leaving).call("GET", "/v1/customers/c39/churn").json()
    assert body["next_purchase"] == {"p10": None, "p50": None, "p90": None, "reason": "not_asked"}
    assert body["leaving"]["p50"] == (TODAY + timedelta(days=GAP_DAYS + 45)).isoformat()
    probabilities = [one["churn_probability"] for one in body["horizons"]]
    assert probabilities == sorted(probabilities)


def test_segments_come_with_their_keys_and_names(forecasting: Running) -> None:
    body = forecasting.call("GET", "/v1/customers/c1/churn?include=segment").json()
    assert body["segment"] in ({"key": "s1", "name": "big spenders"}, {"key": "s2", "name": "bargain hunters"})
    assert body["lifecycle_stage"] in [
        {"key": key, "name": name} for key, name in zip(STAGES, two_segments().names("en").stage, strict=True)
    ]
    assert {body["rfm"][part] for part in ("recency", "frequency", "money")} <= set(range(1, 6))


def test_a_batch_tells_the_same_as_single_answers_when_asked_to(forecasting: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[Any, Any]:
        wanted = {"customer_ids": ["c5", "c20"], "include": ["forecast", "trend", "segment"]}
        batch = (await client.post("/v1/churn/score:batch", json=wanted)).json()
        path = "/v1/customers/{}/churn?include=forecast,trend,segment"
        return batch, [(await client.get(path.format(one))).json() for one in ("c5", "c20")]

    batch, single = forecasting.run(talk)
    for row, alone in zip(batch["results"], single, strict=True):
        assert {k: v for k, v in row["churn"].items() if k != "decision_id"} == {
            k: v for k, v in alone.items() if k != "decision_id"
        }


def test_without_a_book_the_trend_is_computed_from_the_history_a_week_before(running: Running) -> None:
    week_ago = format_instant(NOW_US - 7 * DAY_US)

    async def talk(client: httpx.AsyncClient) -> tuple[Any, Any]:
        now = (await client.get("/v1/customers/c39/churn?include=trend")).json()
        by_default = (await client.get("/v1/customers/c39/churn")).json()
        assert by_default["trend"] == {"delta_7d": None, "basis": None, "since": None}  # books alone: it costs nothing
        return now, (await client.get(f"/v1/customers/c39/churn?as_of={week_ago}")).json()

    now, then = running.run(talk)
    delta = now["churn_probability"] - then["churn_probability"]
    assert now["trend"] == {"delta_7d": delta, "basis": "recomputed", "since": week_ago}
    assert now["population_percentile"] is None


def test_a_customer_who_was_unknown_a_week_ago_has_no_trend(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        event = {"event_id": "n1", "customer_id": "new", "kind": "view", "item_id": "eggs"}
        event |= {"occurred_at": format_instant(NOW_US - DAY_US)}
        await client.post("/v1/events", json={"events": [event]})
        return (await client.get("/v1/customers/new/churn?include=trend")).json()["trend"]

    assert running.run(talk) == {"delta_7d": None, "basis": None, "since": None}


def test_the_books_of_the_same_release_tell_the_trend_and_the_place_in_the_population(running: Running) -> None:
    key = running.shop.pseudonyms.of("c39")
    others = {f"k:{number}": {"churn_probability": number / 10} for number in range(10)}
    for days_ago, probability in ((7, 0.05), (0, 0.3)):
        rows = book_rows(others | {key: {"churn_probability": probability}})
        write_book(running.shop.workspace.scores, facts(NOW_US - days_ago * DAY_US), rows, keep=9)
    body = running.call("GET", "/v1/customers/c39/churn").json()
    probability = body["churn_probability"]
    assert body["trend"]["delta_7d"] == pytest.approx(probability - 0.05)
    assert (body["trend"]["basis"], body["trend"]["since"]) == ("book", format_instant(NOW_US - 7 * DAY_US))
    below = np.sum(np.array([number / 10 for number in range(10)] + [0.3]) < probability)
    assert body["population_percentile"] == pytest.approx(100 * below / 11)


def test_a_score_of_last_week_has_its_place_in_the_population_of_then(running: Running) -> None:
    rows = book_rows({f"k:{number}": {"churn_probability": number / 10} for number in range(10)})
    for days_ago in (7, 0):
        write_book(running.shop.workspace.scores, facts(NOW_US - days_ago * DAY_US), rows, keep=9)
    body = running.call("GET", f"/v1/customers/c39/churn?as_of={format_instant(NOW_US - 7 * DAY_US)}").json()
    below = np.sum(np.arange(10) / 10 < body["churn_probability"])
    assert body["population_percentile"] == pytest.approx(100 * below / 10)


def test_a_book_of_another_release_is_no_measure(running: Running) -> None:
    key = running.shop.pseudonyms.of("c39")
    for days_ago in (7, 0):
        at = facts(NOW_US - days_ago * DAY_US, "second")
        write_book(running.shop.workspace.scores, at, book_rows({key: {}}), keep=9)
    body = running.call("GET", "/v1/customers/c39/churn?include=trend").json()
    assert (body["trend"]["basis"], body["population_percentile"]) == ("recomputed", None)
