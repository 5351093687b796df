"""The Open Bandit Data: each policy's own value is known, and the other policy's log has to tell it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_off_policy import shares
from benchmarks.open_bandit import read_open_bandit
from training.logged_rounds import NewPolicy, by_item_and_position
from training.off_policy import OffPolicySettings, evaluate_policy, logged_value

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "open-bandit-men"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data on this machine"),
]
QUICK = OffPolicySettings(replicates=200)


@pytest.fixture(scope="module")
def data():
    return read_open_bandit(DATA)


def test_the_files_are_read_whole(data):
    for log, clicks in ((data.random, 46), (data.bts, 69)):
        assert (log.n, log.n_items, log.n_positions, log.rewards.sum()) == (10_000, 34, 3, clicks)
    assert np.unique(data.random.propensities) == pytest.approx([1 / 34])


@pytest.mark.parametrize("estimator", ["ips", "clipped_ips", "snips", "dr", "sn_dr", "switch_dr"])
def test_thompson_sampling_is_valued_rightly_from_the_random_log(data, estimator):
    own = logged_value(data.bts, np.random.default_rng(0), QUICK)
    policy = NewPolicy.by_position(shares(data.bts), data.random.positions)
    report = evaluate_policy(data.random, policy, np.random.default_rng(0), QUICK)
    assert report.supported
    assert own.ci_low <= report.of(estimator).value <= own.ci_high


def test_the_random_policy_is_valued_rightly_from_the_other_log_by_averaged_propensities(data):
    own = logged_value(data.random, np.random.default_rng(0), QUICK)
    even = NewPolicy.by_position(np.full((3, 34), 1 / 34), data.bts.positions)
    averaged = evaluate_policy(by_item_and_position(data.bts), even, np.random.default_rng(0), QUICK)
    assert own.ci_low <= averaged.decided().value <= own.ci_high
    logged = evaluate_policy(data.bts, even, np.random.default_rng(0), QUICK)
    assert logged.effective_sample < averaged.effective_sample
    assert not logged.supported  # its rare hours weigh too much: refused, not told as if it were known
