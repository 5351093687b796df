"""The whole road once, by the command line and HTTP alone: files to served answers, and outcomes back in the log."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.day_tracks import OWN_DOING
from features.event_log import EventLog
from features.instants import DAY_US, parse_instant
from features.workspace import Workspace
from serving.releases import newest_release
from tests.shop_commands import holdfast, run_holdfast
from tests.watched_names import asked_outside, watching
from training.demo import call, free_port, serving

pytestmark = [pytest.mark.slow, pytest.mark.service, pytest.mark.timeout(900)]

END = "2026-01-01T00:00:00Z"  # of the simulated time, by default


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A released shop of 2,000 customers."""
    root = tmp_path_factory.mktemp("road")
    holdfast(root, "simulate", str(root / "shop"), "--scale", "0.1")
    for table in ("events", "items", "customers"):
        report = holdfast(root, "import", str(root / "shop" / f"{table}.parquet"), "--table", table)
        assert report["n_read"] == report["n_accepted"]
    made = holdfast(root, "train", "all")
    assert made["promoted"] == {"holdfast-churn": True, "holdfast-recommender": True}
    return Workspace(root)


@pytest.fixture(scope="module")
def base(shop):
    import time

    shift = parse_instant(END) - time.time_ns() // 1_000
    with serving(shop, newest_release(shop.releases), free_port(0), shift) as address:
        yield address


def some_customer(shop, silent_days=0):
    """The id of a buyer, not cancelled, whose last sign of life is at least, and hardly more than, this old."""
    events = pq.read_table(shop.root / "shop" / "events.parquet", columns=["customer_id", "kind", "occurred_at"])
    signs = events.filter(pc.is_in(events["kind"], pa.array(OWN_DOING)))
    last = signs.group_by("customer_id").aggregate([("occurred_at", "max"), ("kind", "distinct")])
    before = pa.scalar(parse_instant(END) - silent_days * DAY_US).cast(pa.timestamp("us", tz="UTC"))
    silent = last.filter(pc.less(last["occurred_at_max"], before)).sort_by([("occurred_at_max", "descending")])
    return next(
        row["customer_id"]
        for row in silent.to_pylist()
        if "purchase" in row["kind_distinct"] and "cancel" not in row["kind_distinct"]
    )


def test_every_answer_names_the_release_and_the_score_says_why(shop, base):
    answer = call(base, "CRM", "", "GET", f"/v1/customers/{some_customer(shop)}/churn").answer
    assert answer["model"]["release"] == newest_release(shop.releases)
    assert 0 <= answer["churn_probability"] <= 1
    assert answer["reasons"]
    assert answer["band"] in {"low", "medium", "high"}


def test_outcome_changes_the_next_answers_and_comes_back_in_the_log(shop, base):
    customer = some_customer(shop, silent_days=80)
    score = f"/v1/customers/{customer}/churn"
    wish = {"customer_id": customer, "placement": "home", "limit": 5}
    before = call(base, "CRM", "", "GET", score).answer
    slate = call(base, "shop", "", "POST", "/v1/recommendations", wish).answer
    shown = slate["items"][0]["item_id"]
    outcome = {
        "event_id": "journey-1",
        "customer_id": customer,
        "kind": "purchase",
        "item_id": shown,
        "order_id": "journey-order",
        "amount_minor": 1999,
        "currency": "EUR",
        "occurred_at": before["as_of"],
        "recommendation_id": slate["recommendation_id"],
        "decision_id": before["decision_id"],
    }
    posted = call(base, "shop", "", "POST", "/v1/events", {"events": [outcome, outcome]})
    assert (posted.status, posted.answer["accepted"], posted.answer["deduplicated"]) == (202, 1, 1)

    after = call(base, "CRM", "", "GET", score).answer
    assert after["data_quality"]["events_count"] == before["data_quality"]["events_count"] + 1
    assert after["churn_probability"] < before["churn_probability"]  # not seen for 80 days, and has just bought

    log = EventLog.open(shop.event_log)
    n_before = log.n_events
    sealed = holdfast(shop.root, "seal")
    assert sealed["sealed"] == 1
    row = EventLog.open(shop.event_log).read(columns=["event_id", "recommendation_id", "decision_id", "item_id"])
    (kept,) = [one for one in row.to_pylist() if one["event_id"] == "journey-1"]
    assert (kept["recommendation_id"], kept["item_id"]) == (slate["recommendation_id"], shown)
    assert EventLog.open(shop.event_log).n_events == n_before + 1
    assert holdfast(shop.root, "seal")["sealed"] == 0


def test_past_score_is_reproduced(shop, base):
    customer = some_customer(shop)
    path = f"/v1/customers/{customer}/churn?as_of=2025-12-01T00:00:00Z"
    first, second = (call(base, "CRM", "", "GET", path).answer for _ in range(2))
    assert first["churn_probability"] == second["churn_probability"]
    assert first["features_as_of"].startswith("2025-12-01T00:00:00")


def test_second_release_takes_a_sticky_share_and_rolls_back_by_one_command(shop, base):
    first = newest_release(shop.releases)
    config = shop.root / "other.toml"
    config.write_text("[release.bands]\nhigh_share = 0.2\n")
    second = holdfast(shop.root, "--config", str(config), "release")["name"]
    assert second != first
    state = holdfast(shop.root, "rollout", "start", second, "--share", "0.5", "--why", "a wider band")
    assert state["challenger"] == second

    def releases():
        path = "/v1/churn/score:batch"
        ids = [f"C{number:07d}" for number in range(1, 201)]
        rows = call(base, "CRM", "", "POST", path, {"customer_ids": ids}).answer["results"]
        return [row["churn"]["model"]["release"] for row in rows if "churn" in row]

    wait_for(lambda: set(releases()) == {first, second})
    split = releases()
    assert releases() == split  # sticky
    assert 0.3 < split.count(second) / len(split) < 0.7
    holdfast(shop.root, "rollout", "rollback", "--why", "enough seen")
    wait_for(lambda: set(releases()) == {first})
    history = holdfast(shop.root, "rollout", "history")
    assert [row["action"] for row in history][:2] == ["rollback", "start"]
    assert history[0]["why"] == "enough seen"


def wait_for(condition, seconds=10):
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the change did not take effect"
        time.sleep(0.1)


def test_batch_scores_carry_the_shops_own_ids_and_the_model(shop, tmp_path):
    holdfast(shop.root, "score", str(tmp_path / "scores.parquet"))
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert scores["customer_id"][0].as_py().startswith("C")
    assert set(scores["release"].to_pylist()) <= {path.name for path in shop.releases.iterdir()}
    assert scores.num_rows > 1_000


def test_refusals_have_their_exit_codes(shop, tmp_path):
    missing = run_holdfast(tmp_path / "nothing", "train", "churn")
    assert missing.returncode == 5
    assert "error" in json.loads(missing.stdout)
    unknown = run_holdfast(shop.root, "import", str(tmp_path / "no.csv"), "--mapping", "no_such")
    assert unknown.returncode == 2
    assert parse_instant(END) % DAY_US == 0


def test_training_and_releasing_ask_nobody_outside_this_machine(shop, tmp_path):
    watched = watching(tmp_path)
    trained = run_holdfast(shop.root, "train", "recommender", environment=watched)
    released = run_holdfast(shop.root, "release", environment=watched)
    assert (trained.returncode, released.returncode) == (0, 0), trained.stderr + released.stderr
    assert asked_outside(tmp_path, n_processes=2) == set()
