from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features.errors import TimeError
from features.instants import DAY_US, HOUR_US
from training.simulate import (
    CAUSES,
    OFFER_KINDS,
    HazardSettings,
    OfferSettings,
    SimulationSettings,
    Truth,
    hazard_by_cause,
    oracle_churn_probability,
    simulate,
    true_offer_effects,
)
from training.simulated_shop.history import Stream

GAP, WINDOW = 7, 90


@pytest.fixture(scope="module")
def truth() -> Truth:
    return simulate(SimulationSettings(scale=0.25), 1).truth


def as_of(truth: Truth, days_before_end: int) -> int:
    return truth.settings.end_us - days_before_end * DAY_US


def judged(truth: Truth, days_before_end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Churned, the oracle's probability and days since the last order, of those who ordered in the last 180 days."""
    day = truth.settings.days - days_before_end
    ids, probability = oracle_churn_probability(truth, as_of(truth, days_before_end), GAP, WINDOW)
    row_of = {name: row for row, name in enumerate(truth.customer_ids)}
    rows = np.asarray([row_of[name] for name in ids])
    orders, n = truth.orders, len(truth.customer_ids)
    last, came = np.full(n, -10_000), np.zeros(n, dtype=bool)
    before = orders.day < day
    np.maximum.at(last, orders.row[before], orders.day[before])
    came[orders.row[(orders.day >= day + GAP) & (orders.day < day + GAP + WINDOW)]] = True
    eligible = last[rows] >= day - 180
    return ~came[rows][eligible], probability[eligible], day - last[rows][eligible]


def calibration_error(churned: np.ndarray, probability: np.ndarray) -> float:
    """Ten bins of equal size: the mean distance between the share that churned and the mean probability."""
    parts = np.array_split(np.argsort(probability, kind="stable"), 10)
    return float(sum(len(p) * abs(churned[p].mean() - probability[p].mean()) for p in parts) / len(churned))


@pytest.mark.parametrize("days_before_end", [97, 200, 365])
def test_the_oracle_is_calibrated_and_leaving_can_be_foreseen_but_not_read_off(
    truth: Truth, days_before_end: int
) -> None:
    churned, probability, recency = judged(truth, days_before_end)
    assert len(churned) > 1_500
    assert 0.33 < churned.mean() < 0.53
    assert calibration_error(churned, probability) <= 0.03
    auc = roc_auc_score(churned, probability)
    assert 0.85 < auc < 0.93
    assert auc > roc_auc_score(churned, recency) + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_the_oracle_is_calibrated_at_full_scale(seed: int) -> None:
    shop = simulate(SimulationSettings(), seed)
    assert 1_150_000 <= shop.events.num_rows <= 1_600_000
    for days_before_end in (97, 187):
        churned, probability, _ = judged(shop.truth, days_before_end)
        assert calibration_error(churned, probability) <= 0.02
        assert 0.35 <= churned.mean() <= 0.50
        assert 0.87 < roc_auc_score(churned, probability) < 0.92


def test_where_nobody_leaves_the_next_day_is_the_renewal_probability_by_hand() -> None:
    nobody = HazardSettings(base_per_day=0.0, mass=(0.0,) * len(CAUSES))
    truth = simulate(SimulationSettings(scale=0.01, hazard=nobody, offer=OfferSettings(share=0.0)), 1).truth
    day = 600
    ids, probability = oracle_churn_probability(truth, truth.settings.start_us + day * DAY_US, 0, 1)
    last = np.full(len(ids), 0)
    joined = np.flatnonzero(truth.people.join_day < day)
    before = truth.orders.day < day
    for position, row in enumerate(joined):
        seen = truth.orders.day[before & (truth.orders.row == row)]
        last[position] = seen.max() if len(seen) else -truth.people.first_gap[row]
    cycle = truth.people.cycle_days[joined]
    pull = 0.30 + 1.3 / (1 + np.exp(-5 * ((day - last) / cycle - 0.6)))
    expected = pull / cycle * truth.calendar.order_factor[day]
    if truth.calendar.promotion[day]:
        expected *= 1.15 + 0.9 * truth.people.price_sensitivity[joined]
    assert probability == pytest.approx(1 - np.minimum(expected, 0.6), abs=1e-12)


def test_what_happens_after_as_of_changes_nothing(truth: Truth) -> None:
    at, day = as_of(truth, 200), truth.settings.days - 200

    def until(stream: Stream) -> Stream:
        kept = stream.day < day
        return Stream(stream.day[kept], stream.row[kept], stream.code[kept], stream.amounts[kept])

    names = ("orders", "evidence", "incidents", "offers", "cancels")
    blind = dataclasses.replace(truth, **{name: until(getattr(truth, name)) for name in names})
    blind = dataclasses.replace(blind, left_day=np.full_like(truth.left_day, -1), cause=np.full_like(truth.cause, -1))
    assert len(blind.orders.day) < len(truth.orders.day)
    assert np.array_equal(
        oracle_churn_probability(blind, at, GAP, WINDOW)[1], oracle_churn_probability(truth, at, GAP, WINDOW)[1]
    )


def test_a_longer_window_leaves_less_room_for_no_order(truth: Truth) -> None:
    at = as_of(truth, 150)
    _, short = oracle_churn_probability(truth, at, GAP, 30)
    _, long = oracle_churn_probability(truth, at, GAP, 90)
    assert (long <= short).all()
    assert (long < short).any()


def test_who_cancelled_will_not_order(truth: Truth) -> None:
    ids, probability = oracle_churn_probability(truth, as_of(truth, 97), GAP, WINDOW)
    cancelled = {truth.customer_ids[row] for row in truth.cancels.row[truth.cancels.day < truth.settings.days - 97]}
    gone = np.asarray([name in cancelled for name in ids])
    assert gone.sum() > 20
    assert (probability[gone] == 1.0).all()


def test_offers_help_some_and_harm_others_by_the_oracle_too(truth: Truth) -> None:
    ids, without, effects = true_offer_effects(truth, as_of(truth, 97), GAP, WINDOW)
    assert effects.shape == (len(ids), len(OFFER_KINDS))
    assert (without == oracle_churn_probability(truth, as_of(truth, 97), GAP, WINDOW)[1]).all()
    assert (effects.min(axis=0) < -0.01).all()
    assert (effects.max(axis=0) > 0.005).all()


def test_the_hazard_is_the_sum_of_its_causes_and_grows_with_incidents(truth: Truth) -> None:
    parts = hazard_by_cause(truth, as_of(truth, 0))
    assert parts.shape == (len(truth.customer_ids), 1 + len(CAUSES))
    recent = truth.incidents.day >= truth.settings.days - 5
    late = np.unique(truth.incidents.row[recent & (truth.incidents.code == 0)])
    assert len(late) > 10
    assert (parts[late, 1] > 0).all()
    assert parts[late].sum(axis=1).mean() > 2 * np.median(parts.sum(axis=1))


def test_an_instant_that_the_oracle_cannot_judge_is_refused(truth: Truth) -> None:
    for wrong in (as_of(truth, 10) + HOUR_US, as_of(truth, -1), as_of(truth, truth.settings.days + 1)):
        with pytest.raises(TimeError, match="midnight in UTC from 2024-01-02"):
            oracle_churn_probability(truth, wrong, GAP, WINDOW)
    with pytest.raises(TimeError, match="500 days beyond"):
        oracle_churn_probability(truth, as_of(truth, 0), GAP, 600)
