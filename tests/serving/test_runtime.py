"""What a running service holds: who answers whom, what is shown of it, and what a failed start gives back."""

import asyncio
import gc
import shutil
import threading
import weakref

import httpx
import pytest

from features.errors import ConfigurationError, UnavailableError
from serving.recipe import Recipe, load_recipes
from serving.rollouts.state import Change, finish_rollout, rollback, start_rollout
from serving.runtime import Runtime
from serving.service import RandomIds
from serving.slate_rules import SlateRules
from serving.snapshots import Snapshots
from tests.serving.conftest import Running
from tests.tiny_shop import edit_manifest

BY = Change("ada", 7, "a test")


def opened(running: Running) -> Runtime:
    return running.open(running.settings)


def test_the_shown_shares_of_all_releases_add_up_to_one_after_every_change(running: Running) -> None:
    runtime = opened(running)

    def shares() -> dict[str, float]:
        lines = [line for line in running.metrics.render().decode().splitlines() if "release_share{" in line]
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines}

    assert shares() == {"first": 1.0}
    start_rollout(runtime.store, "second", 0.25, "s", BY)
    runtime.poll()
    assert shares() == {"first": 0.75, "second": 0.25}
    finish_rollout(runtime.store, BY)
    runtime.poll()
    assert shares() == {"first": 0.0, "second": 1.0}
    rollback(runtime.store, BY)
    runtime.poll()
    assert shares() == {"first": 1.0, "second": 0.0}
    runtime.close()


def test_only_who_was_placed_by_the_hash_is_in_the_experiment(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> list[str]:
        start_rollout(running.runtime.store, "second", 0.5, "s", BY)
        running.runtime.poll()
        bodies = [{"customer_id": "c1"}, {"session_id": "visitor"}, {}]
        answers = [await client.post("/v1/recommendations", json=body) for body in bodies]
        answers.append(await client.get("/v1/items/apple/similar"))
        answers.append(await client.get("/v1/customers/c1/churn"))
        return [answer.json()["experiment"]["key"] for answer in answers]

    assert running.run(talk) == ["rollout-s", "rollout-s", "none", "none", "rollout-s"]


def test_while_the_challenger_is_refused_nobody_is_in_the_experiment(running: Running) -> None:
    (running.shop.workspace.releases / "second" / "churn" / "booster.txt").write_text("torn")
    runtime = opened(running)
    start_rollout(runtime.store, "second", 1.0, "s", BY)
    runtime.poll()
    routed = runtime.served.route("k:1")
    assert (routed.release.name, routed.experiment) == ("first", "none")
    runtime.close()


def test_a_refusal_is_counted_once_and_never_out_of_sight_while_it_is_tried_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (running.shop.workspace.releases / "first" / "churn" / "booster.txt").write_text("torn")
    runtime = opened(running)
    seen: list[bool] = []

    def look(name: str) -> object:
        seen.append("first" in runtime.releases.refusals)
        return running.shop.workspace.releases / name

    monkeypatch.setattr(runtime.releases, "_resolve", look)
    for _ in range(3):
        runtime.poll()
    assert seen == [True, True, True]
    assert "holdfast_release_refusals_total 1.0" in running.metrics.render().decode()
    runtime.close()


def test_a_release_with_a_recipe_that_does_not_fit_its_catalogue_never_serves(running: Running) -> None:
    shelf = Recipe("shelf", rules=SlateRules(where="colour = 'red'"))
    with pytest.raises(ConfigurationError, match="items do not have"):
        running.shop.release("broken", recipes={"home": Recipe("home"), "shelf": shelf})
    running.shop.release("broken")
    folder = running.shop.workspace.releases / "broken"
    edit_manifest(folder, lambda manifest: manifest["recipes"].update(home=shelf.to_manifest()))
    runtime = opened(running)
    start_rollout(runtime.store, "broken", 1.0, "s", BY)
    for _ in range(2):
        runtime.poll()
        assert "items do not have" in str(runtime.releases.refusals["broken"])
        assert runtime.served.challenger is None
        assert len(runtime.storefronts._made) == 1  # nothing of the refused one stays, however often it is tried
    runtime.close()


def test_the_storefront_of_a_release_is_warm_when_it_serves_and_goes_with_it(running: Running) -> None:
    runtime = opened(running)
    first = runtime.served.champion.recommender
    assert first is not None
    assert list(runtime.storefronts._made) == [first]
    assert len(runtime.storefronts.of(first)._books) == len(load_recipes())
    gone = weakref.ref(first)
    del first
    running.shop.release("third", base=1.0)
    for salt, name in (("s", "second"), ("t", "third")):
        start_rollout(runtime.store, name, 0.5, salt, BY)
        runtime.poll()
        finish_rollout(runtime.store, BY)
        runtime.poll()
    gc.collect()
    assert gone() is None  # the one before stays, for an instant rollback; the first does not
    assert len(runtime.storefronts._made) == 2
    runtime.close()


def test_a_release_under_another_s_name_is_refused(running: Running) -> None:
    releases = running.shop.workspace.releases
    shutil.copytree(releases / "second", releases / "third")
    runtime = opened(running)
    start_rollout(runtime.store, "third", 1.0, "s", BY)
    runtime.poll()
    assert runtime.served.route("k:1").release.name == "first"
    assert "calls itself second" in runtime.releases.refusals["third"].detail
    runtime.close()


def test_a_start_that_fails_gives_back_its_threads(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Snapshots, _tables: object) -> None:
        raise UnavailableError("no")

    monkeypatch.setattr(Snapshots, "poll", fail)
    before = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(UnavailableError):
            opened(running)
    assert set(threading.enumerate()) <= before


def test_a_name_is_given_though_another_thread_takes_the_last_one_in_between() -> None:
    class Emptied(list[str]):
        """What a thread sees that looked just before another one took the last name."""

        def __len__(self) -> int:
            return 1

    ids = RandomIds()
    ids._left = Emptied()
    names = [ids() for _ in range(1_000)]
    assert len(set(names)) == 1_000
    assert all(len(name) == 32 for name in names)


def test_a_rollback_does_not_wait_for_scores_that_are_being_worked_out(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(Runtime, "refresh", lambda _: over.wait(20))

    async def talk(client: httpx.AsyncClient) -> list[str]:
        store, seen = running.runtime.store, []
        for change, n_releases in (
            (lambda: start_rollout(store, "second", 0.5, "s", BY), 2),
            (lambda: rollback(store, BY), 1),
        ):
            change()
            while len((await client.get("/v1/releases")).json()["releases"]) != n_releases:
                await asyncio.sleep(0.02)
            seen.append(running.runtime.served.state.key)
        over.set()
        return seen

    monkeypatch.setattr(Runtime, "poll", Runtime.follow)  # the first one, while opening
    assert running.run(talk) == ["rollout-s", "none"]
