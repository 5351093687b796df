import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import gamma

from features.errors import ArtefactError
from serving.attrition_law import LOADS, MEMORY_DAYS, AttritionLaw
from serving.latent_attrition import COUNTED, LatentAttrition

NAMES = ("other", *COUNTED, *LOADS)
LAW = AttritionLaw(
    regularity=2,
    usual_gap_days=30.0,
    usual_gaps=2.0,
    usual_signs=3.0,
    usual_sign_days=90.0,
    hazard=0.002,
    newcomer=1.0,
    newcomer_days=100.0,
    troubles=(0.01, 0.03, 0.01, 0.005, 0.01, 0.01),
    ahead=1.5,
    cancelled=50.0,
    horizon_days=90.0,
)
READS = NAMES[1:]
PART = LatentAttrition(NAMES, LAW, READS, weight=0.8, shift=-0.1)
NAN = float("nan")


def customer(**known):
    usual = {
        "orders_count_all": 6.0,
        "order_gap_mean_days_all": 25.0,
        "tenure_days": 165.0,
        "orders_recency_days": 40.0,
        "activity_recency_days": 30.0,
        "active_days_count_all": 11.0,
        "late_deliveries_recency_days": NAN,
    }
    return [{**usual, **known}.get(name, 0.0) for name in NAMES]


def log_odds(**known):
    return float(LatentAttrition(NAMES, LAW, READS).margins(np.array([customer(**known)]))[0])


def by_integration(orders, gap, since_order, silent, signs, sign_days, tenure, late_hours):
    """The law of the module's head by adaptive quadrature over days and over the customer's own rates."""
    order_rate = gamma(2 * (2.0 + orders - 1), scale=1 / (60.0 + gap * (orders - 1)))
    sign_rate = gamma(3.0 + signs, scale=1 / (90.0 + sign_days))

    def survival(days):  # of the next order, by the last one
        return quad(lambda r: (1 + r * days) * np.exp(-r * days) * order_rate.pdf(r), 0, 1)[0]

    def seen(days):
        return quad(lambda r: np.exp(-r * days) * sign_rate.pdf(r), 0, 1)[0]

    load = late_hours / 48.0 * 0.01
    fresh = 1 + np.exp(-tenure / 100)
    before = since_order - silent
    still = survival(since_order) * seen(silent)

    def left_at(s):
        hazard = fresh * (0.002 + load * np.exp((silent - s) / MEMORY_DAYS))
        return hazard * survival(before + s) * seen(s) / still

    odds = quad(left_at, 0, silent, epsrel=1e-3)[0]
    waited = np.linspace(since_order, since_order + 90, 7)
    alive = [survival(days) for days in waited]
    returns = 0.0
    for slice_, middle in enumerate(np.arange(7.5, 90, 15)):
        base = 1.5 * 0.002 * middle * (1 + np.exp(-(tenure + middle / 2) / 100))
        faded = load * fresh * MEMORY_DAYS * (1 - np.exp(-middle / MEMORY_DAYS))
        returns += (alive[slice_] - alive[slice_ + 1]) / alive[0] * np.exp(-base - faded)
    return np.log((1 + odds - returns) / returns)


@pytest.mark.parametrize(
    ("since_order", "silent", "late"), [(40.0, 30.0, 0.0), (40.0, 30.0, 60.0), (100.0, 90.0, 20.0)]
)
def test_the_closed_form_is_the_law_integrated(since_order, silent, late):
    said = log_odds(orders_recency_days=since_order, activity_recency_days=silent, late_delivery_load=late)
    assert said == pytest.approx(by_integration(6, 25, since_order, silent, 5, 165 - silent, 165, late), abs=0.02)


def test_silence_says_more_of_who_comes_often_than_of_who_comes_seldom():
    often = log_odds(order_gap_mean_days_all=10.0) - log_odds(order_gap_mean_days_all=10.0, orders_recency_days=5.0)
    seldom = log_odds(order_gap_mean_days_all=60.0) - log_odds(order_gap_mean_days_all=60.0, orders_recency_days=5.0)
    assert often > 1.0 > seldom


def test_a_sign_of_life_takes_the_silence_away():
    assert (
        log_odds(activity_recency_days=1.0)
        < log_odds(activity_recency_days=20.0)
        < log_odds(activity_recency_days=40.0)
    )


@pytest.mark.parametrize("name", LOADS)
def test_every_trouble_raises_the_risk(name):
    assert log_odds(**{name: LOADS[name]}) > log_odds() + 0.05


def test_a_cancel_outweighs_everything():
    assert log_odds(cancels_count_365d=1.0, activity_recency_days=0.5, orders_recency_days=0.5) > 3.5


def test_newcomers_are_lost_more_easily():
    new = {"orders_count_all": 1.0, "order_gap_mean_days_all": NAN, "active_days_count_all": 2.0}
    assert log_odds(**new, tenure_days=40.0) > log_odds(**new, tenure_days=400.0)


def test_a_parcel_that_came_late_during_the_silence_does_not_explain_what_came_before():
    silent = {"orders_recency_days": 100.0, "activity_recency_days": 90.0, "late_delivery_load": 48.0}
    before, yesterday = (log_odds(**silent, late_deliveries_recency_days=days) for days in (95.0, 1.0))
    none = log_odds(**{**silent, "late_delivery_load": 0.0})
    assert before > yesterday + 1
    assert none < yesterday < none + 0.5


def test_silence_without_an_order_counts_from_the_last_sign_of_life():
    looked = {"orders_count_all": 0.0, "order_gap_mean_days_all": NAN, "orders_recency_days": NAN, "tenure_days": NAN}
    assert log_odds(**looked, activity_recency_days=200.0) > log_odds(**looked, activity_recency_days=2.0) + 1


def test_what_is_missing_says_nothing_and_every_margin_is_finite():
    nothing = np.full((1, len(NAMES)), NAN)
    extreme = np.array([customer(orders_recency_days=1e6, activity_recency_days=1e6, tenure_days=1e6)])
    many = np.array([customer(orders_count_all=1e5, order_gap_mean_days_all=0.01, late_delivery_load=1e9)])
    assert np.isfinite(PART.margins(np.vstack([nothing, extreme, many, -extreme]))).all()
    assert log_odds(activity_recency_days=NAN) == log_odds(activity_recency_days=40.0)


def test_a_feature_that_is_not_read_says_nothing():
    reads = tuple(name for name in READS if name not in ("activity_recency_days", *LOADS))
    part = LatentAttrition(NAMES, LAW, reads)
    values = np.array([customer(activity_recency_days=3.0, unanswered_load=2.0)])
    assert part.margins(values)[0] == log_odds(activity_recency_days=40.0)
    found = part.contributions(values, np.array(customer(orders_recency_days=10.0)))
    assert found.sum() == pytest.approx(float(part.margins(values)[0]), abs=1e-12)
    assert found[0, NAMES.index("activity_recency_days")] == found[0, NAMES.index("unanswered_load")] == 0
    with pytest.raises(ArtefactError, match="does not name"):
        LatentAttrition(NAMES[:4], LAW, READS)


def made(rng, n):
    values = rng.exponential(20.0, (n, len(NAMES)))
    values[:, NAMES.index("orders_count_all")] = rng.integers(1, 40, n)
    values[:, NAMES.index("cancels_count_365d")] = rng.random(n) < 0.1
    values[rng.random(values.shape) < 0.1] = NAN
    return values


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_contributions_sum_to_the_margin_for_every_customer(seed):
    values = made(np.random.default_rng(seed), 50)
    values[0, [NAMES.index(name) for name in ("cancels_count_365d", *LOADS)]] = 0.0
    found = PART.contributions(values, values[0])
    np.testing.assert_allclose(found.sum(axis=1), PART.margins(values), atol=1e-9)
    np.testing.assert_allclose(found[0, :-1], 0.0, atol=1e-12)  # the usual customer differs from nobody


def test_a_trouble_is_what_its_contribution_names():
    usual = np.array(customer())
    found = PART.contributions(np.array([customer(unanswered_load=0.8, orders_recency_days=41.0)]), usual)[0]
    strongest = NAMES[int(np.argmax(np.abs(found[:-1])))]
    assert strongest == "unanswered_load"
    cancelled = PART.contributions(np.array([customer(cancels_count_365d=1.0, unanswered_load=0.8)]), usual)[0]
    assert cancelled[NAMES.index("unanswered_load")] == 0 < cancelled[NAMES.index("cancels_count_365d")]


def test_a_row_gets_the_same_bits_whatever_rows_stand_beside_it():
    values = made(np.random.default_rng(3), 5_000)
    together = PART.margins(values)
    np.testing.assert_array_equal(together[1_234:1_260], PART.margins(values[1_234:1_260]))
    assert [PART.margins(values[row : row + 1])[0] for row in range(50)] == together[:50].tolist()


def test_contributions_of_one_customer_take_one_pass_and_have_the_bits_of_those_among_many(monkeypatch):
    values = made(np.random.default_rng(6), 200)
    together = PART.contributions(values, values[5])
    passes, law = [], AttritionLaw.log_odds
    monkeypatch.setattr(AttritionLaw, "log_odds", lambda self, past: passes.append(past) or law(self, past))
    for row in range(20):
        np.testing.assert_array_equal(PART.contributions(values[row : row + 1], values[5])[0], together[row])
    assert len(passes) == 20


def test_the_manifest_brings_the_part_back():
    back = LatentAttrition.from_manifest(json.loads(json.dumps(PART.to_manifest())), NAMES)
    assert back.law == LAW
    assert back.reads == READS
    assert (back.weight, back.shift) == (0.8, -0.1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"regularity": 9}, "regularity"),
        ({"hazard": "much"}, "hazard"),
        ({"usual_gap_days": 0.0}, "above 0"),
        ({"troubles": {}}, "late_delivery_load"),
        ({"newcomer": -1.0}, "not negative"),
    ],
)
def test_an_altered_manifest_is_refused_by_name(change, said):
    manifest = json.loads(json.dumps(PART.to_manifest()))
    manifest["law"].update(change)
    with pytest.raises(ArtefactError, match=said):
        LatentAttrition.from_manifest(manifest, NAMES)


def test_scaled_weighs_the_margin():
    values = made(np.random.default_rng(4), 20)
    np.testing.assert_allclose(PART.scaled(0.5).margins(values), 0.5 * PART.margins(values))
    assert dataclasses.replace(PART, weight=0.0).margins(values).tolist() == [-0.1] * 20
