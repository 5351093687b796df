import dataclasses

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.errors import ArtefactError
from features.instants import DAY_US
from serving.bands import Bands
from serving.policy import Policy
from serving.reasons import Reason
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
    assert [(action.action, action.why) for action in told] == [
        ("discount", "risk is high, and no single cause stands out that the shop controls")
    ]
    (in_chinese,) = Policy(actions={}, otherwise="discount").recommended_actions("medium", [], "zh")
    assert in_chinese.why == "风险中等，但没有突出的、商家可控的单一原因"


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
