"""`holdfast access-keys`, as it is typed: a key is shown once, listed without its secret, rotated and revoked."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.errors import ConfigurationError
from features.workspace import Workspace
from serving.access.key_ring import KeyRing
from serving.problems import Problem
from serving.store import Store
from training.cli.main import app

NOW_US = 1_800_000_000_000_000


def typed(folder: Path, *words: str) -> Any:
    result = CliRunner().invoke(app, ["-w", str(folder), "--json", "access-keys", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.output)


def test_a_key_is_shown_once_and_works_until_it_is_revoked(tmp_path: Path) -> None:
    made = typed(tmp_path, "make", "--owner", "crm", "--scopes", "predict, audit", "--per-minute", "60")
    store = Store.open(Workspace(tmp_path).store)
    ring = KeyRing(store, lambda: NOW_US)
    ring.refresh()
    assert ring.caller(made["key"]).scopes == {"predict", "audit"}
    (listed,) = typed(tmp_path, "list")
    assert made["key"].partition(".")[2] not in json.dumps(listed)
    assert {name: listed[name] for name in ("key_id", "owner", "per_minute", "expires_at", "state")} == {
        "key_id": made["key_id"],
        "owner": "crm",
        "per_minute": 60,
        "expires_at": None,
        "state": "active",
    }
    successor = typed(tmp_path, "rotate", made["key_id"], "--overlap-hours", "1")
    typed(tmp_path, "revoke", made["key_id"])
    ring.refresh()
    assert ring.caller(successor["key"]).owner == "crm"
    with pytest.raises(Problem, match="revoked"):
        ring.caller(made["key"])
    store.close()


def test_a_key_for_pages_needs_their_origins_and_may_little(tmp_path: Path) -> None:
    made = typed(
        tmp_path, "make", "--owner", "storefront", "--scopes", "recommend,events", "--origins", "https://shop.example"
    )
    assert made["key"].startswith("hfp_")
    with pytest.raises(ConfigurationError, match="read by everybody"):
        typed(tmp_path, "make", "--owner", "crm", "--scopes", "predict", "--origins", "https://shop.example")
