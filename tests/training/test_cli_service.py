"""The commands about the running service, as they are typed: what `serve` starts, and what `rollout` changes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from features.errors import ArtefactError, ConfigurationError
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.rollouts.state import Change, set_champion
from serving.settings import ServiceSettings, service_settings
from serving.store import Store
from training.cli.main import app


def typed(*words: str, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(app, list(words), env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two releases by name, the first of them served."""
    made = Workspace(tmp_path / "shop")
    for number, name in enumerate(("r-1", "r-2"), start=1):
        folder = made.releases / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(f'{{"created_at": "2024-01-0{number}T00:00:00Z"}}')
    store = Store.open(made.store)
    set_champion(store, "r-1", Change("ada", 7, "a test"))
    store.close()
    return made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServiceSettings]:
    """The settings of each service that `serve` would have become."""
    seen: list[ServiceSettings] = []

    def become(_path: str, _argv: Any, env: dict[str, str]) -> None:
        seen.append(service_settings(env))

    monkeypatch.setattr(os, "execve", become)
    return seen


def test_serve_takes_its_settings_from_the_environment_and_its_options_come_first(
    workspace: Workspace, started: list[ServiceSettings]
) -> None:
    env = {"HOLDFAST_REASONS_COUNT": "5", "HOLDFAST_PORT": "8001", "HOLDFAST_WORKERS": "2"}
    typed("-w", str(workspace.root), "serve", env=env)
    typed("-w", str(workspace.root), "serve", "--port", "8002", env=env)
    first, second = started
    assert (first.reasons_count, first.port, first.workers, first.release) == (5, 8001, 2, "r-2")
    assert (second.reasons_count, second.port) == (5, 8002)


def test_serve_keeps_the_store_where_it_is_told_and_a_url_in_no_argument(
    workspace: Workspace, started: list[ServiceSettings]
) -> None:
    env = {"HOLDFAST_STORE": "postgresql://ada:secret@db/one"}
    typed("-w", str(workspace.root), "serve", env=env)
    typed("-w", str(workspace.root), "--store", "postgresql://db/two", "serve", env=env)
    typed("-w", str(workspace.root), "serve", "--store", "postgresql://db/three", env=env)
    typed("-w", str(workspace.root), "serve")
    urls = ["postgresql://ada:secret@db/one", "postgresql://db/two", "postgresql://db/three"]
    assert [one.places.store for one in started] == [*urls, workspace.store]
    assert "secret" not in repr(started)
    assert "secret" not in repr(started[0].places)


def test_serve_refuses_a_misspelt_setting(workspace: Workspace, started: list[ServiceSettings]) -> None:
    with pytest.raises(ConfigurationError, match="HOLDFAST_PROT"):
        typed("-w", str(workspace.root), "serve", env={"HOLDFAST_PROT": "8001"})
    assert started == []


def test_the_share_of_a_rollout_widens_and_its_help_says_no_more(workspace: Workspace) -> None:
    words = ("-w", str(workspace.root), "rollout")
    typed(*words, "start", "r-2", "--share", "0.2", "--why", "a test")
    assert "50% of customers" in typed(*words, "share", "0.5").output
    with pytest.raises(ConfigurationError, match="only widens"):
        typed(*words, "share", "0.4")
    shown = " ".join(typed(*words, "share", "--help").output.split())
    assert "never narrows" in shown
    assert "(or narrow)" not in shown


def test_a_rollout_by_plan_is_started_told_stepped_approved_and_taken_back(workspace: Workspace) -> None:
    words = ("-w", str(workspace.root), "rollout")
    typed(*words, "start", "r-2", "--why", "a new season")
    shown = " ".join(typed(*words, "status").output.split())
    assert "challenger r-2, as a shadow, step 1" in shown
    assert "no figures of the challenger have come in yet" in shown
    told = json.loads(typed("-w", str(workspace.root), "--json", "rollout", "status").output)
    assert (told["step"], told["next"]["action"]) == (0, "stay")
    assert told["next"]["gates"]["metrics"]["ruling"] == "wait"
    with pytest.raises(ConfigurationError, match="say why"):
        typed(*words, "step")
    assert "1% of customers" in typed(*words, "step", "--why", "the shadow was enough").output
    assert "paused" in typed(*words, "pause").output
    assert "paused" not in typed(*words, "resume").output
    typed(*words, "approve")
    with pytest.raises(ConfigurationError, match="a plan moves this rollout"):
        typed(*words, "share", "0.5")
    assert "champion r-1" in typed(*words, "rollback").output
    log = json.loads(typed("-w", str(workspace.root), "--json", "rollout", "history").output)
    actions = ["set_champion", "start", "step", "pause", "resume", "approve", "rollback"]
    assert [row["action"] for row in reversed(log)] == actions
    assert log[4]["figures"]["metrics"]["ruling"] == "wait"  # what the gates said when a person went past them
    assert log[5]["figures"]["plan"]["steps"][1]["share"] == 0.01


def test_a_rollout_can_be_promoted_by_hand_with_a_reason(workspace: Workspace) -> None:
    words = ("-w", str(workspace.root), "rollout")
    typed(*words, "start", "r-2", "--share", "0.2")
    assert "champion r-2" in typed(*words, "promote", "--why", "urgent").output
    assert "look once" in " ".join(typed(*words, "watch", "--help").output.split()).lower()
    typed(*words, "watch", "--once")


def test_the_hold_out_is_set_while_no_rollout_is_under_way(workspace: Workspace) -> None:
    words = ("-w", str(workspace.root), "rollout")
    typed(*words, "holdout", "0.1")
    typed(*words, "start", "r-2")
    with pytest.raises(ConfigurationError, match="under way"):
        typed(*words, "holdout", "0.2")


def test_what_served_a_customer_at_a_time_is_told_from_the_log(workspace: Workspace) -> None:
    Pseudonyms.create(workspace.pseudonym_keys)
    typed("-w", str(workspace.root), "rollout", "start", "r-2", "--share", "1.0", "--why", "all of it")
    typed("-w", str(workspace.root), "rollout", "holdout", "--help")
    told = typed("-w", str(workspace.root), "rollout", "served", "17850").output
    assert ("r-2, arm challenger" in told) or ("r-1, arm holdout" in told)
    assert "all of it" in told
    before = typed("-w", str(workspace.root), "rollout", "served", "17850", "--at", "2020-01-01T00:00:00Z").output
    assert "r-1, arm champion, experiment none" in before
    with pytest.raises(ArtefactError, match="nothing was served at that time"):
        typed("-w", str(workspace.root), "rollout", "served", "17850", "--at", "1969-01-01T00:00:00Z")


def test_sealing_without_an_event_log_keeps_the_events_and_says_what_to_do(workspace: Workspace) -> None:
    row = {
        "event_id": "e-1",
        "customer_key": "k",
        "kind": "view",
        "occurred_at": 1_704_067_200_000_000,
        "item_id": "tea",
    }
    store = Store.open(workspace.store)
    with store.write() as connection:
        store.append_events(connection, [row], 1_704_067_200_000_001)
    store.close()
    for _ in range(2):
        with pytest.raises(ArtefactError, match=r"no event log to seal into; 1 accepted events stay.* holdfast import"):
            typed("-w", str(workspace.root), "seal")
    assert not workspace.event_log.exists()
