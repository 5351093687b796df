"""What the store promises, on each database that it knows."""

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError

from features.errors import ArtefactError, UnavailableError
from features.event_log import EventLog
from serving import migrations
from serving.decisions import Decision, DecisionLog
from serving.histories import Histories, SealedHistory
from serving.intake import EventIntake
from serving.migrations import HEAD, VERSIONS_TABLE, migrate
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import Change, read_rollout, rollback, set_champion, set_share, start_rollout
from serving.sealing import count_unsealed, seal
from serving.store import EVENT_FIELDS, Store, accepted_events, decisions, promotions
from serving.store_schema import metadata

BY = Change("ada", 7, "a test", {"p99_ms": 12.5})
LOCK_TIMEOUT_MS = 150


def row(event_id: str, **given: Any) -> dict[str, Any]:
    known = {"event_id": event_id, "customer_key": "k:1", "occurred_at": 5, "kind": "login"}
    return dict.fromkeys(EVENT_FIELDS) | known | given


def ids(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.scalars(sa.select(accepted_events.c.event_id).order_by(accepted_events.c.seq)))


def _and_fail(change: Any, *arguments: Any) -> None:
    change(*arguments)
    raise ZeroDivisionError


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty place for a store."""
    if request.param == "sqlite":
        return tmp_path / "service.db"
    return request.getfixturevalue("postgres").empty()


@pytest.fixture
def store(where: Path | str) -> Any:
    opened = Store.open(where, lock_timeout_ms=LOCK_TIMEOUT_MS, check=True)
    yield opened
    opened.close()


@pytest.fixture
def other(store: Store, where: Path | str) -> Any:
    """The same store, as another process has it."""
    opened = Store.open(where, lock_timeout_ms=LOCK_TIMEOUT_MS)
    yield opened
    opened.close()


def test_the_versions_make_exactly_the_tables_that_the_code_reads(store: Store) -> None:
    with store.snapshot() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSIONS_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_head_is_the_last_version_and_there_is_one(store: Store) -> None:
    folder = Path(migrations.__file__).parent
    script = ScriptDirectory(str(folder), version_locations=[str(folder / "versions")])
    assert script.get_heads() == [HEAD]
    assert max(one.revision for one in script.walk_revisions()) == HEAD  # found_version compares by order


def test_a_store_at_its_head_is_opened_while_somebody_writes(store: Store, where: Path | str) -> None:
    with store.write() as connection:
        store.append_events(connection, [row("a")], 10)
        Store.open(where, lock_timeout_ms=LOCK_TIMEOUT_MS).close()


def test_a_store_opened_to_read_refuses_every_change_and_sees_those_of_others(store: Store, where: Path | str) -> None:
    reading = Store.open(where, lock_timeout_ms=LOCK_TIMEOUT_MS, read_only=True)
    with pytest.raises(UnavailableError), reading.write() as connection:
        reading.append_events(connection, [row("a")], 10)
    with store.write() as connection:
        store.append_events(connection, [row("b")], 10)
    assert ids(reading) == ["b"]
    reading.close()


def test_a_version_that_fails_leaves_nothing_behind(where: Path | str) -> None:
    empty = Store.open(where)
    with empty.write() as connection:
        metadata.drop_all(connection)
        connection.execute(sa.text(f"DROP TABLE {VERSIONS_TABLE}"))
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA user_version = 0")
    with pytest.raises(ZeroDivisionError), empty.write() as connection:
        _and_fail(migrate, connection)
    with empty.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    empty.close()


def test_a_newer_version_is_refused_in_words(store: Store, where: Path | str) -> None:
    with store.write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSIONS_TABLE} SET version_num = '0099'"))
    with pytest.raises(ArtefactError, match=rf"schema 0099, this version knows {HEAD}; upgrade"):
        Store.open(where)


OPENING = """import sys
from serving.store import Store
Store.open(sys.argv[1], lock_timeout_ms=20_000).close()
"""


@pytest.mark.service
def test_processes_that_start_at_once_on_an_empty_store_all_succeed(where: Path | str) -> None:
    starting = [subprocess.Popen([sys.executable, "-c", OPENING, str(where)]) for _ in range(4)]
    assert [one.wait(60) for one in starting] == [0, 0, 0, 0]
    again = Store.open(where)
    assert ids(again) == []
    again.close()


def test_a_repeated_event_id_is_kept_once(store: Store) -> None:
    with store.write() as connection:
        assert store.append_events(connection, [row("a"), row("b"), row("a")], 10) == [True, True, False]
    with store.write() as connection:
        assert store.append_events(connection, [row("b"), row("c")], 11) == [False, True]
    assert ids(store) == ["a", "b", "c"]


def test_every_field_comes_back_as_it_was_given(store: Store) -> None:
    whole = dict.fromkeys(("quantity", "amount_minor", "discount_minor", "value"), 2**62)
    texts = {name: f"{name} 语言 ' \" %s ? :x" for name in EVENT_FIELDS if name not in {*whole, "occurred_at"}}
    given = row("e") | whole | texts | {"occurred_at": -(2**61)}
    with store.write() as connection:
        store.append_events(connection, [given], 10)
    tail = store.tail()
    (found,) = tail.after(0)
    tail.close()
    assert dict(found) == given | {"recorded_at": 10, "seq": 1, "sealed_version": None}


def test_a_failed_change_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        _and_fail(store.append_events, connection, [row("a")], 10)
    assert ids(store) == []


def test_a_tail_sees_what_another_process_committed_and_nothing_before(store: Store, other: Store) -> None:
    tail = store.tail()
    with other.write() as connection:
        other.append_events(connection, [row("a")], 10)
        assert tail.after(0) == []
    assert [found["event_id"] for found in tail.after(0)] == ["a"]
    assert tail.after(1) == []
    tail.close()


def test_a_reader_never_waits_for_a_writer(store: Store, other: Store) -> None:
    set_champion(store, "first", BY)
    with store.write() as connection:
        connection.execute(sa.text("UPDATE rollouts SET champion = 'second'"))
        began = time.monotonic()
        state = read_rollout(other)
        with other.snapshot() as reading:
            assert reading.scalar(sa.text("SELECT champion FROM rollouts")) == "first"
    assert state is not None
    assert state.champion == "first"
    assert time.monotonic() - began < LOCK_TIMEOUT_MS / 1_000


def test_a_snapshot_sees_one_moment(store: Store, other: Store) -> None:
    with other.snapshot() as reading:
        count = sa.select(sa.func.count()).select_from(accepted_events)
        assert reading.scalar(count) == 0
        with store.write() as connection:
            store.append_events(connection, [row("a")], 10)
        assert reading.scalar(count) == 0
    assert ids(other) == ["a"]


def test_a_second_writer_waits_for_its_turn_and_gives_up_in_time(store: Store, other: Store) -> None:
    with store.write() as connection:
        store.append_events(connection, [row("a")], 10)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="locked"), other.write() as late:
            other.append_events(late, [row("b")], 10)
        assert 0.1 <= time.monotonic() - began < 2
    with other.write() as connection:
        other.append_events(connection, [row("b")], 10)
    assert ids(store) == ["a", "b"]


def test_a_lower_number_never_appears_after_a_higher_one(where: Path | str, store: Store) -> None:
    """Four writers in stores of their own; a reader that follows by the highest number misses nobody."""
    done = threading.Event()

    def write(name: str) -> None:
        own = Store.open(where, lock_timeout_ms=20_000)
        for number in range(25):
            with own.write() as connection:
                own.append_events(connection, [row(f"{name}-{number}-{place}") for place in range(3)], 10)
        own.close()

    writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for one in writers:
        one.start()
    ending = threading.Thread(target=lambda: ([one.join() for one in writers], done.set()))
    ending.start()
    followed: list[str] = []
    tail, seq, last = store.tail(), 0, False
    while not last:
        last = done.is_set()
        for found in tail.after(seq):
            seq = found["seq"]
            followed.append(found["event_id"])
    ending.join()
    tail.close()
    assert len(followed) == 300
    assert followed == ids(store)


def test_changes_of_the_rollout_take_turns_and_all_stand_in_the_log(where: Path | str, store: Store) -> None:
    set_champion(store, "first", BY)
    start_rollout(store, "second", 0.0, "s", BY)

    def widen() -> None:
        own = Store.open(where, lock_timeout_ms=20_000)
        for _ in range(10):
            set_share(own, 0.5, BY)
        own.close()

    threads = [threading.Thread(target=widen) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    state = read_rollout(store)
    assert state is not None
    assert state.revision == 42  # 1 + 1 + 4 x 10, none lost
    history = read_history(store, 100)
    assert [entry["after"]["revision"] for entry in history] == list(range(42, 0, -1))
    assert history[0]["figures"] == {"p99_ms": 12.5}


def test_the_promotion_log_is_append_only(store: Store) -> None:
    set_champion(store, "first", BY)
    set_champion(store, "second", BY)
    rollback(store, BY)
    for change in (sa.update(promotions).values(who="x"), sa.delete(promotions)):
        with pytest.raises(IntegrityError, match="append-only"), store.write() as connection:
            connection.execute(change)
    assert [entry["action"] for entry in read_history(store)] == ["rollback", "set_champion", "set_champion"]


def test_an_unforeseen_error_tells_no_statement_and_no_value(store: Store) -> None:
    given = row("secret", recorded_at=1)
    with store.write() as connection:
        connection.execute(sa.insert(accepted_events), given)
    for broken in (given, given | {"event_id": "other", "customer_key": None}):
        with pytest.raises(IntegrityError, match=r"event_id|customer_key") as raised, store.write() as connection:
            connection.execute(sa.insert(accepted_events), broken)
        assert "secret" not in str(raised.value)
        assert "INSERT" not in str(raised.value)


def test_decisions_are_kept_one_and_many_at_a_time(store: Store) -> None:
    counted: Counter[str] = Counter()
    log = DecisionLog(store, capacity=1_000, count=lambda outcome, n: counted.update({outcome: n}))
    for number in range(150):
        log.record(
            Decision(f"d-{number}", "recommendation", "k:1", number, "first", "none", "champion", 0.25, ("ä", "b"))
        )
    log.record(Decision("churn", "churn", None, 9, "first", "none", "champion", 0.1, None, "f", b"\x00\xff"))
    log.close()
    assert counted == {"written": 151}
    with store.read() as connection:
        kept = connection.execute(sa.select(decisions).order_by(decisions.c.seq)).mappings().all()
    assert [one["decision_id"] for one in kept] == [*(f"d-{number}" for number in range(150)), "churn"]
    assert kept[0]["item_ids"] == '["\\u00e4", "b"]'
    assert kept[-1]["feature_values"] == b"\x00\xff"
    assert kept[0]["churn_probability"] == 0.25


@pytest.mark.parametrize("rows_kept", [20_000, 100])
def test_posts_are_taken_once_linked_sealed_and_followed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_kept: int
) -> None:
    monkeypatch.setattr("serving.histories._ROWS_KEPT", rows_kept)  # the others are read again
    intake = EventIntake(store, lambda: 1_000, capacity=10_000)
    # more than are looked up by one query
    many = [row(f"e{number}", customer_key="v:1", occurred_at=number) for number in range(1_200)]
    assert intake.submit(many).result(20) == (1_200, 0)
    assert intake.submit([*many[:3], row("in", customer_key="k:ann")], [None, None, None, "v:1"]).result(20) == (1, 3)
    intake.close()
    log = EventLog.create(tmp_path / "log")
    histories = Histories(store, SealedHistory.of(log))
    assert histories.history("k:ann").raw().occurred_us.size == 1_201
    histories.close()
    assert count_unsealed(store) == 1_201
    assert seal(store, log, batch=500).n_sealed == 1_201
    assert (count_unsealed(store), store.sealed_until(log.version)) == (0, 1_201)
