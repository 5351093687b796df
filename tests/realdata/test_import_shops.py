"""Two real shops with their dirt. Figures of the sources are counted here with Arrow or Python alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.event_log import EventLog
from features.importing import import_file, load_mapping
from features.schema import CUSTOMERS, ITEMS
from features.tables import read_table
from features.workspace import Workspace

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data on this machine"),
]


def test_online_retail_with_its_dirt_reconciles(tmp_path):
    source = DATA / "online-retail" / "online_retail_II_2009_2010.parquet"
    workspace = Workspace(tmp_path)
    report = import_file(source, load_mapping("online_retail_ii"), workspace)
    rows = pq.read_table(source)
    known = rows.filter(pc.is_valid(rows["Customer ID"]))
    goods = known.filter(pc.match_substring_regex(known["StockCode"], "^([0-9]{5}|DCGS)"))
    goods = goods.filter(pc.greater(goods["Price"], 0))
    distinct = goods.group_by(goods.column_names).aggregate([([], "count_all")])
    assert report.n_read == rows.num_rows == 502_938
    assert report.reconciles
    assert dict(report.dropped)["no customer"] == rows["Customer ID"].null_count
    assert report.n_quarantined == 0
    assert report.n_accepted == distinct.num_rows
    assert report.n_accepted + report.n_duplicates == goods.num_rows
    events = EventLog.open(workspace.event_log).read(columns=["kind", "quantity", "amount_minor", "occurred_at"])
    returns = pc.sum(pc.equal(events["kind"], "return")).as_py()
    assert returns == pc.sum(pc.starts_with(distinct["Invoice"], "C")).as_py() > 1_000
    assert pc.min(events["quantity"]).as_py() >= 1
    pence = pc.sum(pc.round(pc.multiply(pc.multiply(distinct["Price"], pc.abs(distinct["Quantity"])), 100.0)))
    assert pc.sum(events["amount_minor"]).as_py() == pytest.approx(pence.as_py(), abs=events.num_rows / 1000)
    # 2009-12-01 07:45 is winter time in London: the same in UTC.
    assert pc.min(events["occurred_at"]).as_py().isoformat() == "2009-12-01T07:45:00+00:00"
    assert read_table(workspace.items, ITEMS).num_rows == len(distinct["StockCode"].unique()) == report.n_items
    customers = read_table(workspace.customers, CUSTOMERS)
    assert customers.num_rows == len(distinct["Customer ID"].unique()) == report.n_customers
    assert customers["country"].null_count == 0
    assert import_file(source, load_mapping("online_retail_ii"), workspace).n_accepted == 0


def test_cdnow_is_imported_whole_but_for_equal_lines(tmp_path):
    source = DATA / "cdnow" / "CDNOW_sample.txt"
    report = import_file(source, load_mapping("cdnow"), Workspace(tmp_path))
    lines = source.read_text(encoding="ascii").splitlines()
    assert (report.n_read, report.n_customers, report.n_quarantined) == (6_919, 2_357, 0)
    assert report.n_accepted == len(set(lines))
    events = EventLog.open(Workspace(tmp_path).event_log).read()
    cents = sum(int(line.split()[4].replace(".", "")) for line in set(lines))
    assert pc.sum(events["amount_minor"]).as_py() == cents
    # Start of 1997-01-01 in New York.
    assert pc.min(events["occurred_at"]).cast(pa.int64()).as_py() == 852_094_800_000_000
