"""Who leaves for a planted cause is told of it; the same code and limits as `make bench-reasons`, on a smaller shop."""

import pytest

from benchmarks.bench_reasons import planted_causes, table, wilson
from features.pseudonyms import Pseudonyms
from training.churn_settings import ChurnSettings
from training.simulate import SimulationSettings, simulate


@pytest.mark.slow
def test_the_planted_cause_is_the_first_or_second_reason_of_who_leaves_for_it():
    shop = simulate(SimulationSettings(scale=0.3), seed=4)
    found = planted_causes(shop, Pseudonyms("k0", bytes(32)), ChurnSettings())
    assert found.failures == []
    for leavers in (found.weekly, found.monthly):
        (whole,) = [row for row in table(leavers) if row["planted cause"] == "all"]
        assert whole["left"] > 300
        # the law of silence tells causes by weight already; that they come first still adds to who hears of them first
        assert whole["first or second"] > whole["first or second, by weight alone"]
        assert 1 - whole["first"] < 0.8 * (1 - whole["first, by weight alone"])
    assert found.stayers_right > 0.5


def test_the_interval_of_a_share_is_wilsons():
    # 10 of 10: centre and half width are both (1.959964^2 / 2) / (10 + 1.959964^2) away from 1: 1 - .2775 = .7225
    low, high = wilson(10, 10)
    assert low == pytest.approx(0.7225, abs=5e-5)
    assert high == pytest.approx(1.0)
