"""The models come near what only the simulation knows; the same code and limits as `make bench-known-answers`."""

import pytest

from benchmarks.bench_known_answers import known_answers
from features.pseudonyms import Pseudonyms
from training.churn_evaluation import OURS
from training.settings import Settings
from training.simulate import SimulationSettings, simulate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[3, 5])
def found(request):
    shop = simulate(SimulationSettings(scale=0.3), seed=request.param)
    return known_answers(shop, Pseudonyms("k0", bytes(32)), Settings())


def test_calibration_auc_and_ranking_keep_their_limits(found):
    assert found.failures == []


def test_nobody_beats_the_true_hazard(found):
    best = found.churn["the true hazard"]
    assert all(values[0] <= best[0] + 0.005 for values in found.churn.values())
    assert all(values[2] >= best[2] - 0.002 for values in found.churn.values())


def test_ours_beats_every_baseline_of_churn(found):
    assert all(
        found.churn[OURS][0] > values[0] for name, values in found.churn.items() if name in {"recency", "logistic"}
    )
