"""Rollouts over HTTP: begun, told, changed by who may, on the revision that was seen, and asked what served whom."""

from typing import Any

import httpx

from features.instants import format_instant
from serving.assignment import HOLDOUT_SHARE, placed_arm
from serving.rollouts.state import Change, start_rollout
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US

START = {"release": "second", "why": "a new season"}


def test_a_rollout_goes_from_start_to_champion_and_the_log_says_who_and_why(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        begun = await client.post("/v1/rollouts", json=START)
        running.runtime.poll()
        told = (await client.get("/v1/rollouts")).json()
        answers = [
            await client.post(f"/v1/rollouts/current:{name}", json={"why": "seen enough"})
            for name in ("pause", "resume", "approve", "step", "promote", "rollback")
        ]
        running.runtime.poll()
        return begun, told, answers, (await client.get("/v1/rollouts")).json()

    begun, told, answers, after = running.run(talk)
    assert begun.status_code == 201
    assert begun.json()["current"].items() >= {"challenger": "second", "share": 0.0, "step": 0}.items()
    assert told["next"]["action"] == "stay"
    assert [gate["ruling"] for gate in told["next"]["gates"] if gate["gate"] == "metrics"] == ["wait"]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["current"].get("share") for answer in answers] == [0.0, 0.0, 0.0, 0.01, 0.0, 0.0]
    assert answers[-2].json()["current"]["champion"] == "second"
    assert after["current"]["champion"] == "first"
    assert after["next"] is None
    actions = [row["action"] for row in reversed(after["history"])]
    assert actions == ["set_champion", "start", "pause", "resume", "approve", "step", "finish", "rollback"]
    newest = {row["action"]: row for row in after["history"]}
    assert (newest["step"]["who"], newest["step"]["why"]) == ("open", "seen enough")
    assert newest["step"]["figures"]["metrics"]["ruling"] == "wait"
    assert newest["step"]["before"]["step_started_at"] == format_instant(NOW_US)


REFUSED: tuple[tuple[str, dict[str, Any], int, str], ...] = (
    ("", {"release": "nonesuch"}, 422, "unknown_release"),
    ("", {"release": "../first"}, 422, "invalid"),
    ("", START | {"plan": "nonesuch"}, 422, "unknown_plan"),
    ("", START | {"share": 1.5}, 422, "invalid"),
    ("", START | {"pan": "default"}, 422, "invalid"),
    ("", {"release": "first"}, 409, "conflict"),
    ("/current:step", {}, 422, "invalid"),
    ("/current:promote", {"why": ""}, 422, "invalid"),
    ("/current:promote", {"why": "now"}, 409, "conflict"),
    ("/current:pause", {"revision": 0}, 422, "invalid"),
    ("/current:pause", {"revision": 7}, 409, "superseded"),
    ("/current:nonesuch", {}, 404, "not_found"),
)


def test_what_cannot_be_done_is_refused_and_changes_nothing(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        answers = [await client.post(f"/v1/rollouts{path}", json=body) for path, body, *_ in REFUSED]
        return answers, (await client.get("/v1/rollouts")).json()

    answers, after = running.run(talk)
    told = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert told == [(status, code) for *_, status, code in REFUSED]
    assert len(after["history"]) == 1


def test_a_rollout_by_hand_and_the_same_key_twice_is_one_rollout(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        sent = {"json": START | {"share": 0.25}, "headers": {"Idempotency-Key": "k-1"}}
        answers = [await client.post("/v1/rollouts", **sent) for _ in range(2)]
        return answers, (await client.get("/v1/rollouts")).json()

    (first, second), after = running.run(talk)
    assert first.json() == second.json()
    assert "step" not in first.json()["current"]
    assert [row["action"] for row in after["history"]] == ["start", "set_champion"]


def test_what_served_a_customer_at_a_time(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        store = running.runtime.store
        start_rollout(store, "second", 0.5, "s", Change("ada", NOW_US + 60_000_000, "a test"))
        told = {}
        for number in range(12):
            for name, at in (("before", NOW_US), ("during", NOW_US + 90_000_000)):
                asked = {"customer_id": f"c{number}", "at": format_instant(at)}
                told[number, name] = await client.get("/v1/rollouts/served", params=asked)
        asked = {"customer_id": "c1", "at": "1999-01-01T00:00:00Z"}
        return told, await client.get("/v1/rollouts/served", params=asked), await client.get("/v1/rollouts/served")

    told, too_early, nobody = running.run(talk)
    for number in range(12):
        arm = placed_arm("s", 0.5, running.shop.pseudonyms.of(f"c{number}"), HOLDOUT_SHARE)
        during = told[number, "during"].json()
        assert during["experiment"] == {"key": "rollout-s", "arm": arm}
        assert during["release"] == ("second" if arm == "challenger" else "first")
        assert during["change"] == {"seq": 2, "at": format_instant(NOW_US + 60_000_000), "who": "ada", "why": "a test"}
        assert told[number, "before"].json()["release"] == "first"
    assert (too_early.status_code, too_early.json()["code"], nobody.status_code) == (404, "nothing_served", 422)
