import json
import stat
import tomllib
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ConfigurationError, DataError, UnavailableError
from features.event_log import EventLog
from features.importing import import_file, import_table, load_mapping
from features.importing.digests import content_ids
from features.importing.mapping import Mapping
from features.instants import parse_instant
from features.locking import exclusive
from features.pseudonyms import Pseudonyms
from features.schema import CUSTOMERS, EVENTS, ITEMS
from features.settings import read_settings
from features.tables import IDENTITIES, read_table
from features.workspace import Workspace

HEADER = "order_id,customer_id,item_id,ordered_at,quantity,unit_price,currency,channel\n"


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "shop")


def order(number, **change):
    row = {
        "order_id": f"O{number}", "customer_id": f"cust-{number % 7}", "item_id": f"i{number % 3}",
        "ordered_at": f"2024-01-{number % 28 + 1:02d}T10:00:00Z", "quantity": "2", "unit_price": "2.55",
        "currency": "EUR", "channel": "web",
    }  # fmt: skip
    return ",".join({**row, **change}.values()) + "\n"


def written(path, *lines):
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    return path


def files_below(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")} if root.exists() else {}


def test_order_lines_become_purchases(tmp_path, workspace):
    source = written(tmp_path / "o.csv", order(1), order(2, unit_price="0.335", quantity="3", channel=""))
    report = import_file(source, load_mapping("orders"), workspace)
    assert (report.n_read, report.n_accepted, report.log_version) == (2, 2, 1)
    rows = EventLog.open(workspace.event_log).read().sort_by("order_id").to_pylist()
    key = Pseudonyms.load(workspace.pseudonym_keys).of("cust-1")
    assert {name: rows[0][name] for name in ("customer_key", "kind", "amount_minor", "currency", "channel")} == {
        "customer_key": key, "kind": "purchase", "amount_minor": 510, "currency": "EUR", "channel": "web",
    }  # fmt: skip
    assert rows[0]["recorded_at"] == rows[0]["occurred_at"]
    assert rows[1]["amount_minor"] == 100  # 3 * 0.335 = 1.005: half to even
    assert rows[1]["channel"] is None


def test_the_outside_id_stands_in_the_identities_alone_and_only_the_owner_reads_them(tmp_path, workspace):
    import_file(written(tmp_path / "o.csv", order(1), order(8)), load_mapping("orders"), workspace)
    identities = read_table(workspace.identities, IDENTITIES)
    assert identities["customer_id"].to_pylist() == ["cust-1"]
    assert stat.S_IMODE(workspace.identities.stat().st_mode) == 0o700
    for column in EventLog.open(workspace.event_log).read().columns:
        assert not any("cust" in str(value) for value in column.to_pylist())


def test_one_percent_of_poison_is_kept_apart_and_every_row_is_accounted_for(tmp_path, workspace):
    poison = {
        "customer_id": order(1, customer_id=""), "occurred_at": order(2, ordered_at="2024-02-30T00:00:00Z"),
        "amount_minor": order(3, unit_price="free"), "quantity": order(4, quantity="0"),
        "currency": order(5, currency="QQQ"), "line": 'O6,cust-6,"i6\n', "item_id": order(7, item_id="x" * 300),
    }  # fmt: skip
    lines = [order(n) for n in range(10_000)]
    expected: Counter[str] = Counter()
    for n in range(100):
        field = list(poison)[n % len(poison)]
        lines.insert(n * 97, poison[field])
        expected[field] += 1
    lines.append(order(5))  # a duplicate
    report = import_file(written(tmp_path / "o.csv", *lines), load_mapping("orders"), workspace)
    assert (report.n_read, report.n_accepted, report.n_duplicates) == (10_101, 10_000, 1)
    assert report.n_quarantined == 100
    assert report.reconciles
    by_field: Counter[str] = Counter()
    for reason in report.reasons:
        by_field[reason.field] += reason.n_rows
    assert by_field == expected
    path = workspace.quarantine / report.quarantine_file
    kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(kept) == 100
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for one in kept:  # the row number leads back to the line of the source (no line spans two here)
        original = one["original"]
        text = original if isinstance(original, str) else ",".join(value or "" for value in original.values())
        assert lines[one["row"] - 1] == text + "\n"


def test_an_event_of_the_future_is_kept_apart(tmp_path, workspace):
    before = parse_instant("2024-05-01T00:00:00Z")
    lines = (order(1, ordered_at="2024-04-30T23:59:59Z"), order(2, ordered_at="2024-05-01T00:00:00Z"))
    report = import_file(
        written(tmp_path / "o.csv", *lines),
        load_mapping("orders"),
        workspace,
        max_quarantined_share=0.5,
        before_us=before,
    )
    assert (report.n_accepted, report.n_quarantined) == (1, 1)
    assert [(one.reason, one.first_row) for one in report.reasons] == [("lies in the future", 2)]


def test_too_many_bad_rows_abort_and_change_nothing(tmp_path, workspace):
    source = written(tmp_path / "o.csv", *(order(n, quantity="-1" if n < 6 else "1") for n in range(100)))
    with pytest.raises(DataError, match=r"6 of 100 rows \(6\.0%\).*limit of 5\.0%: quantity is below 1"):
        import_file(source, load_mapping("orders"), workspace)
    assert [path for path in files_below(workspace.root) if path.is_file() and path.suffix != ".lock"] == []
    assert import_file(source, load_mapping("orders"), workspace, max_quarantined_share=0.06).n_accepted == 94


def test_an_abort_leaves_an_existing_log_as_it_was(tmp_path, workspace):
    import_file(written(tmp_path / "o.csv", order(1)), load_mapping("orders"), workspace)
    before = files_below(workspace.root / "log" / "events")
    with pytest.raises(DataError):
        import_file(written(tmp_path / "p.csv", order(2), order(3, quantity="no")), load_mapping("orders"), workspace)
    assert files_below(workspace.root / "log" / "events") == before
    assert EventLog.open(workspace.event_log).version == 1
    assert not workspace.quarantine.exists() or list(workspace.quarantine.iterdir()) == []


def test_importing_twice_adds_nothing(tmp_path, workspace):
    source = written(tmp_path / "o.csv", order(1), order(2), order(2))
    first = import_file(source, load_mapping("orders"), workspace)
    second = import_file(source, load_mapping("orders"), workspace)
    assert (first.n_accepted, first.n_duplicates) == (2, 1)
    assert (second.n_accepted, second.n_duplicates, second.log_version) == (0, 3, 1)


def test_a_dry_run_writes_nothing_and_tells_what_the_import_then_does(tmp_path, workspace):
    source = written(
        tmp_path / "o.csv", *(order(n, quantity="0" if n == 3 else "1") for n in range(50)), order(5, quantity="1")
    )
    for _ in range(2):  # on no log at all, and on a log that has everything already
        before = files_below(tmp_path)
        tried = import_file(source, load_mapping("orders"), workspace, dry_run=True)
        assert files_below(tmp_path) == before
        done = import_file(source, load_mapping("orders"), workspace)
        for name in ("n_read", "n_accepted", "n_duplicates", "n_quarantined", "n_dropped", "reasons", "n_customers"):
            assert getattr(tried, name) == getattr(done, name)
    assert done.n_accepted == 0


def test_a_log_that_is_being_written_is_unavailable_and_nothing_changes(tmp_path, workspace):
    source = written(tmp_path / "o.csv", order(1))
    import_file(source, load_mapping("orders"), workspace)
    with exclusive(workspace.event_log.with_name("events.lock"), "the event log"), pytest.raises(UnavailableError):
        import_file(written(tmp_path / "p.csv", order(2)), load_mapping("orders"), workspace)
    assert EventLog.open(workspace.event_log).n_events == 1


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path, workspace):
    (tmp_path / "o.csv").write_text("order_id,who\n1,2\n")
    with pytest.raises(DataError, match=r"customer_id.*it has order_id, who"):
        import_file(tmp_path / "o.csv", load_mapping("orders"), workspace)
    assert not workspace.event_log.exists()


MINE = """
name = "mine"
returns_negative = true
[columns]
customer_id = "who"
item_id = "what"
occurred_at = "when"
quantity = "n"
[time]
zone = "Europe/London"
[money]
currency = "GBP"
amount = "price * n"
discount = "off"
[kind]
constant = "purchase"
[[kind.rules]]
kind = "return"
column = "doc"
operator = "starts_with"
value = "C"
[[drop]]
name = "no customer"
column = "who"
operator = "is_null"
[[keep]]
name = "other shop"
column = "shop"
operator = "equals"
value = "uk"
[items]
title = "title"
[customers]
country = "country"
"""


def test_rules_drop_by_name_returns_are_positive_and_titles_are_the_most_frequent(tmp_path, workspace):
    rows = pa.table(
        {
            "doc": ["1", "C2", "3", "4", "5", "6"],
            "who": pa.array([7.0, 7.0, None, 8.0, 7.0, float("nan")]),  # ids as floats, as pandas and Polars leave them
            "what": ["a", "a", "a", "a", "a", "a"],
            "when": pa.array([10**9] * 4 + [10**9 + 60] * 2, pa.int64()).cast(pa.timestamp("s")),
            "n": [2, -1, 1, 1, 1, 1],
            "price": [1.1, 1.1, 1.1, 1.1, 2.675, 1.1],
            "off": [0.0, 0.0, 0.0, 0.0, 0.5, 0.0],
            "shop": ["uk", "uk", "uk", "fr", "uk", "uk"],
            "title": [" Mug ", "mug", "mug", "mug", "Mug", "mug"],
            "country": ["UK", None, "UK", "UK", "", "UK"],
        }
    )
    pq.write_table(rows, tmp_path / "x.parquet")
    report = import_file(tmp_path / "x.parquet", read_settings(Mapping, tomllib.loads(MINE)), workspace)
    assert report.dropped == (("no customer", 2), ("other shop", 1))
    assert (report.n_read, report.n_accepted, report.n_dropped, report.reconciles) == (6, 3, 3, True)
    events = EventLog.open(workspace.event_log).read().sort_by([("occurred_at", "ascending"), ("kind", "ascending")])
    told = events.select(["kind", "quantity", "amount_minor", "discount_minor"]).to_pylist()
    assert [tuple(one.values()) for one in told] == [
        ("purchase", 2, 220, 0),
        ("return", 1, 110, 0),
        ("purchase", 1, 268, 50),
    ]
    items = read_table(workspace.items, ITEMS).select(["item_id", "title"])
    assert items.to_pylist() == [{"item_id": "a", "title": "Mug"}]
    assert read_table(workspace.customers, CUSTOMERS)["country"].to_pylist() == ["UK"]
    assert read_table(workspace.identities, IDENTITIES)["customer_id"].to_pylist() == ["7"]


@pytest.mark.parametrize("rest", ['"\\ud800"', "1" * 5_000], ids=["half a surrogate pair", "a number too long"])
def test_a_bad_row_of_json_that_python_cannot_write_is_kept_apart_all_the_same(tmp_path, workspace, rest):
    good = {"event_id": "e1", "customer_id": "a", "occurred_at": "2024-01-01T00:00:00Z", "kind": "login"}
    bad = json.dumps({**good, "kind": "telepathy"})[:-1] + f', "rest": {rest}}}'
    (tmp_path / "x.jsonl").write_text(json.dumps(good) + "\n" + bad + "\n", encoding="utf-8")
    report = import_file(tmp_path / "x.jsonl", load_mapping("events"), workspace, max_quarantined_share=0.5)
    assert (report.n_accepted, report.n_quarantined) == (1, 1)
    (kept,) = (workspace.quarantine / report.quarantine_file).read_text(encoding="utf-8").splitlines()
    assert "telepathy" in str(json.loads(kept)["original"])
    assert rest.strip('"') in kept


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_our_own_columns_are_taken_one_to_one(tmp_path, workspace, form):
    rows = [
        {"event_id": "e1", "customer_id": "a", "occurred_at": "2024-01-01T00:00:00Z",
         "recorded_at": "2024-01-02T00:00:00+01:00",
         "kind": "review", "item_id": "i", "value": 5, "text": "Très bon"},
        {"event_id": "e2", "customer_id": "a", "occurred_at": "2024-01-01T00:00:00Z", "recorded_at": None,
         "kind": "login", "item_id": None, "value": None, "text": None},
    ]  # fmt: skip
    path = tmp_path / f"x.{form}"
    if form == "csv":
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]), encoding="utf-8")
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert import_file(path, load_mapping("events"), workspace).n_accepted == 2
    read = EventLog.open(workspace.event_log).read().sort_by("event_id")
    assert read.schema == EVENTS.arrow
    assert read.select(["event_id", "kind", "value", "text"]).to_pylist() == [
        {"event_id": "e1", "kind": "review", "value": 5, "text": "Très bon"},
        {"event_id": "e2", "kind": "login", "value": None, "text": None},
    ]
    assert [one.isoformat() for one in read["recorded_at"].to_pylist()] == [
        "2024-01-01T23:00:00+00:00",
        "2024-01-01T00:00:00+00:00",
    ]


def test_the_report_is_json_with_times_and_without_values(tmp_path, workspace):
    source = written(tmp_path / "o.csv", *(order(n) for n in range(1, 21)), order(0, customer_id="secret" * 60))
    told = json.loads(import_file(source, load_mapping("orders"), workspace).to_json())
    assert told["first_occurred_at"] == "2024-01-02T10:00:00Z"
    assert told["reasons"] == [
        {"field": "customer_id", "reason": "has more than 256 characters", "n_rows": 1, "first_row": 21}
    ]
    assert "secret" not in json.dumps(told)


def test_progress_reaches_the_number_of_rows(tmp_path, workspace):
    seen: list[int] = []
    import_file(
        written(tmp_path / "o.csv", order(1), order(2)), load_mapping("orders"), workspace, progress=seen.append
    )
    assert seen[-1] == 2


def test_a_header_alone_imports_nothing(tmp_path, workspace):
    report = import_file(written(tmp_path / "o.csv"), load_mapping("orders"), workspace)
    assert (report.n_read, report.n_accepted, report.log_version) == (0, 0, 0)


def test_content_ids_tell_null_from_empty_and_one_column_from_the_next():
    ids = content_ids([pa.array(["a", "a", "", None, "ab"]), pa.array(["b", "b", "ab", "ab", ""])]).to_pylist()
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    assert content_ids([pa.array(["x", "a"]).slice(1), pa.array(["x", "b"]).slice(1)]).to_pylist() == [ids[0]]


def test_items_are_imported_from_our_own_columns(tmp_path, workspace):
    (tmp_path / "i.csv").write_text(
        "item_id,title,price_minor,currency,in_stock,colour\na,One,100,EUR,true,red\nb,Two,,,no,\na,New,,,,\n,X,,,,\n"
    )
    with pytest.raises(DataError, match="item_id is missing"):
        import_table(tmp_path / "i.csv", ITEMS, workspace)
    assert not workspace.items.exists()
    report = import_table(tmp_path / "i.csv", ITEMS, workspace, max_quarantined_share=0.5)
    assert (report.n_read, report.n_accepted, report.n_duplicates, report.n_quarantined) == (4, 2, 1, 1)
    rows = read_table(workspace.items, ITEMS).to_pylist()
    assert [(r["item_id"], r["title"], r["in_stock"]) for r in rows] == [("a", "New", None), ("b", "Two", False)]


def test_customers_are_imported_under_their_pseudonym(tmp_path, workspace):
    (tmp_path / "c.jsonl").write_text('{"customer_id": 7, "signed_up_at": "2024-01-01T00:00:00Z", "country": "FR"}\n')
    assert import_table(tmp_path / "c.jsonl", CUSTOMERS, workspace, dry_run=True).n_accepted == 1
    assert not workspace.root.exists()
    import_table(tmp_path / "c.jsonl", CUSTOMERS, workspace)
    (row,) = read_table(workspace.customers, CUSTOMERS).to_pylist()
    assert row["customer_key"] == Pseudonyms.load(workspace.pseudonym_keys).of("7")
    assert row["country"] == "FR"


def test_a_table_of_another_kind_is_refused(tmp_path, workspace):
    with pytest.raises(ConfigurationError, match="events"):
        import_table(tmp_path / "x.csv", EVENTS, workspace)
