"""Real shops walk the README's three commands to served answers; the report says who wins, us or a baseline."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.event_log import EventLog
from features.instants import DAY_US, parse_instant
from features.workspace import Workspace
from serving.releases import newest_release
from tests.shop_commands import holdfast
from training.demo import call, free_port, serving

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data on this machine"),
]

ONLINE_RETAIL = DATA / "online-retail" / "online_retail_II_2009_2010.parquet"
CDNOW = DATA / "cdnow" / "CDNOW_sample.txt"
NOT_BETTER = ("is not distinguishable from", "loses to")


def released(root, source, mapping):
    """The first two of the README's three commands."""
    report = holdfast(root, "import", str(source), "--mapping", mapping)
    assert report["n_quarantined"] == 0
    made = holdfast(root, "train", "all")
    assert made["promoted"] == {"holdfast-churn": True, "holdfast-recommender": True}
    return Workspace(root)


@pytest.fixture(scope="module")
def online_retail(tmp_path_factory):
    return released(tmp_path_factory.mktemp("online-retail"), ONLINE_RETAIL, "online_retail_ii")


@pytest.fixture(scope="module")
def cdnow(tmp_path_factory):
    return released(tmp_path_factory.mktemp("cdnow"), CDNOW, "cdnow")


def answers(workspace, customer_id, now):
    """The third command, its clock where the log ended: a score and a list for one customer."""
    shift = parse_instant(now) - time.time_ns() // 1_000
    with serving(workspace, newest_release(workspace.releases), free_port(0), shift) as base:
        score = call(base, "CRM", "", "GET", f"/v1/customers/{customer_id}/churn")
        slate = call(base, "shop", "", "POST", "/v1/recommendations", {"customer_id": customer_id, "limit": 5})
    assert (score.status, slate.status) == (200, 200)
    return score.answer, slate.answer


def test_online_retail_is_served(online_retail):
    score, slate = answers(online_retail, "13085", "2010-12-01T00:00:00Z")
    assert 0 < score["churn_probability"] < 1
    assert score["reasons"]
    assert len({item["item_id"] for item in slate["items"]}) == 5
    assert slate["fallback"] is False


def test_cdnow_is_served(cdnow):
    score, slate = answers(cdnow, "00004", "1998-07-01T00:00:00Z")
    assert 0 < score["churn_probability"] < 1
    assert [item["item_id"] for item in slate["items"]] == ["cd"]  # the source has no items: one stands for all


def churn_report(workspace):
    from training.registry import CHURN, Registry
    from training.tracking import open_tracking

    tracking = open_tracking(workspace)
    version = Registry(tracking).version(CHURN, "champion")
    run = tracking.client.get_run(version.run_id)
    return run.data.metrics, run.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("shop", ["online_retail", "cdnow"])
def test_churn_forward_in_time_beats_its_baselines_or_the_report_says_that_it_does_not(shop, request):
    metrics, words = churn_report(request.getfixturevalue(shop))
    for baseline in ("recency", "logistic"):
        theirs = metrics[f"baseline.{baseline}.auc"]
        beats = f"The model beats the {baseline} baseline" in words
        says_not = any(f"The model {verb} the {baseline} baseline" in words for verb in NOT_BETTER)
        assert beats != says_not
        if beats:
            assert metrics["auc"] > theirs
    assert metrics["auc"] > metrics["baseline.recency.auc"]


@pytest.mark.parametrize("days_back", [0, 45, 180])
def test_compute_over_all_equals_compute_over_each_one_alone(online_retail, days_back):
    view = CustomerView.from_events(EventLog.open(online_retail.event_log).read())
    as_of = parse_instant("2010-12-01T00:00:00Z") - days_back * DAY_US
    table = compute(view, CHURN_FEATURES, as_of)
    different = sum(
        not np.array_equal(compute(view.select([row]), CHURN_FEATURES, as_of).values[0], values, equal_nan=True)
        for row, values in enumerate(table.values)
    )
    assert (different, len(table.values)) == (0, 4_267)


def test_events_from_as_of_on_change_nothing(online_retail):
    events = EventLog.open(online_retail.event_log).read()
    as_of = parse_instant("2010-09-01T00:00:00Z")
    view = CustomerView.from_events(events)
    past = view.known_at(as_of)
    whole, cut = compute(view, CHURN_FEATURES, as_of), compute(past, CHURN_FEATURES, as_of)
    assert len(past) < len(view)
    assert np.array_equal(whole.values, cut.values, equal_nan=True)


def test_scores_file_holds_every_customer(online_retail, tmp_path):
    scored = holdfast(online_retail.root, "score", str(tmp_path / "scores.csv"))
    assert scored["n_scored"] == 4_267
    assert json.dumps(scored["bands"])
