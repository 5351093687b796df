"""What is counted of an answer: for its arm, the work alone, and no caller's mistake."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serving.problems import Problem
from serving.rollouts.arm_totals import ArmFigures, ArmTotals, read_arm_figures
from serving.rollouts.counting import Counting
from serving.rollouts.state import Change, start_rollout
from serving.store import Store
from tests.serving.conftest import Running

BY = Change("ada", 7, "a test")


def placed(arm: str, experiment: str = "rollout-s", release: str = "second") -> Any:
    return SimpleNamespace(release=SimpleNamespace(name=release), arm=arm, experiment=experiment)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "service.db")
    yield opened
    opened.close()


def figures(store: Store, totals: ArmTotals) -> dict[str, ArmFigures]:
    totals.close()
    return read_arm_figures(store, "rollout-s", 0)


def test_each_customer_of_a_batch_counts_for_the_own_arm_and_only_one_alone_is_timed(store: Store) -> None:
    totals = ArmTotals(store, lambda: 1, "w")
    asked = [placed("control"), placed("challenger"), placed("champion", "none"), placed("control")]
    with Counting(totals, asked, alone=False) as counting:
        counting.probabilities = [0.1, 0.2, 0.3, float("nan")]
        counting.missing = [True, False, False, False]
    with Counting(totals, (placed("challenger"),)) as counting:
        counting.fallback = True
    found = figures(store, totals)
    control, challenger = found["control"], found["challenger"]
    assert (control.n_requests, control.n_errors, control.n_missing, sum(control.latency.values())) == (2, 1, 1, 0)
    assert (challenger.n_requests, challenger.n_fallbacks, sum(challenger.latency.values())) == (2, 1, 1)
    assert (control.probabilities[5], challenger.probabilities[10]) == (1, 1)
    assert set(found) == {"control", "challenger"}


def test_what_the_release_raises_is_its_error_and_what_the_caller_asked_wrongly_is_not(store: Store) -> None:
    totals = ArmTotals(store, lambda: 1, "w")
    for error in (Problem(422, "no such filter"), ZeroDivisionError(), KeyboardInterrupt()):
        with pytest.raises(type(error)), Counting(totals, (placed("challenger"),)):
            raise error
    one = figures(store, totals)["challenger"]
    assert (one.n_requests, one.n_errors) == (1, 1)


def test_answers_over_http_are_counted_for_their_arms(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> dict[str, ArmFigures]:
        runtime = running.runtime
        start_rollout(runtime.store, "second", 0.5, "s", BY)
        runtime.poll()
        ids = [f"c{number}" for number in range(40)]
        for one in ids:
            assert (await client.get(f"/v1/customers/{one}/churn")).status_code == 200
            assert (await client.post("/v1/recommendations", json={"customer_id": one})).status_code == 200
        await client.post("/v1/churn/score:batch", json={"customer_ids": ids})
        assert (await client.get("/v1/customers/nobody/churn")).status_code == 404
        runtime.totals._flush()
        return read_arm_figures(runtime.store, "rollout-s", 0)

    found = running.run(talk)
    assert {"control", "challenger"} <= set(found) <= {"control", "challenger", "holdout"}
    for one in found.values():
        n = one.n_requests // 3  # of each customer a score, a slate and a row of the batch
        assert (one.n_requests, sum(one.latency.values()), sum(one.probabilities)) == (3 * n, 2 * n, 2 * n)
        assert (one.n_errors, one.n_missing, one.n_fallbacks) == (0, 0, 0)
    assert sum(one.n_requests for one in found.values()) == 3 * 40
