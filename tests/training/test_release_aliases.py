"""MLflow's champion follows what is served, with the words of the change that made it so."""

import json

import pytest

from features.workspace import Workspace
from serving.rollouts.state import Change, finish_rollout, rollback, set_champion, start_rollout
from serving.store import Store
from training.registry import CHAMPION, CHURN, ModelVersion, Registry
from training.release_aliases import follow_champion
from training.tracking import open_tracking, recorded_run

AT_US = 1_700_000_000_000_000
BY = Change("ada", AT_US, "a new season")


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return Registry(open_tracking(workspace, wait_seconds=0.2))


def released(workspace: Workspace, registry: Registry, name: str) -> ModelVersion:
    """A release made of a new version of the churn model, and of no recommender."""
    with recorded_run(registry.tracking, CHURN, name, {}) as run:
        digest = run.model_files({"booster.txt": name.encode()})
    version = registry.register(CHURN, run.run_id, digest, {})
    folder = workspace.releases / name
    folder.mkdir(parents=True)
    made_of = {"name": CHURN, "version": version.version, "digest": digest}
    (folder / "manifest.json").write_text(json.dumps({"provenance": {"churn": made_of}}))
    return version


def champion(registry: Registry) -> int | None:
    found = registry.find(CHURN, CHAMPION)
    return None if found is None else found.version


def test_the_alias_follows_promotion_and_rollback_and_moves_once(workspace: Workspace, registry: Registry) -> None:
    first, second = (released(workspace, registry, name) for name in ("r-1", "r-2"))
    store = Store.open(workspace.store)
    set_champion(store, "r-1", BY)
    assert [one.version for one in follow_champion(store, workspace, "ada", AT_US)] == [first.version]
    start_rollout(store, "r-2", 0.5, "s", BY)
    assert follow_champion(store, workspace, "ada", AT_US) == []
    finish_rollout(store, BY)
    assert [one.version for one in follow_champion(store, workspace, "ada", AT_US)] == [second.version]
    assert follow_champion(store, workspace, "ada", AT_US) == []
    assert champion(registry) == second.version
    assert registry.promotions(CHURN)[-1].reasons == ("release r-2 serves: finish by ada; a new season",)
    rollback(store, BY)
    follow_champion(store, workspace, "ada", AT_US)
    assert champion(registry) == first.version
    store.close()


def test_a_release_of_another_registry_moves_nothing(workspace: Workspace, registry: Registry) -> None:
    released(workspace, registry, "r-1")
    manifest = workspace.releases / "r-1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"digest": "', '"digest": "0'))
    store = Store.open(workspace.store)
    set_champion(store, "r-1", BY)
    assert follow_champion(store, workspace, "ada", AT_US) == []
    assert champion(registry) is None
    store.close()
