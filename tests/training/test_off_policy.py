"""Off-policy evaluation: hand arithmetic, worlds whose truth is known, and propensities that are nearly nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ConfigurationError, DataError, NotEnoughDataError
from training.logged_rounds import LoggedRounds, NewPolicy, by_item_and_position
from training.off_policy import ESTIMATORS, OffPolicySettings, evaluate_policy, logged_value
from training.reward_models import cross_fit, fit_logistic_rewards, fit_shrunk_rewards

QUICK = OffPolicySettings(replicates=1, folds=2)
BOUNDED = tuple(name for name in ESTIMATORS if name != "ips")


def log_of(actions, propensities, rewards, *, positions=None, n_items=None, contexts=None, units=None):
    actions = np.asarray(actions, np.int64)
    n = actions.size
    return LoggedRounds(
        int(actions.max()) + 1 if n_items is None else n_items,
        actions,
        np.zeros(n, np.int64) if positions is None else np.asarray(positions, np.int64),
        np.asarray(propensities, np.float64),
        np.asarray(rewards, np.float64),
        np.zeros((n, 0)) if contexts is None else contexts,
        np.arange(n) if units is None else np.asarray(units, np.int64),
    )


class Always:
    """A reward model that says one number."""

    def __init__(self, said):
        self.said = said

    def expected(self, items, positions, contexts):
        return np.full(items.size, self.said)


def values(report):
    return {one.estimator: one.value for one in report.estimates}


def judged(rounds, policy, seed=0, how=QUICK, **kwargs):
    return evaluate_policy(rounds, policy, np.random.default_rng(seed), how, **kwargs)


def test_every_estimator_gives_what_the_formula_gives_by_hand():
    rounds = log_of([0, 0, 0, 1], [0.5, 0.5, 0.5, 0.25], [1, 0, 0, 1])
    policy = NewPolicy.by_position(np.array([[0.5, 0.5]]), rounds.positions)
    found = judged(rounds, policy, how=replace(QUICK, clip=1.5), fit_rewards=lambda _: Always(0.5))
    # weights 1, 1, 1, 2; clipped 1, 1, 1, 1.5; residuals .5, -.5, -.5, .5, so clipped and weighed they sum to .25
    assert values(found) == pytest.approx(
        {
            "ips": 3 / 4,
            "clipped_ips": 2.5 / 4,
            "snips": 2.5 / 4.5,
            "direct": 0.5,
            "dr": 0.5 + 0.25 / 4,
            "sn_dr": 0.5 + 0.25 / 4.5,
            "switch_dr": 0.5 + (0.5 - 0.5 - 0.5) / 4,
        }
    )
    assert found.logged.value == 0.5
    assert found.clipped_share == 0.25
    assert found.effective_sample == pytest.approx(4.5**2 / (3 + 2.25))
    assert found.covered_share == 1.0  # 4.5 / 4, and not more than everything


def test_weights_are_normalised_within_each_position():
    # first position: weights 1 and 3, rewards 1 and 0; second: weights 2 and 2, rewards 0 and 1
    rounds = log_of([0, 1, 0, 1], [0.5, 0.5, 0.25, 0.25], [1, 0, 0, 1], positions=[0, 0, 1, 1])
    policy = NewPolicy(
        np.array([0, 1, 2, 4, 6]), np.array([0, 1, 0, 1, 0, 1]), np.array([1.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    )
    rounds = replace(rounds, propensities=np.array([1.0, 1 / 3, 0.25, 0.25]))
    found = values(judged(rounds, policy, how=replace(QUICK, clip=100.0)))
    assert found["snips"] == pytest.approx(0.5 * 1 / 4 + 0.5 * 2 / 4)
    assert found["ips"] == pytest.approx((1 + 0 + 0 + 2) / 4)


def contextual_world(rng, n, noise=None):
    """Three items; the logging policy reads a coin x, and so does the reward. The truth is worked out below."""
    x = rng.integers(0, 2, n)
    logging = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]])[x]
    actions = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1)
    mean = np.array([[0.1, 0.3, 0.6], [0.5, 0.2, 0.4]])
    chance = mean[x, actions]
    rewards = (rng.random(n) < chance).astype(float) if noise is None else 10 + chance + noise * rng.normal(size=n)
    rounds = log_of(actions, logging[np.arange(n), actions], rewards, n_items=3, contexts=x[:, None].astype(float))
    items = np.where(
        x == 0, 2, 0
    )  # shows the best item: .6 where x is 0, .5 where it is 1; mixed with a little of item 1
    policy = NewPolicy(
        np.arange(n + 1) * 2,
        np.column_stack([items, np.ones(n, np.int64)]).ravel(),
        np.tile([0.9, 0.1], n),
    )
    return rounds, policy


TRUTH = 0.5 * (0.9 * 0.6 + 0.1 * 0.3) + 0.5 * (0.9 * 0.5 + 0.1 * 0.2)


def many(worlds, n, noise=None, fit_rewards=fit_shrunk_rewards):
    """Each estimator's values over many logs of one world; no weight is clipped, the largest being about 9."""
    found = {name: [] for name in ESTIMATORS}
    for seed in range(worlds):
        rounds, policy = contextual_world(np.random.default_rng(seed), n, noise)
        for name, value in values(judged(rounds, policy, seed, fit_rewards=fit_rewards)).items():
            found[name].append(value)
    return {name: np.array(told) for name, told in found.items()}


def test_estimators_are_right_on_average_where_the_logging_policy_read_the_context():
    found = many(60, 2_000)
    for name in set(ESTIMATORS) - {"direct"}:
        error = found[name].std() / math.sqrt(60)
        assert abs(found[name].mean() - TRUTH) < 4 * error, name
    # the shrunk means do not know the coin, and the log shows each item where it is worse: the model alone is wrong
    assert found["direct"].mean() < TRUTH - 0.05


def test_a_reward_model_takes_the_variance_away_that_weights_bring():
    found = many(40, 500, noise=0.1)
    assert found["dr"].std() < found["ips"].std() / 5
    assert abs(found["dr"].mean() - 10 - TRUTH) < 4 * found["dr"].std() / math.sqrt(40)


def test_the_logistic_model_finds_the_law_of_item_position_and_context():
    rng = np.random.default_rng(0)
    items, positions, context = rng.integers(0, 3, 20_000), rng.integers(0, 2, 20_000), rng.normal(5, 3, (20_000, 1))
    log_odds = np.array([-1.0, 0.0, 1.0])[items] - 0.5 * positions + 0.4 * (context[:, 0] - 5)
    rewards = rng.random(20_000) < 1 / (1 + np.exp(-log_odds))
    model = fit_logistic_rewards(log_of(items, np.full(20_000, 1 / 3), rewards, positions=positions, contexts=context))
    said = model.expected(np.array([0, 2, 1]), np.array([0, 1, 0]), np.array([[5.0], [5.0], [8.0]]))
    assert said == pytest.approx(1 / (1 + np.exp(-np.array([-1.0, 0.5, 1.2]))), abs=0.025)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = dict.fromkeys(ESTIMATORS, 0)
    for seed in range(40):
        rounds, policy = contextual_world(np.random.default_rng(1_000 + seed), 600)
        report = judged(rounds, policy, seed, replace(QUICK, replicates=80))
        for one in report.estimates:
            held[one.estimator] += one.ci_low <= TRUTH <= one.ci_high
    for name in set(ESTIMATORS) - {"direct"}:
        assert held[name] >= 33, (name, held[name])  # 95% of 40 is 38; 32 or fewer has a chance below 1 in 1,000


def test_units_are_drawn_together_so_repeated_rounds_make_no_interval_narrower():
    rounds, policy = contextual_world(np.random.default_rng(3), 400)
    rows = np.repeat(np.arange(400), 4)
    four = NewPolicy(np.arange(1_601) * 2, policy.items.reshape(-1, 2)[rows].ravel(), np.tile([0.9, 0.1], 1_600))
    how = replace(QUICK, replicates=400, clip=100.0)
    once = judged(rounds, policy, how=how).of("snips")
    again = judged(rounds.select(rows), four, how=how).of("snips")
    assert again.value == pytest.approx(once.value)
    assert again.ci_high - again.ci_low == pytest.approx(once.ci_high - once.ci_low, rel=0.15)


@settings(max_examples=40, deadline=None)
@given(
    tiny=st.floats(1e-12, 1e-6),
    where=st.integers(0, 399),
    seed=st.integers(0, 50),
)
def test_a_propensity_of_a_millionth_moves_no_clipped_estimate_far(tiny, where, seed):
    rng = np.random.default_rng(seed)
    rounds = log_of(rng.integers(0, 4, 400), np.full(400, 0.25), rng.random(400) < 0.2, n_items=4)
    policy = NewPolicy.by_position(np.array([[0.4, 0.3, 0.2, 0.1]]), rounds.positions)
    propensities = rounds.propensities.copy()
    propensities[where] = tiny
    before, after = (judged(log, policy) for log in (rounds, replace(rounds, propensities=propensities)))
    clicks = rounds.rewards.sum()
    assert after.clip == math.sqrt(clicks)
    for name in BOUNDED:  # of what the clicks add up to, one round can move its share of 1 / sqrt(clicks)
        assert abs(after.of(name).value - before.of(name).value) <= clicks / 400 / math.sqrt(clicks) + 1e-9, name
    assert after.effective_sample > 100.0
    if rounds.rewards[where] == 1.0:
        assert after.of("ips").value > 100.0  # what the textbook's estimator makes of it


def test_weights_are_clipped_at_the_root_of_the_rewards_that_there_are():
    """Rewards of one size count each: 100 of 400 rounds; two of 3 and four of 1 count (6 + 4)^2 / (18 + 4) = 4.5."""
    actions, chances = np.tile([0, 1], 200), np.full(400, 0.5)
    clicked, unequal = np.zeros(400), np.zeros(400)
    clicked[:100], unequal[:2], unequal[2:6] = 2.5, 3.0, -1.0
    for rewards, clip in ((clicked, 10.0), (unequal, math.sqrt(100 / 22)), (np.zeros(400), 1.0)):
        rounds = log_of(actions, chances, rewards)
        policy = NewPolicy.by_position(np.array([[0.5, 0.5]]), rounds.positions)
        assert judged(rounds, policy).clip == pytest.approx(clip)


def test_an_estimate_stays_within_the_rewards_where_weights_are_normalised():
    rng = np.random.default_rng(1)
    rounds = log_of(rng.integers(0, 3, 300), rng.uniform(1e-6, 1.0, 300), rng.uniform(2.0, 3.0, 300), n_items=3)
    policy = NewPolicy.by_position(np.array([[0.2, 0.3, 0.5]]), rounds.positions)
    assert 2.0 <= judged(rounds, policy).of("snips").value <= 3.0


def test_a_policy_that_the_log_supports_is_told_with_its_effective_sample():
    rounds, policy = contextual_world(np.random.default_rng(5), 3_000)
    report = judged(rounds, policy)
    assert report.supported
    assert report.decided() == report.of("dr")
    assert report.verdict.startswith(
        f"the log supports this policy: effective sample {report.effective_sample:,.0f} of 3,000"
    )


def test_a_policy_that_shows_what_the_log_never_saw_is_refused():
    rng = np.random.default_rng(0)
    rounds = log_of(rng.integers(0, 2, 1_000), np.full(1_000, 0.5), rng.random(1_000) < 0.5, n_items=3)
    report = judged(rounds, NewPolicy.always(np.full(1_000, 2)))
    assert not report.supported
    assert report.verdict.startswith("the log has hardly seen what this policy would show: it holds 0% of that")
    assert math.isnan(report.of("snips").value)
    with pytest.raises(NotEnoughDataError, match="explore more before judging"):
        report.decided()


def test_too_few_rewards_support_nothing():
    rounds = log_of(np.tile([0, 1], 500), np.full(1_000, 0.5), np.arange(1_000) < 4)
    report = judged(rounds, NewPolicy.by_position(np.array([[0.5, 0.5]]), rounds.positions))
    assert report.verdict.count(";") == 1
    assert "4 of its rounds with a reward, need 10" in report.verdict


def test_the_same_seed_gives_the_same_report():
    rounds, policy = contextual_world(np.random.default_rng(2), 300)
    how = replace(QUICK, replicates=20)
    assert judged(rounds, policy, 4, how) == judged(rounds, policy, 4, how)


def test_averaged_propensities_repair_a_policy_whose_chances_drift():
    """The item's rare hours weigh 100-fold by logged propensities; averaged they say the same and vary less."""
    truth, logged, averaged = 0.5 * 0.2 + 0.5 * 0.6, [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rare = np.where(rng.random(1_000) < 0.5, 0.01, 0.5)
        second = rng.random(1_000) < rare
        rewards = rng.random(1_000) < np.where(second, 0.6, 0.2)
        rounds = log_of(second, np.where(second, rare, 1 - rare), rewards, n_items=2)
        policy = NewPolicy.by_position(np.array([[0.5, 0.5]]), rounds.positions)
        how = replace(QUICK, clip=1e6)
        logged.append(judged(rounds, policy, how=how).of("ips").value)
        averaged.append(judged(by_item_and_position(rounds), policy, how=how).of("ips").value)
    assert np.mean(averaged) == pytest.approx(truth, abs=4 * np.std(averaged) / math.sqrt(60))
    assert np.std(averaged) < np.std(logged) / 2


def test_a_unit_is_judged_by_models_that_did_not_see_it():
    """Each unit has a reward of its own; a model fitted on the unit would say it."""
    seen = []

    def fit(rounds):
        seen.append(set(rounds.units.tolist()))
        return Always(float(rounds.rewards.sum()))

    rounds = log_of([0] * 8, [1.0] * 8, [1, 1, 2, 2, 4, 4, 8, 8], units=[0, 0, 1, 1, 2, 2, 3, 3])
    found = cross_fit(rounds, NewPolicy.always(np.zeros(8, np.int64)), fit, np.random.default_rng(0), 4)
    assert sorted(map(len, seen)) == [3, 3, 3, 3]
    assert found.logged.tolist() == [28, 28, 26, 26, 22, 22, 14, 14]  # 30 less the unit's own two rewards
    assert found.of_policy.tolist() == found.logged.tolist()


def test_means_of_items_that_differ_by_chance_alone_are_drawn_to_the_mean_of_all():
    rng = np.random.default_rng(0)
    same = log_of(rng.integers(0, 20, 2_000), np.full(2_000, 0.05), rng.random(2_000) < 0.3, n_items=21)
    said = fit_shrunk_rewards(same).expected(np.arange(21), np.zeros(21, np.int64), np.zeros((21, 0)))
    raw = np.bincount(same.actions, weights=same.rewards, minlength=21)[:20] / np.bincount(same.actions)
    assert said[:20].std() < raw.std() / 2
    assert said[20] == pytest.approx(same.rewards.mean(), abs=0.01)  # never shown: the mean of all


def test_means_of_items_that_differ_are_kept_and_a_position_has_its_factor():
    actions, positions = np.tile([0, 1], 1_000), np.repeat([0, 1], 1_000)
    rewards = np.array([4.0, 8.0])[actions] * np.array([1.0, 0.5])[positions]
    rounds = log_of(actions, np.full(2_000, 0.5), rewards, positions=positions)
    said = fit_shrunk_rewards(rounds).expected(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.zeros((4, 0)))
    assert said == pytest.approx([4.0, 8.0, 2.0, 4.0], rel=0.01)


def test_the_logistic_model_wants_rewards_of_one_and_nought():
    with pytest.raises(ConfigurationError, match="fit_shrunk_rewards"):
        fit_logistic_rewards(log_of([0, 1], [0.5, 0.5], [0.0, 2.5]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"propensities": np.array([0.5, 0.0])}, "not in \\(0, 1\\]"),
        ({"propensities": np.array([0.5, math.nan])}, "not in \\(0, 1\\]"),
        ({"propensities": np.array([0.5, 1.5])}, "not in \\(0, 1\\]"),
        ({"rewards": np.array([0.0, math.inf])}, "not a finite number"),
        ({"rewards": np.array([0.0])}, "rewards has shape"),
        ({"actions": np.array([0, 7])}, "outside \\[0, 2\\)"),
        ({"positions": np.array([0, -1])}, "position -1"),
        ({"contexts": np.zeros(2)}, "contexts has shape"),
    ],
)
def test_a_log_that_cannot_be_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        replace(log_of([0, 1], [0.5, 0.5], [0, 1]), **change)


def test_a_policy_whose_probabilities_do_not_sum_to_one_is_refused():
    with pytest.raises(DataError, match=r"round 1 sum to 0\.7"):
        NewPolicy(np.array([0, 1, 3]), np.array([0, 0, 1]), np.array([1.0, 0.4, 0.3]))


def test_an_empty_log_a_short_one_and_another_policy_have_their_answers():
    empty = log_of(np.zeros(0, np.int64), [], [], n_items=1)
    with pytest.raises(NotEnoughDataError, match="holds no rounds"):
        logged_value(empty, np.random.default_rng(0))
    short = log_of([0, 0], [1.0, 1.0], [0, 1])
    with pytest.raises(NotEnoughDataError, match="2 units, need 5"):
        judged(short, NewPolicy.always(np.zeros(2, np.int64)), how=OffPolicySettings(replicates=1))
    with pytest.raises(DataError, match="2 rounds, the policy speaks of 3"):
        judged(short, NewPolicy.always(np.zeros(3, np.int64)))
