"""The scores of a snapshot, worked out before anybody asks: the same bits as on request, and never of another one."""

from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import FeatureTable, compute
from features.customer_view import CustomerView
from features.event_log import EventLog
from features.instants import DAY_US, format_instant
from serving.assignment import HOLDOUT_SHARE, placed_arm
from serving.release import Release
from serving.releases import load_named
from serving.rollouts.state import Change, start_rollout
from serving.runtime import Runtime
from serving.settings import ServiceSettings
from serving.snapshots import StoredFeatures
from serving.stored_scores import StoredScores, scored
from tests.forecasting import forecasting_model, two_segments
from tests.serving.conftest import Running
from tests.tiny_shop import N_CUSTOMERS, NOW_US, TinyShop

ALL = "reasons,actions,forecast,trend,segment"


@pytest.fixture
def forecasting(shop: TinyShop) -> Running:
    """A shop with a snapshot of today, and a release that tells all there is to tell."""
    shop.release("forecasting", churn=forecasting_model(-1.5), segments=two_segments())
    shop.release("other", churn=forecasting_model(0.5), segments=two_segments())
    write_snapshot(shop, days=0)
    return Running(
        shop, ServiceSettings(shop.workspace.root, release="forecasting", rollout_poll_ms=20, lock_timeout_ms=50)
    )


def table_of(shop: TinyShop, days: int) -> FeatureTable:
    view = CustomerView.from_events(EventLog.open(shop.workspace.event_log).read())
    return compute(view, CHURN_FEATURES, NOW_US - days * DAY_US)


def write_snapshot(shop: TinyShop, days: int) -> None:
    shop.workspace.snapshots.mkdir(exist_ok=True)
    pq.write_table(table_of(shop, days).to_arrow(), shop.workspace.snapshots / f"{days}.parquet")


def stored_of(table: FeatureTable) -> StoredFeatures:
    rows = {key: row for row, key in enumerate(table.customer_keys.tolist())}
    return StoredFeatures(table.as_of_us, np.ascontiguousarray(table.values), rows)


def release_of(shop: TinyShop, name: str = "forecasting") -> Release:
    return load_named(name, shop.workspace)


def opened(running: Running) -> Runtime:
    return running.open(running.settings)


async def answers(client: httpx.AsyncClient, include: str) -> list[Any]:
    """Of every customer one by one, then of all in a batch; without what is told of the answer itself."""
    query = f"freshness=stored&include={include}"
    found = [(await client.get(f"/v1/customers/c{n}/churn?{query}")).json() for n in range(N_CUSTOMERS)]
    body = {"customer_ids": [f"c{n}" for n in range(N_CUSTOMERS)], "freshness": "stored", "include": include.split(",")}
    batch = (await client.post("/v1/churn/score:batch", json=body)).json()["results"]
    found += [row["churn"] for row in batch]
    return [{key: one[key] for key in one if key != "decision_id"} for one in found]


@pytest.mark.parametrize("include", ["segment", ALL])
def test_a_stored_answer_is_what_is_worked_out_on_request(forecasting: Running, include: str) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[list[Any], list[Any]]:
        runtime = forecasting.runtime
        stored = runtime.snapshots.stored
        assert stored is not None
        assert runtime.scores.of(runtime.served.champion, stored) is not None
        beforehand = await answers(client, include)
        runtime.scores = StoredScores(rows_a_poll=0)
        assert runtime.scores.of(runtime.served.champion, stored) is None
        return beforehand, await answers(client, include)

    beforehand, on_request = forecasting.run(talk)
    assert len(beforehand) == 2 * N_CUSTOMERS
    assert beforehand == on_request


def test_parts_make_up_the_whole_bit_for_bit_and_are_not_answered_from_before(forecasting: Running) -> None:
    table, release = table_of(forecasting.shop, 0), release_of(forecasting.shop)
    stored, whole = stored_of(table), scored(release, table)
    scores = StoredScores(rows_a_poll=7)
    for _ in range(5):
        scores.poll([(release, stored)])
        assert scores.of(release, stored) is None
    scores.poll([(release, stored)])
    found = scores.of(release, stored)
    assert found is not None
    for column, expected in zip(found.columns(), whole.columns(), strict=True):
        assert column.dtype == expected.dtype
        np.testing.assert_array_equal(column, expected)
    for row in range(N_CUSTOMERS):
        alone = scored(release, table.select(np.array([row])))
        for column, expected in zip(found.select(np.array([row])).columns(), alone.columns(), strict=True):
            np.testing.assert_array_equal(column, expected)


def test_what_is_not_asked_for_is_not_told(forecasting: Running) -> None:
    whole = scored(release_of(forecasting.shop), table_of(forecasting.shop, 0))
    some = whole.select(np.array([3, 1]), forecast=False, segments=False)
    assert (some.scores.forecast, some.segments) == (None, None)
    assert some.scores.customer_keys.tolist() == whole.scores.customer_keys[[3, 1]].tolist()


def test_a_newer_snapshot_is_answered_from_at_once(forecasting: Running) -> None:
    shop = forecasting.shop
    (shop.workspace.snapshots / "0.parquet").unlink()
    write_snapshot(shop, days=9)
    runtime = opened(forecasting)
    before = runtime.snapshots.stored
    assert before is not None
    write_snapshot(shop, days=2)
    runtime.snapshots.poll()  # the scores are not there yet
    after = runtime.snapshots.stored
    assert after is not None
    champion = runtime.served.champion
    assert runtime.scores.of(champion, after) is None
    runtime.poll()
    assert runtime.scores.of(champion, before) is None
    found = runtime.scores.of(champion, after)
    assert found is not None
    expected = scored(champion, table_of(shop, 2)).scores
    np.testing.assert_array_equal(found.scores.churn_probability, expected.churn_probability)
    assert found.scores.as_of_us == NOW_US - 2 * DAY_US
    runtime.close()


def test_each_arm_of_a_rollout_answers_from_its_own_scores(forecasting: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[Any]:
        runtime = forecasting.runtime
        start_rollout(runtime.store, "other", 0.5, "s", Change("ada", NOW_US, "a test"))
        runtime.poll()
        return await answers(client, "forecast")

    shop, told = forecasting.shop, forecasting.run(talk)
    table = table_of(shop, 0)
    champion, challenger = (scored(release_of(shop, *name), table).scores for name in ((), ("other",)))
    places = {key: row for row, key in enumerate(table.customer_keys.tolist())}
    seen = set()
    for one in told:
        key = shop.pseudonyms.of(one["customer_id"])
        arm = placed_arm("s", 0.5, key, HOLDOUT_SHARE)
        seen.add(arm)
        scores = challenger if arm == "challenger" else champion
        assert one["experiment"]["arm"] == arm
        assert one["churn_probability"] == scores.churn_probability[places[key]]
        assert one["features_as_of"] == format_instant(NOW_US)
    assert seen >= {"control", "challenger"}


def test_a_snapshot_with_a_fault_is_told_once_and_answered_one_by_one(
    forecasting: Running, caplog: pytest.LogCaptureFixture
) -> None:
    shop = forecasting.shop
    table = table_of(shop, 0)
    table.values[5, 0] = np.inf
    pq.write_table(table.to_arrow(), shop.workspace.snapshots / "0.parquet")
    runtime = opened(forecasting)
    runtime.poll()
    stored = runtime.snapshots.stored
    assert stored is not None
    assert runtime.scores.of(runtime.served.champion, stored) is None
    (told,) = [record.message for record in caplog.records if record.name == "holdfast.scores"]
    assert told.startswith("the stored features are scored one by one for release forecasting: a feature value is inf")
    runtime.close()

    async def talk(client: httpx.AsyncClient) -> list[int]:
        calls = [await client.get(f"/v1/customers/c{n}/churn?freshness=stored") for n in range(N_CUSTOMERS)]
        return [call.status_code for call in calls]

    assert sorted(forecasting.run(talk)) == [200] * (N_CUSTOMERS - 1) + [422]


def test_two_snapshots_share_the_rows_of_a_poll(forecasting: Running) -> None:
    shop = forecasting.shop
    release, scores = release_of(shop), StoredScores(rows_a_poll=N_CUSTOMERS + 10)
    first, second = stored_of(table_of(shop, 0)), stored_of(table_of(shop, 3))
    scores.poll([(release, first), (release, second)])
    assert scores.of(release, first) is not None
    assert scores.of(release, second) is None
    scores.poll([(release, second)])
    assert scores.of(release, first) is None  # nobody wants it any more
    assert scores.of(release, second) is not None
