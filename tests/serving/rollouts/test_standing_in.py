"""Where a challenger fails, the champion answers in its place, and the failure counts for the challenger alone."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from serving.assignment import HOLDOUT_SHARE, placed_arm
from serving.churn_model import ChurnModel
from serving.rollouts.arm_totals import read_arm_figures
from serving.rollouts.state import Change, start_rollout
from serving.store import decisions
from serving.storefront import Storefront
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US

BY = Change("ada", NOW_US, "a test")
Talk = Callable[[httpx.AsyncClient], Awaitable[Any]]


def treated(running: Running) -> list[str]:
    """Customers of the challenger at a share of a half."""
    keys = {f"c{number}": running.shop.pseudonyms.of(f"c{number}") for number in range(40)}
    return [one for one, key in keys.items() if placed_arm("s", 0.5, key, HOLDOUT_SHARE) == "challenger"]


def started(running: Running, talk: Talk) -> Any:
    async def whole(client: httpx.AsyncClient) -> Any:
        start_rollout(running.runtime.store, "second", 0.5, "s", BY)
        running.runtime.poll()
        told = await talk(client)
        running.runtime.totals.close()
        running.runtime.decisions.close()
        with running.runtime.store.read() as connection:
            kept = connection.execute(sa.select(decisions)).mappings().all()
        return told, read_arm_figures(running.runtime.store, "rollout-s", 0), kept

    return running.run(whole)


def broken(running: Running, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """From now on the churn model and the slates of the challenger are not to be had."""
    calibrated, slate = ChurnModel.calibrated, Storefront.slate
    asked: list[Storefront] = []

    def of_churn(model: ChurnModel, *arguments: Any) -> Any:
        challenger = running.runtime.releases.served.challenger
        if challenger is None or model is not challenger.churn:
            return calibrated(model, *arguments)
        if how == "raises":
            raise RuntimeError("a bug")
        return np.full_like(calibrated(model, *arguments), np.nan)

    def of_slates(storefront: Storefront, *arguments: Any, **named: Any) -> Any:
        found = slate(storefront, *arguments, **named)
        asked.append(storefront)
        if len(asked) > 1:  # the two releases recommend alike and share a storefront; the challenger is asked first
            return found
        if how == "raises":
            raise RuntimeError("a bug")
        return replace(found, items=tuple(replace(item, score=float("nan")) for item in found.items))

    monkeypatch.setattr(ChurnModel, "calibrated", of_churn)
    monkeypatch.setattr(Storefront, "slate", of_slates)


@pytest.mark.parametrize("how", ["raises", "answers NaN"])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_the_champion_answers_in_its_place_and_the_failure_counts_for_the_challenger(
    running: Running, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async def talk(client: httpx.AsyncClient) -> Any:
        one = treated(running)[0]
        before = await client.get(f"/v1/customers/{one}/churn")
        broken(running, monkeypatch, how)
        score = await client.get(f"/v1/customers/{one}/churn")
        slate = await client.post("/v1/rank", json={"customer_id": one, "items": ["apple", "bread"]})
        batch = await client.post("/v1/churn/score:batch", json={"customer_ids": [one]})
        return before, score, slate, batch

    (before, score, slate, batch), figures, kept = started(running, talk)
    assert (before.status_code, before.headers["x-release"]) == (200, "second")
    for answer in (score, slate):
        assert (answer.status_code, answer.headers["x-release"]) == (200, "first")
        assert answer.json()["experiment"] == {"key": "rollout-s", "arm": "challenger", "stood_in_for": "second"}
        assert answer.json()["model"]["release"] == "first"
    assert (batch.headers["x-release"], batch.json()["scored"]) == ("first", 1)
    assert figures.keys() == {"challenger"}
    assert (figures["challenger"].n_requests, figures["challenger"].n_errors) == (4, 3)
    assert [(one["release"], one["arm"]) for one in kept] == [("second", "challenger")] + [("first", "challenger")] * 3


def test_a_champion_that_answers_no_number_is_an_error_and_not_an_answer(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: ChurnModel, margins: Any, *_more: Any) -> Any:
        return np.full(margins.shape, np.nan)

    async def talk(client: httpx.AsyncClient) -> Any:
        monkeypatch.setattr(ChurnModel, "calibrated", none)
        return await client.get("/v1/customers/c1/churn")

    answer = running.run(talk)
    assert answer.status_code == 500
    assert "nan" not in answer.text.lower()
