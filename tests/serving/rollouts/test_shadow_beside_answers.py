"""The shadow of a running application: what it answers is compared, and no fault of it is seen anywhere else."""

import asyncio
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from serving.rollouts.arm_totals import ArmFigures, read_arm_figures
from serving.rollouts.shadow import Shadow, ShadowLimits
from serving.rollouts.state import Change, set_champion, start_rollout
from serving.store_schema import metadata
from tests.serving.conftest import Running

pytestmark = pytest.mark.service

BY = Change("ada", 7, "a test")
IDS = [f"c{number}" for number in range(40)]
MEMORY = 1 << 29
LIMITS = ShadowLimits(queue=50, answer_s=0.5, memory_bytes=MEMORY, pause_s=0.1, longest_pause_s=0.2)
FAULTS = {
    "hangs": "time.sleep(1_000)",
    "hangs busily": "while True: pass",
    "raises": "1 / 0",
    "eats memory": "eaten = [bytearray(1 << 24) for _ in range(1_000)]",
    "eats memory and goes on": 'eaten.append(bytearray(1 << 24)) ; print(\'{"error": "x"}\', flush=True)',
    "answers without end": "print('x' * (1 << 22), flush=True)",
}


def program(fault: str) -> tuple[str, ...]:
    start = "import sys, time\neaten = []\nsys.stdin.readline()\nprint('{\"ready\": true}', flush=True)\n"
    return (sys.executable, "-c", f"{start}for line in sys.stdin:\n    {fault}\n")


def rows(running: Running) -> dict[str, int]:
    with running.runtime.store.read() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in metadata.sorted_tables
        }


def start_shadow(running: Running) -> None:
    start_rollout(running.runtime.store, "second", 0.0, "s", BY)
    running.runtime.poll()


async def ask_everybody(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    scores = []
    for one in IDS:
        score = await client.get(f"/v1/customers/{one}/churn")
        slate = await client.post("/v1/recommendations", json={"customer_id": one})
        assert (score.status_code, slate.status_code) == (200, 200)
        scores.append(score.json())
    return scores


async def figures_when(running: Running, enough: Any) -> dict[str, ArmFigures]:
    deadline = time.monotonic() + 60
    while True:
        running.runtime.totals._flush()
        found = read_arm_figures(running.runtime.store, "rollout-s", 0)
        if "shadow" in found and enough(found["shadow"]):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


def test_a_shadow_answers_what_it_would_answer_as_champion(running: Running) -> None:
    order = {"kind": "purchase", "customer_id": "c5", "item_id": "apple", "order_id": "o", "quantity": 1}
    event = order | {"event_id": "e-new", "occurred_at": "2024-02-29T23:59:00Z", "amount_minor": 5, "currency": "EUR"}

    async def talk(client: httpx.AsyncClient) -> tuple[Any, ...]:
        start_shadow(running)
        sent = await client.post("/v1/events", json={"events": [event]})
        assert sent.status_code in (200, 202), sent.text
        first = await ask_everybody(client)
        found = await figures_when(running, lambda one: one.n_requests + one.n_dropped == 2 * in_arm(first))
        set_champion(running.runtime.store, "second", BY)
        running.runtime.poll()
        return first, found, await ask_everybody(client), running.runtime.shadow.target

    def in_arm(answers: list[dict[str, Any]]) -> int:
        return sum(one["experiment"]["arm"] == "champion" for one in answers)

    first, found, second, target = running.run(talk)
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a["experiment"]["arm"] == "champion"]
    differences = [b["churn_probability"] - a["churn_probability"] for a, b in pairs]
    one = found["shadow"]
    assert (one.n_requests, one.n_errors, one.n_dropped, one.n_compared) == (2 * len(pairs), 0, 0, len(pairs))
    assert one.mean_difference == pytest.approx(sum(differences) / len(pairs), abs=1e-12)
    assert one.band_moves == Counter(f"{a['band']}>{b['band']}" for a, b in pairs)
    assert one.mean_overlap in (None, 1.0)  # both have the same recommender
    assert found["champion"].n_requests == one.n_requests
    assert target is None  # the second is the champion: nobody's shadow


@pytest.mark.parametrize("fault", FAULTS)
def test_a_shadow_that_fails_costs_no_request_and_leaves_no_trace(running: Running, fault: str) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[Any, ...]:
        runtime = running.runtime
        setting = replace(runtime.shadow._setting, command=program(FAULTS[fault]), limits=LIMITS)
        runtime.shadow = Shadow(setting)
        runtime.closing.callback(runtime.shadow.close)
        start_shadow(running)
        before, own, took = rows(running), psutil.Process().memory_info().rss, []
        for _ in range(5):
            started = time.perf_counter()
            answers = await ask_everybody(client)
            took.append(time.perf_counter() - started)
        eaten = max((child.memory_info().rss for child in psutil.Process().children(recursive=True)), default=0)
        found = await figures_when(running, lambda one: one.n_errors > 0)
        feed = runtime.shadow._feed
        assert feed is not None
        assert feed._waiting.qsize() <= LIMITS.queue
        await asyncio.sleep(0.5)
        grown = psutil.Process().memory_info().rss - own
        after = rows(running)
        return before, after, found, answers, (eaten, grown, max(took))

    before, after, found, answers, (eaten, grown, took) = running.run(talk)
    assert {one["model"]["release"] for one in answers} == {"first"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"decisions", "arm_totals"}
    assert after["decisions"] == before["decisions"] + 5 * 2 * len(IDS)  # one for each answer of the champion
    assert set(found) <= {"champion", "holdout", "shadow"}
    assert found["champion"].error_share == 0.0
    assert found["shadow"].n_errors == found["shadow"].n_requests > 0
    assert found["shadow"].n_dropped > 0
    assert (eaten <= MEMORY, grown < 64 << 20, took < 10.0) == (True, True, True), (eaten, grown, took)
    assert 'arm="shadow"' not in running.metrics.render().decode()
