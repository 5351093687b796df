"""The keys that sign releases: made once, kept closed, rotated without a gap."""

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.errors import ArtefactError, ConfigurationError
from features.workspace import Workspace
from serving.release_refusal import ReleaseRefusedError
from serving.releases import load_named
from serving.settings import service_settings
from tests.tiny_shop import KEY, TinyShop, tiny_shop
from training.cli.context import CliContext
from training.cli.key_commands import keys_app
from training.release_keys import distrust, rotate, signing_key, trust, trusted_keys


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "shop")


@pytest.fixture
def shop(tmp_path: Path) -> TinyShop:
    made = tiny_shop(tmp_path / "shop")
    made.release("first")
    return made


def command(workspace: Workspace, *words: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(keys_app, list(words), obj=CliContext(workspace, None, json=True))
    if result.exception is not None:
        raise result.exception
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def test_the_first_use_makes_a_key_that_its_owner_alone_can_read_and_the_next_finds_it(workspace: Workspace) -> None:
    made = signing_key(workspace)
    path = workspace.release_signing_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert signing_key(workspace) == made
    assert dict(trusted_keys(workspace).keys) == {made.key_id: made.public}
    assert made.secret.hex() not in workspace.trusted_release_keys.read_text()
    assert sorted(one.name for one in path.parent.iterdir()) == ["release-signing.json", "release-trusted.json"]


def test_the_secret_is_not_shown_when_a_key_is() -> None:
    assert KEY.secret.hex() not in repr(KEY)


def test_after_a_rotation_old_and_new_releases_load_until_the_old_key_is_distrusted(shop: TinyShop) -> None:
    before = signing_key(shop.workspace).key_id
    assert rotate(shop.workspace).key_id != before
    assert load_named("first", shop.workspace).name == "first"
    distrust(shop.workspace, before)
    with pytest.raises(ReleaseRefusedError, match="not trusted here") as caught:
        load_named("first", shop.workspace)
    assert caught.value.reason == "unknown_key"


def test_the_key_that_signs_stays_trusted(workspace: Workspace) -> None:
    with pytest.raises(ConfigurationError, match="rotate"):
        distrust(workspace, signing_key(workspace).key_id)
    with pytest.raises(ConfigurationError, match="no such key"):
        distrust(workspace, "s0")


@pytest.mark.parametrize("key", ["", "00", "zz" * 32, "0" * 66])
def test_what_is_no_public_key_is_not_trusted(workspace: Workspace, key: str) -> None:
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        trust(workspace, key)


def test_the_commands_show_which_key_signs(workspace: Workspace) -> None:
    assert command(workspace, "list") == []
    [first] = command(workspace, "rotate")
    assert first["signs"]
    shown = {row["key_id"]: row["signs"] for row in command(workspace, "rotate")}
    assert sorted(shown.values()) == [False, True]
    assert not shown[first["key_id"]]
    assert first["key_id"] not in {row["key_id"] for row in command(workspace, "distrust", str(first["key_id"]))}
    again = command(workspace, "trust", str(first["public"]))
    assert {row["key_id"] for row in again} == set(shown)


@pytest.mark.parametrize("text", ["{}", "nothing", '{"key_id": "s1", "secret": "00"}'])
def test_a_damaged_key_file_is_refused_with_what_to_do(workspace: Workspace, text: str) -> None:
    signing_key(workspace)
    workspace.release_signing_key.write_text(text)
    with pytest.raises(ArtefactError, match="restore it from a backup"):
        signing_key(workspace)


@pytest.mark.parametrize(
    "text", ['{"keys": {"s1": "00"}}', '{"keys": {"s1": "' + "0" * 64 + '"}}', '{"keys": []}', "nothing"]
)
def test_a_damaged_file_of_trusted_keys_is_refused(workspace: Workspace, text: str) -> None:
    signing_key(workspace)
    workspace.trusted_release_keys.write_text(text)
    with pytest.raises(ArtefactError, match=r"release-trusted\.json"):
        trusted_keys(workspace)


def test_a_machine_that_only_serves_is_told_the_keys_by_value_or_by_file(shop: TinyShop, tmp_path: Path) -> None:
    elsewhere = tmp_path / "trusted.json"
    elsewhere.write_bytes(shop.workspace.trusted_release_keys.read_bytes())
    for given in (KEY.public.hex(), f"{'0' * 64}, {KEY.public.hex()}", str(elsewhere)):
        settings = service_settings({"HOLDFAST_WORKSPACE": str(tmp_path / "empty"), "HOLDFAST_TRUSTED_KEYS": given})
        assert settings.trusted().keys[KEY.key_id] == KEY.public
    other = service_settings({"HOLDFAST_WORKSPACE": str(shop.workspace.root), "HOLDFAST_TRUSTED_KEYS": "0" * 64})
    assert KEY.key_id not in other.trusted().keys  # given keys take the place of the workspace's
    with pytest.raises(ConfigurationError, match="neither public keys"):
        service_settings({"HOLDFAST_WORKSPACE": "x", "HOLDFAST_TRUSTED_KEYS": "0" * 63}).trusted()
