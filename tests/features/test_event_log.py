import threading

import numpy as np
import pyarrow as pa
import pytest

from features.bucketing import bucket_of
from features.errors import ArtefactError, DataError, UnavailableError
from features.event_log import EventLog
from features.locking import exclusive
from features.schema import EVENTS


def events(*rows: tuple[str, str, int, int]) -> pa.Table:
    """Rows of (event_id, customer_key, occurred_us, recorded_us)."""
    ids, keys, occurred, recorded = zip(*rows, strict=True)
    instant = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "event_id": pa.array(ids, pa.string()),
            "customer_key": pa.array(keys, pa.string()),
            "occurred_at": pa.array(occurred, pa.int64()).cast(instant),
            "recorded_at": pa.array(recorded, pa.int64()).cast(instant),
            "kind": pa.array(["login"] * len(rows)),
        }
    )


@pytest.fixture
def log(tmp_path):
    return EventLog.create(tmp_path / "log" / "events", n_buckets=4)


def test_what_is_appended_is_read_back_in_the_schema(log):
    appended = log.append(events(("e1", "c1", 5, 6), ("e2", "c2", 7, 8)))
    assert (appended.n_appended, appended.n_duplicates, appended.version) == (2, 0, 1)
    rows = log.read()
    assert rows.schema == EVENTS.arrow
    assert sorted(rows["event_id"].to_pylist()) == ["e1", "e2"]
    assert log.n_events == 2


def test_an_event_id_is_accepted_once_within_a_call_and_across_calls(log):
    first = log.append(events(("e1", "c1", 5, 5), ("e1", "c1", 9, 9), ("e2", "c1", 6, 6)))
    second = log.append(events(("e2", "c1", 6, 6), ("e3", "c1", 7, 7)))
    assert (first.n_appended, first.n_duplicates) == (2, 1)
    assert (second.n_appended, second.n_duplicates) == (1, 1)
    rows = log.read(columns=["event_id", "occurred_at"])
    assert dict(zip(rows["event_id"].to_pylist(), rows["occurred_at"].cast(pa.int64()).to_pylist(), strict=True)) == {
        "e1": 5,  # the first of the two
        "e2": 6,
        "e3": 7,
    }


def test_an_append_of_duplicates_makes_no_version(log):
    log.append(events(("e1", "c1", 5, 5)))
    assert log.append(events(("e1", "c1", 5, 5))).version == 1


def test_an_append_over_many_buckets_is_one_version_and_sorted(tmp_path):
    log = EventLog.create(tmp_path / "events", n_buckets=8)
    rng = np.random.default_rng(3)
    rows = [(f"e{i}", f"c{rng.integers(50)}", int(rng.integers(1000)), 2000) for i in range(3000)]
    log.append(events(*rows[:1500]))
    assert log.append(events(*rows[1000:])).n_duplicates == 500
    assert log.version == 2
    assert log.n_events == 3000
    first = log.read(version=1)
    assert first.num_rows == 1500
    for bucket in range(8):
        mask = bucket_of(first["customer_key"], 8) == bucket
        part = first.filter(pa.array(mask))
        order = list(zip(part["customer_key"].to_pylist(), part["occurred_at"].to_pylist(), strict=True))
        assert len(order) > 1
        assert order == sorted(order)


def test_older_versions_stay_readable(log):
    log.append(events(("e1", "c1", 5, 5)))
    log.append(events(("e2", "c2", 5, 5)))
    assert log.read(version=1)["event_id"].to_pylist() == ["e1"]
    with pytest.raises(ArtefactError, match="version 9"):
        log.read(version=9)


def test_an_event_recorded_at_the_cut_off_is_not_seen(log):
    log.append(events(("e1", "c1", 5, 99), ("e2", "c1", 5, 100), ("e3", "c1", 5, 101)))
    assert log.read(recorded_before_us=100)["event_id"].to_pylist() == ["e1"]


def test_reading_some_customers_leaves_out_the_others(log):
    log.append(events(*((f"e{i}", f"c{i % 10}", i, i) for i in range(100))))
    rows = log.read(columns=["kind", "customer_key"], customer_keys=["c3", "c7", "nobody"])
    assert rows.column_names == ["customer_key", "kind"]
    assert set(rows["customer_key"].to_pylist()) == {"c3", "c7"}
    assert rows.num_rows == 20
    assert log.read(customer_keys=[]).num_rows == 0


def test_a_stream_that_fails_changes_nothing(log):
    def stream():
        yield events(("e1", "c1", 5, 5)).to_batches()[0]
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        log.append_batches(stream())
    assert EventLog.open(log._path).n_events == 0
    assert [p.name for p in log._path.parent.iterdir() if p.name.startswith(".staged")] == []


def test_a_second_writer_is_told_to_try_again(log):
    entered, leave = threading.Event(), threading.Event()

    def stream():
        entered.set()
        leave.wait(30)
        yield events(("e1", "c1", 5, 5)).to_batches()[0]

    writer = threading.Thread(target=lambda: log.append_batches(stream()))
    writer.start()
    entered.wait(30)
    try:
        with pytest.raises(UnavailableError, match="try again"):
            EventLog.open(log._path).append(events(("e2", "c1", 5, 5)))
    finally:
        leave.set()
        writer.join()
    assert EventLog.open(log._path).read()["event_id"].to_pylist() == ["e1"]


def test_two_openings_do_not_lose_each_others_events(log):
    other = EventLog.open(log._path)
    log.append(events(("e1", "c1", 5, 5)))
    assert other.append(events(("e1", "c1", 5, 5), ("e2", "c1", 6, 6))).n_duplicates == 1
    assert other.n_events == 2


def test_an_event_without_a_required_value_or_column_is_refused(log):
    with pytest.raises(DataError, match="kind"):
        log.append(events(("e1", "c1", 5, 5)).drop(["kind"]))
    broken = events(("e1", "c1", 5, 5)).set_column(4, "kind", pa.array([None], pa.string()))
    with pytest.raises(DataError, match="kind"):
        log.append(broken)
    assert EventLog.open(log._path).n_events == 0


def test_a_log_is_not_made_twice_and_an_absent_one_is_not_opened(log, tmp_path):
    with pytest.raises(ArtefactError, match="already"):
        EventLog.create(log._path)
    with pytest.raises(ArtefactError, match="no event log"):
        EventLog.open(tmp_path / "nowhere")
    assert EventLog.open(log._path).n_buckets == 4


def test_counting_agrees_with_appending(log):
    log.append(events(("e1", "c1", 5, 5)))
    more = events(("e1", "c1", 5, 5), ("e2", "c2", 5, 5), ("e2", "c2", 5, 5))
    assert log.count_new([(more["event_id"].chunk(0), more["customer_key"].chunk(0))]) == 1
    assert log.append(more).n_appended == 1


def test_buckets_are_those_of_fnv_and_do_not_depend_on_slicing():
    def expected(key: str, n: int) -> int:
        value = 0xCBF29CE484222325
        for byte in key.encode()[-8:]:
            value = ((value ^ byte) * 0x100000001B3) % 2**64
        return (value ^ (value >> 32)) % n

    keys = ["k1:0123456789abcdef", "x", "", "größe", "k1:0123456789abcdee"]
    assert bucket_of(pa.array(keys), 64).tolist() == [expected(key, 64) for key in keys]
    assert bucket_of(pa.array(keys).slice(1, 3), 64).tolist() == [expected(key, 64) for key in keys[1:4]]


def test_a_log_is_taken_back_only_while_it_is_empty_and_nobody_writes(log):
    with exclusive(log._path.with_name("events.lock"), "the event log"):
        EventLog.remove_if_empty(log._path)
    log.append(events(("e1", "c1", 5, 5)))
    EventLog.remove_if_empty(log._path)
    assert EventLog.open(log._path).n_events == 1
    other = EventLog.create(log._path.with_name("other"))
    EventLog.remove_if_empty(other._path)
    assert not other._path.exists()
