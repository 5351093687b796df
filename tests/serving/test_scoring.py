import dataclasses

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.errors import ArtefactError
from features.instants import DAY_US
from serving.bands import Bands
from serving.policy import Policy
from serving.reasons import Reason, reason_kind, reason_kinds, reasons
from serving.scoring import score_churn
from serving.season import SeasonShift
from tests.churn_worlds import orders
from tests.tiny_shop import churn_model

BANDS = Bands(medium=0.3, high=0.6)
AS_OF = 200 * DAY_US


@pytest.fixture
def model():
    return churn_model(0.0)


@pytest.fixture
def table():
    return compute(orders({f"c{i:02}": [50, 199 - 3 * i] for i in range(40)}), CHURN_FEATURES, AS_OF)


def test_many_equal_each_one_alone_bit_for_bit(model, table):
    many = score_churn(model, BANDS, table)
    assert len(many) == 40
    for row in range(40):
        alone = score_churn(model, BANDS, table.select(np.array([row])))
        assert alone.one(0) == many.one(row)


def test_the_score_ranks_as_the_probability_does_and_keeps_its_range(model, table):
    scores = score_churn(model, BANDS, table)
    order = np.argsort(scores.churn_probability, kind="stable")
    assert (np.diff(scores.churn_score[order]) >= 0).all()
    assert len(set(scores.churn_score.tolist())) > 1
    assert scores.churn_score.min() >= 0
    assert scores.churn_score.max() <= 100
    np.testing.assert_array_equal(scores.band, [BANDS.of(p) for p in scores.churn_probability])


def test_a_season_moves_probabilities_but_nobodys_rank(model, table):
    seasoned = dataclasses.replace(model, season=SeasonShift((0.5, 0.5, 0.0, 0.0), 0))
    plain, moved = score_churn(model, BANDS, table), score_churn(seasoned, BANDS, table)
    assert (plain.churn_probability != moved.churn_probability).all()
    np.testing.assert_array_equal(plain.churn_score, moved.churn_score)


def test_features_of_another_set_are_refused(model, table):
    with pytest.raises(ArtefactError, match="fingerprint"):
        score_churn(model, BANDS, dataclasses.replace(table, fingerprint="0" * 64))


def test_every_churn_feature_has_a_reason():
    unknown = [name for name in CHURN_FEATURES.names if reason_kind(name).code == "other"]
    assert unknown == []


def test_every_reason_of_the_catalogue_is_met_by_a_feature():
    met = {reason_kind(name).code for name in CHURN_FEATURES.names}
    assert {kind.code for kind in reason_kinds()} - met == {"other"}


def test_reasons_gather_features_and_show_the_customers_own_value(model, table):
    row = table.values[39]
    found = reasons(model, row, model.contributions(table.values[39:])[0], 3)
    assert found[0].code == "overdue"
    assert found[0].feature == "orders_recency_days"
    assert found[0].value == row[CHURN_FEATURES.names.index("orders_recency_days")]
    assert found[0].direction == "raises"
    assert "days since the last order: 118" in found[0].text
    assert len(found) <= 3


def test_reasons_add_by_hand(model):
    names = CHURN_FEATURES.names
    moved = np.zeros(len(names) + 1)
    moved[names.index("orders_recency_days")] = 1.0
    moved[names.index("cycle_position_all")] = 0.5
    moved[names.index("late_deliveries_count_90d")] = -0.5
    moved[-1] = 9.0  # the average margin is no reason
    row = np.full(len(names), np.nan)
    first, second = reasons(model, row, moved, 5)
    assert (first.code, first.direction, first.importance) == ("overdue", "raises", 0.75)
    assert (second.code, second.direction, second.importance) == ("late_delivery", "lowers", 0.25)
    assert first.value is None
    assert "there was none" in first.text


def reason(code, direction="raises", controllable=True):
    return Reason(code, f"text of {code}", direction, "feature", 1.0, 2.0, 0.5, controllable)


def test_the_policy_acts_on_controllable_reasons_that_raise_the_risk():
    policy = Policy(actions={"price": ("discount",), "support": ("apology_call",), "season": ("nothing",)})
    given = [reason("season", controllable=False), reason("support", "lowers"), reason("price")]
    (only,) = policy.recommended_actions("high", given)
    assert (only.action, only.why) == ("discount", "text of price")
    assert policy.recommended_actions("low", given) == ()


def test_the_policy_never_says_an_action_twice_and_keeps_its_limit():
    policy = Policy(max_actions=2, actions={"a": ("call", "mail"), "b": ("call",), "c": ("call", "gift")})
    chosen = policy.recommended_actions("high", [reason("a"), reason("b"), reason("c")])
    assert [action.action for action in chosen] == ["call", "gift"]


def test_without_a_fitting_reason_the_policy_does_nothing_or_as_told():
    assert Policy(actions={}).recommended_actions("high", [reason("a")]) == ()
    told = Policy(actions={}, otherwise="discount").recommended_actions("high", [])
    assert [action.action for action in told] == ["discount"]


def test_policy_and_bands_come_back_from_their_manifests():
    policy = Policy(otherwise="call")
    assert Policy.from_manifest(policy.to_manifest()) == policy
    assert Bands.from_manifest(BANDS.to_manifest()) == BANDS


@pytest.mark.parametrize("wrong", [{"medium": 0.7, "high": 0.6}, {"medium": "x", "high": 0.6}, {"high": 0.6}, None])
def test_malformed_bands_are_refused(wrong):
    with pytest.raises(ArtefactError):
        Bands.from_manifest(wrong)


@pytest.mark.parametrize(
    "change",
    [{"act_in": ["huge"]}, {"max_actions": -1}, {"actions": {"a": "call"}}, {"otherwise": 5}, {"more": 1}],
)
def test_a_malformed_policy_is_refused(change):
    with pytest.raises(ArtefactError):
        Policy.from_manifest(Policy().to_manifest() | change)


def test_a_probability_at_a_cutoff_falls_into_the_upper_band():
    assert BANDS.of_many(np.array([0.2999, 0.3, 0.6])).tolist() == ["low", "medium", "high"]
