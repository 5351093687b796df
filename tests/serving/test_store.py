"""The store: durable, all or nothing, and clear about a lock."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from serving.decisions import Decision, DecisionLog
from serving.group_commit import GroupCommit
from serving.migrations import VERSIONS_TABLE
from serving.rollouts.state import read_rollout
from serving.store import EVENT_FIELDS, Store, accepted_events, decisions, promotions
from serving.store_backup import back_up
from serving.store_schema import metadata


def row(event_id: str, occurred_us: int = 5) -> dict[str, Any]:
    given = {"event_id": event_id, "customer_key": "k:1", "occurred_at": occurred_us, "kind": "login"}
    return dict.fromkeys(EVENT_FIELDS) | given


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "service.db", lock_timeout_ms=50)


def test_every_connection_waits_for_the_disk(store: Store) -> None:
    with store.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_a_repeated_event_id_is_kept_once(store: Store) -> None:
    with store.write() as connection:
        assert store.append_events(connection, [row("a"), row("b"), row("a")], 10) == [True, True, False]
    with store.write() as connection:
        assert store.append_events(connection, [row("b"), row("c")], 11) == [False, True]
    with store.read() as connection:
        assert connection.scalars(sa.select(accepted_events.c.event_id)).all() == ["a", "b", "c"]


def test_recorded_is_never_before_occurred(store: Store) -> None:
    with store.write() as connection:
        store.append_events(connection, [row("a", 99), row("b", 3)], 10)
    with store.read() as connection:
        assert connection.scalars(sa.select(accepted_events.c.recorded_at)).all() == [99, 10]


@pytest.mark.parametrize(
    ("sealed_versions", "log_version", "expected"),
    [
        ([], 3, 0),
        ([None, None], 3, 0),
        ([2, 3, None], 3, 2),
        ([2, None, 3], 3, 1),  # one in the middle was not sealed: everything from it on is read
        ([2, 4, None], 3, 1),  # sealed after the version at hand
        ([2, 3], 3, 2),
    ],
)
def test_sealed_until_is_the_end_of_what_the_log_holds_without_a_gap(
    store: Store, sealed_versions: list[int | None], log_version: int, expected: int
) -> None:
    with store.write() as connection:
        store.append_events(connection, [row(f"e{place}") for place, _ in enumerate(sealed_versions)], 10)
        for place, version in enumerate(sealed_versions):
            mark = sa.update(accepted_events).where(accepted_events.c.event_id == f"e{place}")
            connection.execute(mark.values(sealed_version=version))
    assert store.sealed_until(log_version) == expected


def test_a_tail_sees_what_another_connection_committed(store: Store, tmp_path: Path) -> None:
    tail = store.tail()
    assert tail.after(0) == []
    other = Store.open(tmp_path / "service.db")
    with other.write() as connection:
        other.append_events(connection, [row("a")], 10)
    assert [found["event_id"] for found in tail.after(0)] == ["a"]
    assert tail.after(1) == []
    tail.close()
    other.close()


def test_a_tail_asks_again_only_where_somebody_wrote(store: Store) -> None:
    asked: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", listener := lambda *told: asked.append(told[2]))
    tail = store.tail()
    for _ in range(3):
        assert not tail.after(0)
    with store.write() as connection:
        store.append_events(connection, [row("a"), row("b")], 10)
    asked.clear()
    assert [len(tail.after(0)), len(tail.after(1)), len(tail.after(2)), len(tail.after(2))] == [2, 1, 0, 0]
    sa.event.remove(sa.Engine, "before_cursor_execute", listener)
    assert len([text for text in asked if "accepted_events" in text]) == 3
    tail.close()


def test_a_locked_store_is_unavailable_and_nothing_is_half_written(store: Store, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="locked"), store.write() as connection:
        store.append_events(connection, [row("a")], 10)
    holder.execute("ROLLBACK")
    holder.close()
    with store.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(accepted_events)) == 0


def test_the_promotion_log_is_append_only(store: Store) -> None:
    entry = dict.fromkeys(("who", "action", "before", "after", "why", "figures"), "") | {"at_us": 1}
    with store.write() as connection:
        connection.execute(sa.insert(promotions), entry)
    for change in (sa.update(promotions).values(who="x"), sa.delete(promotions)):
        with pytest.raises(IntegrityError, match="append-only"), store.write() as connection:
            connection.execute(change)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "service.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ArtefactError, match="not a database"):
        Store.open(tmp_path / "service.db")


def test_a_damaged_file_is_refused_at_the_start_and_by_a_backup(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    with store.write() as connection:
        store.append_events(connection, [row(f"e{number}") for number in range(2_000)], 10)
    store.close()
    content = bytearray(path.read_bytes())
    content[40_000:60_000] = bytes(20_000)
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="damaged"):
        Store.open(path, check=True)
    harmed = Store.open(path)
    with pytest.raises(ArtefactError, match="damaged"):
        back_up(harmed, tmp_path / "copy", 0)
    harmed.close()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "://secret"])
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the store's URL") as refused:
        Store.open(url)
    assert "secret" not in str(refused.value)


def test_a_newer_schema_is_refused(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 99")
    with pytest.raises(ArtefactError, match="schema 99"):
        Store.open(tmp_path / "service.db")


OLD_DECISIONS = """CREATE TABLE decisions (seq INTEGER NOT NULL PRIMARY KEY, decision_id TEXT NOT NULL,
    kind TEXT NOT NULL, customer_key TEXT, as_of_us BIGINT NOT NULL, release TEXT NOT NULL, experiment TEXT NOT NULL,
    arm TEXT NOT NULL, churn_probability FLOAT, item_ids TEXT, fingerprint TEXT, feature_values BLOB)"""


def test_a_store_of_the_first_schema_is_brought_up_to_date_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(OLD_DECISIONS)
    old.execute(
        "INSERT INTO decisions (decision_id, kind, as_of_us, release, experiment, arm, item_ids) "
        "VALUES ('r-1', 'recommendation', 7, 'first', 'none', 'champion', '[\"a\"]')"
    )
    old.execute("PRAGMA user_version = 1")
    old.close()
    for _ in range(2):  # the second time there is nothing left to do
        store = Store.open(path)
        with store.read() as connection:
            kept = connection.execute(sa.select(decisions)).mappings().one()
            assert connection.exec_driver_sql("PRAGMA user_version").scalar_one() == 4
        assert (kept["decision_id"], kept["item_ids"], kept["propensities"]) == ("r-1", '["a"]', None)
        store.close()
    log = DecisionLog(Store.open(path), capacity=10, count=lambda _outcome, _n: None)
    log.record(
        Decision("r-2", "recommendation", None, 8, "first", "none", "champion", None, ("a",), propensities=(0.5,))
    )
    log.close()
    with Store.open(path).read() as connection:
        assert connection.scalars(sa.select(decisions.c.propensities)).all() == [None, "[0.5]"]


def test_an_upgraded_store_has_the_columns_of_a_new_one(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(OLD_DECISIONS)
    old.execute("PRAGMA user_version = 1")
    old.close()
    columns = [sa.inspect(one._engines.base).get_columns("decisions") for one in (store, Store.open(path))]
    assert [column["name"] for column in columns[0]] == [column["name"] for column in columns[1]]


@pytest.mark.parametrize("lacking", [(), ("DROP TABLE visitor_links",), ("DROP INDEX visitor_links_customer_key",)])
def test_a_store_from_before_versions_becomes_one_of_today_with_its_rows(
    lacking: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(Path(__file__).with_name("store_of_schema_2.sql").read_text(encoding="utf-8"))
    for statement in lacking:
        old.execute(statement)
    old.close()
    store = Store.open(path, check=True)
    with store.snapshot() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSIONS_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        entries = connection.execute(sa.select(promotions.c.action, promotions.c.at_us)).all()
    assert [tuple(entry) for entry in entries] == [("set_champion", 7), ("start", 8)]
    state = read_rollout(store)
    assert state is not None
    assert (state.champion, state.challenger, state.share, state.revision) == ("first", "second", 0.25, 2)
    with store.write() as connection:
        assert store.append_events(connection, [row("a"), row("c")], 10) == [False, True]
    with pytest.raises(IntegrityError, match="append-only"), store.write() as connection:
        connection.execute(sa.delete(promotions))
    tail = store.tail()
    assert [found["seq"] for found in tail.after(1)] == [2, 3]
    tail.close()
    store.close()


def test_concurrent_writes_share_commits_and_each_gets_its_own_result(store: Store) -> None:
    groups: list[int] = []
    all_are_waiting = threading.Event()

    def write(connection: sa.Connection, items: Any) -> list[int]:
        groups.append(len(items))
        all_are_waiting.wait(10)
        store.append_events(connection, [row(f"e{item}") for item in items], 10)
        return [item * 2 for item in items]

    writer: GroupCommit[int, int] = GroupCommit(store, write, rows_of=lambda _: 1, capacity=1_000, name="test")
    futures = [writer.submit(item) for item in range(200)]
    all_are_waiting.set()
    assert [future.result(10) for future in futures] == [item * 2 for item in range(200)]
    writer.close()
    assert sum(groups) == 200
    assert len(groups) < 100


def test_a_failed_group_tells_every_caller(store: Store) -> None:
    def write(connection: sa.Connection, items: Any) -> list[int]:
        store.append_events(connection, [row("lost")], 10)
        raise UnavailableError("no")

    writer: GroupCommit[int, int] = GroupCommit(store, write, rows_of=lambda _: 1, capacity=10, name="test")
    with pytest.raises(UnavailableError):
        writer.submit(1).result(10)
    writer.close()
    assert store.tail().after(0) == []


def test_a_full_queue_refuses_instead_of_growing(store: Store, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    writer: GroupCommit[list[str], int] = GroupCommit(
        store, lambda _c, items: [len(item) for item in items], rows_of=len, capacity=5, name="test"
    )
    taken = [writer.submit(["a", "b"]), writer.submit(["c", "d"])]
    with pytest.raises(UnavailableError, match="too many"):
        writer.submit(["e", "f"])  # rows are counted, not posts
    taken.append(writer.submit(["g"]))
    holder.execute("ROLLBACK")
    holder.close()
    writer.close()
    assert [future.result(0) for future in taken] == [2, 2, 1]
    with pytest.raises(UnavailableError, match="stopping"):
        writer.submit(["h"])


def test_a_caller_that_gave_up_is_not_written_and_does_not_stop_the_writer(store: Store) -> None:
    began, go_on, written = threading.Event(), threading.Event(), list[int]()

    def write(_connection: sa.Connection, items: Any) -> list[int]:
        began.set()
        go_on.wait(10)
        written.extend(items)
        return list(items)

    writer: GroupCommit[int, int] = GroupCommit(store, write, rows_of=lambda _: 1, capacity=10, name="test")
    first = writer.submit(1)
    began.wait(10)
    second = writer.submit(2)
    assert second.cancel()  # as a request does whose time is up
    assert not first.cancel()  # too late: it is being written, and nobody shall think that it was not
    go_on.set()
    assert first.result(10) == 1
    assert writer.submit(3).result(10) == 3
    writer.close()
    assert written == [1, 3]
