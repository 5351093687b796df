"""The recommender on the simulated shop and on real orders, judged forward in time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from features.customer_view import CustomerView
from features.event_log import EventLog
from features.importing import import_file, load_mapping
from features.instants import DAY_US
from features.workspace import Workspace
from training.recommender import RecommenderFitSettings
from training.recommender_evaluation import EvaluationSettings, backtest_recommender, train_recommender
from training.simulate import SimulationSettings, inside, simulate

RETAIL = Path(__file__).parents[3] / "shared" / "data" / "online-retail" / "online_retail_II_2009_2010.parquet"


@pytest.mark.slow
def test_ours_beats_popularity_by_half_on_the_simulated_shop_at_every_cutoff():
    simulation = SimulationSettings(scale=0.2)
    events, _ = inside(simulate(simulation, 11), lambda ids: ids.cast(pa.string()))
    view = CustomerView.from_events(events)
    cutoffs = [simulation.end_us - days * DAY_US for days in (90, 60, 30)]
    for report in backtest_recommender(view, cutoffs, RecommenderFitSettings(), EvaluationSettings()):
        assert report.gain_over("popularity").gain_rel >= 0.5
        assert report.gain_over("popularity").gain_abs.ci_low > 0
        assert report.gain_over("popularity", "new").gain_abs.ci_low > 0


@pytest.mark.slow
@pytest.mark.realdata
def test_ours_beats_popularity_and_buying_again_on_real_orders(tmp_path):
    if not RETAIL.exists():
        pytest.skip(f"{RETAIL.name} is not in ../shared/data/online-retail")
    workspace = Workspace(tmp_path)
    import_file(RETAIL, load_mapping("online_retail_ii"), workspace)
    view = CustomerView.from_events(EventLog.open(workspace.event_log).read())
    report = train_recommender(view, RecommenderFitSettings(), EvaluationSettings()).report
    assert report.gain_over("popularity").gain_rel >= 0.5
    assert report.gain_over("buy_again_popularity").gain_abs.ci_low > 0
    assert report.gain_over("popularity", "new").gain_abs.ci_low > 0
