"""The restore drill: what comes back from a backup is what was there, row by row, from and into each database."""

import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from features.workspace import Workspace
from serving import store_backup
from serving.decisions import Decision, DecisionLog
from serving.intake import EventIntake
from serving.migrations import HEAD, VERSIONS_TABLE, migrate
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import Change, read_rollout, rollback, set_champion, set_share, start_rollout
from serving.store import EVENT_FIELDS, Store, accepted_events, early_warnings, warned_customers
from serving.store_backup import MANIFEST, back_up, restore
from serving.store_schema import metadata
from serving.visitor_links import forget_links

BY = Change("ada", 7, "a test", {"p99_ms": 0.1})
MADE_US = 1_700_000_000_000_000
SERVED = pytest.param("postgresql", marks=pytest.mark.service)


SOMETHING = {int: 1, str: "something", float: 0.1, bool: True, bytes: b"\x00"}


def event(event_id: str, **given: Any) -> dict[str, Any]:
    known = {"event_id": event_id, "customer_key": "k:1", "occurred_at": 5, "kind": "login"}
    return dict.fromkeys(EVENT_FIELDS) | known | given


def place(kind: str, request: pytest.FixtureRequest, name: str) -> Path | str:
    if kind == "sqlite":
        return request.getfixturevalue("tmp_path") / f"{name}.db"
    return request.getfixturevalue("postgres").empty()


@pytest.fixture(params=["sqlite", SERVED])
def source(request: pytest.FixtureRequest) -> Any:
    opened = Store.open(place(request.param, request, "source"), lock_timeout_ms=150)
    lived_in(opened)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", SERVED])
def target(request: pytest.FixtureRequest) -> Any:
    opened = Store.open(place(request.param, request, "target"), lock_timeout_ms=150)
    yield opened
    opened.close()


def lived_in(store: Store, n_events: int = 60) -> None:
    """Rows in every table, texts and numbers at their edges, and numbers given whose rows are gone."""
    intake = EventIntake(store, lambda: 1_000, capacity=20_000)
    odd = event("ж'\"\\ \t\n", customer_key="v:1", quantity=2**63 - 1, occurred_at=-(2**62), text="语言")
    intake.submit([odd, *(event(f"e{number}", customer_key="v:1") for number in range(n_events))]).result(60)
    intake.submit([event("in", customer_key="k:b"), event("gone")], ["v:1", None]).result(20)
    intake.close()
    log = DecisionLog(store, capacity=1_000, count=lambda _outcome, _n: None)
    log.record(Decision("d-1", "churn", "k:1", 3, "first", "none", "champion", 0.1 + 0.2, None, "f", b"\x00\xff"))
    log.record(Decision("d-2", "recommendation", None, 4, "first", "none", "champion", None, ("a",)))
    log.close()
    set_champion(store, "first", BY)
    start_rollout(store, "second", 1 / 3, "salt", BY)
    warned = [{"customer_key": key, "warned_us": 5, "armed": key == "a"} for key in ("b", "B", "a", "ä", "_")]
    warning = {"as_of_us": 1, "release": "r", "rise": 0.7, "churn_probability": 5e-324, "probability_before": 1.0}
    with store.write() as connection:
        connection.execute(sa.delete(accepted_events).where(accepted_events.c.event_id == "gone"))
        connection.execute(sa.insert(warned_customers), warned)
        connection.execute(sa.insert(early_warnings), warning | {"customer_key": "k:1", "band": "high"})
        forget_links(connection, "k:b")
        for table in metadata.sorted_tables:  # tables of another day
            if connection.execute(sa.select(table)).first() is None:
                values = {one.name: SOMETHING[one.type.python_type] for one in table.columns if one.name != "seq"}
                connection.execute(sa.insert(table), values)


def contents(store: Store) -> dict[str, list[str]]:
    """Every row of every table as a sorted text: an independent look, not the backup's own."""
    with store.snapshot() as connection:
        return {
            table.name: sorted(json.dumps([_plain(one) for one in row]) for row in connection.execute(sa.select(table)))
            for table in metadata.sorted_tables
        }


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes | float) else value


def test_what_is_restored_is_what_was_there(source: Store, target: Store, tmp_path: Path) -> None:
    with source.write() as connection:  # more than go at a time
        source.append_events(connection, [event(f"more{number}") for number in range(6_000)], 2_000)
    made = back_up(source, tmp_path / "copy", MADE_US)
    there = contents(source)
    assert {one.name: one.rows for one in made.tables} == {name: len(rows) for name, rows in there.items()}
    assert min(map(len, there.values())) > 0, "a table that the drill leaves out"
    assert restore(target, tmp_path / "copy") == made
    assert contents(target) == there
    again = back_up(target, tmp_path / "again", MADE_US)
    assert [one.rows_sha256 for one in again.tables] == [one.rows_sha256 for one in made.tables]
    assert [one.last_number for one in again.tables] == [one.last_number for one in made.tables]


def test_a_restored_store_goes_on_where_the_old_one_stood(source: Store, target: Store, tmp_path: Path) -> None:
    back_up(source, tmp_path / "copy", MADE_US)
    restore(target, tmp_path / "copy")
    rollback(target, BY)
    assert [entry["action"] for entry in read_history(target)] == ["rollback", "start", "set_champion"]
    with target.write() as connection:
        assert target.append_events(connection, [event("e1"), event("new")], 2_000) == [False, True]
    tail = target.tail()
    assert [found["seq"] for found in tail.after(62)] == [64]  # 63 was given to an event that is gone
    tail.close()
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), target.write() as connection:
        connection.execute(sa.text("DELETE FROM promotions"))


def test_a_backup_is_of_one_moment_while_the_service_writes(source: Store, tmp_path: Path) -> None:
    stop = threading.Event()

    def widen() -> None:
        while not stop.is_set():
            set_share(source, 0.5, BY)

    writer = threading.Thread(target=widen)
    writer.start()
    try:
        copies = [back_up(source, tmp_path / f"copy{number}", MADE_US) for number in range(3)]
    finally:
        stop.set()
        writer.join()
    for number in range(len(copies)):
        target = Store.open(tmp_path / f"target{number}.db")
        restore(target, tmp_path / f"copy{number}")
        with target.read() as connection:
            revision = connection.scalar(sa.text("SELECT revision FROM rollouts"))
        assert revision == len(read_history(target, 1_000_000))  # the state and its log are one change
        target.close()


def test_rows_are_replaced_only_when_asked(source: Store, target: Store, tmp_path: Path) -> None:
    back_up(source, tmp_path / "copy", MADE_US)
    set_champion(target, "other", BY)
    before = contents(target)
    with pytest.raises(ConfigurationError, match=r"holds rows already \(promotions, rollouts\)"):
        restore(target, tmp_path / "copy")
    assert contents(target) == before
    restore(target, tmp_path / "copy", replace=True)
    assert contents(target) == contents(source)


@pytest.mark.parametrize("harm", ["flipped", "missing", "manifest", "cut", "rows", "newer", "foreign"])
def test_a_harmed_backup_changes_nothing(harm: str, source: Store, target: Store, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    back_up(source, folder, MADE_US)
    file, manifest = folder / "accepted_events.parquet", folder / MANIFEST
    said = json.loads(manifest.read_text())
    if harm == "flipped":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif harm == "missing":
        file.unlink()
    elif harm == "manifest":
        manifest.unlink()
    elif harm == "cut":
        manifest.write_bytes(manifest.read_bytes()[:-20])
    else:
        table = next(one for one in said["tables"] if one["name"] == "accepted_events")
        if harm == "rows":  # the file is whole, and yet not what was copied
            table["rows_sha256"] = hashlib.sha256().hexdigest()
        elif harm == "newer":
            said["schema"] = "0099"
        else:
            table["name"] = "../accepted_events"
        manifest.write_text(json.dumps(said))
    set_champion(target, "other", BY)
    before = contents(target)
    with pytest.raises(ArtefactError):
        restore(target, folder, replace=True)
    assert contents(target) == before


def test_a_backup_goes_into_a_new_folder_and_leaves_none_behind_where_it_fails(source: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(ConfigurationError, match="already"):
        back_up(source, tmp_path / "copy", MADE_US)
    (tmp_path / "file").write_text("")
    with pytest.raises((UnavailableError, OSError)):
        back_up(source, tmp_path / "file" / "copy", MADE_US)
    names = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in names if name.startswith(".")]


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, then = Store.open(tmp_path / "old.db"), sa.MetaData()
    with old.write() as connection:  # as a Holdfast of the first version had it, and copied it
        metadata.drop_all(connection)
        connection.execute(sa.text(f"DROP TABLE {VERSIONS_TABLE}"))
        migrate(connection, "0001")
        connection.execute(sa.text("INSERT INTO rollouts VALUES (1, 1, 'first', NULL, NULL, 0.25, '')"))
        then.reflect(connection, only=lambda name, _: name != VERSIONS_TABLE)
    with monkeypatch.context() as patch:
        patch.setattr(store_backup, "HEAD", "0001")
        patch.setattr(store_backup, "metadata", then)
        assert {one.name for one in back_up(old, tmp_path / "copy", MADE_US).tables} == set(then.tables)
    assert set(then.tables) < set(metadata.tables)
    assert restore(target, tmp_path / "copy").schema == "0001"
    state = read_rollout(target)
    assert state is not None
    assert (state.champion, state.share) == ("first", 0.25)
    log = DecisionLog(target, capacity=9, count=lambda _outcome, _n: None)
    log.record(Decision("d", "recommendation", None, 4, "first", "none", "champion", placement="home"))
    log.close()
    with target.read() as connection:
        assert connection.scalar(sa.text("SELECT placement FROM decisions")) == "home"
        assert connection.scalar(sa.text(f"SELECT version_num FROM {VERSIONS_TABLE}")) == HEAD


def test_the_commands_back_up_and_restore(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from training.cli.main import app

    shop, copy, moved = Workspace(tmp_path / "shop"), tmp_path / "copy", Workspace(tmp_path / "moved")
    store = Store.open(shop.store)
    lived_in(store)
    store.close()
    run = CliRunner().invoke
    made = run(app, ["-w", str(shop.root), "--json", "store", "backup", str(copy)], catch_exceptions=False)
    back = run(app, ["-w", str(moved.root), "store", "restore", str(copy)], catch_exceptions=False)
    assert {one["name"]: one["rows"] for one in json.loads(made.stdout)["tables"]}["accepted_events"] == 62
    assert "restored and verified: accepted_events 62," in back.stdout
    assert sqlite3.connect(moved.store).execute("SELECT count(*) FROM accepted_events").fetchone() == (62,)
