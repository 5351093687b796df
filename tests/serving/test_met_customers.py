"""New customers keep their outside id: on disk before their events, listed, sealed into the table, nobody lost."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from features.errors import UnavailableError
from features.instants import DAY_US, format_instant
from features.tables import IDENTITIES, read_table, upsert
from serving.identities import Identities
from serving.met_customers import MetCustomers, known_identities
from serving.score_book import write_book
from tests.score_books import book_rows, facts
from tests.serving.conftest import Running
from tests.tiny_shop import NOW_US


def view(customer: str, number: int = 1, **named: str) -> dict[str, Any]:
    event = {"event_id": f"n-{customer}-{number}", "kind": "view", "item_id": "eggs"}
    return event | {"occurred_at": format_instant(NOW_US - DAY_US)} | (named or {"customer_id": customer})


def waiting(running: Running) -> dict[str, str]:
    table = MetCustomers(running.shop.workspace.met_identities).table()
    return dict(zip(table["customer_key"].to_pylist(), table["customer_id"].to_pylist(), strict=True))


def test_the_id_of_a_new_customer_is_kept_once_and_of_nobody_else(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        events = [
            view("new"),
            view("new", 2),
            view("c3"),
            view("", anonymous_id="visitor"),
            view("bad") | {"kind": "?"},
        ]
        taken = await client.post("/v1/events", json={"events": events})
        assert (taken.json()["accepted"], len(taken.json()["rejected"])) == (4, 1)
        await client.post("/v1/events", json={"events": [view("new", 3)]})

    running.run(talk)
    assert waiting(running) == {running.shop.pseudonyms.of("new"): "new"}
    mode = running.shop.workspace.met_identities.stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_who_cannot_be_named_later_is_not_taken_now(running: Running) -> None:
    running.shop.workspace.met_identities.mkdir()  # no file can be there

    async def talk(client: httpx.AsyncClient) -> None:
        refused = await client.post("/v1/events", json={"events": [view("new")]})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert (await client.get("/v1/customers/new/churn")).status_code == 404
        assert (await client.post("/v1/events", json={"events": [view("c3")]})).status_code == 202

    running.run(talk)


def test_a_new_customer_is_listed_before_and_after_sealing(running: Running) -> None:
    workspace = running.shop.workspace
    write_book(workspace.scores, facts(NOW_US), book_rows({running.shop.pseudonyms.of("new"): {}}), keep=2)

    async def talk(client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/customers")).json()["customers"] == []
        await client.post("/v1/events", json={"events": [view("new")]})
        for _ in range(2):
            listed = (await client.get("/v1/customers")).json()["customers"]
            assert [one["customer_id"] for one in listed] == ["new"]
            MetCustomers(workspace.met_identities).fold_into(workspace.identities)

    running.run(talk)
    assert waiting(running) == {}


def test_nobody_gives_up_the_lock_of_another_thread(tmp_path: Path) -> None:
    path = tmp_path / "met.db"
    MetCustomers(path).meet({"k:1": "anna"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["met.db"]
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert MetCustomers(path).table().num_rows == 1  # as another thread of this process reads it
        program = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "database is locked" in other.stderr


def test_folding_puts_everybody_into_the_table_and_is_harmless_when_repeated(tmp_path: Path) -> None:
    identities, met = tmp_path / "identities", MetCustomers(tmp_path / "met.db")
    upsert(identities, IDENTITIES, pa.table({"customer_key": ["k:b"], "customer_id": ["B"]}))
    met.meet({"k:c": "C", "k:a": "A"})
    met.meet({"k:a": "another"})  # the first that was told stays
    expected = {"customer_key": ["k:a", "k:b", "k:c"], "customer_id": ["A", "B", "C"]}
    assert known_identities(identities, tmp_path / "met.db").to_pydict() == expected
    assert (met.fold_into(identities), met.fold_into(identities)) == (2, 0)
    assert read_table(identities, IDENTITIES).to_pydict() == expected
    assert known_identities(identities, tmp_path / "met.db").to_pydict() == expected


def test_a_crash_between_table_and_file_loses_and_doubles_nobody(tmp_path: Path) -> None:
    identities, met = tmp_path / "identities", MetCustomers(tmp_path / "met.db")
    met.meet({"k:a": "A"})
    upsert(identities, IDENTITIES, met.table())  # and here it was killed
    assert known_identities(identities, tmp_path / "met.db").to_pydict() == {
        "customer_key": ["k:a"],
        "customer_id": ["A"],
    }
    assert met.fold_into(identities) == 1
    assert read_table(identities, IDENTITIES).num_rows == 1


def test_ids_are_followed_as_they_come(tmp_path: Path) -> None:
    identities, met = tmp_path / "identities", MetCustomers(tmp_path / "met.db")
    ids = Identities(identities, tmp_path / "met.db")
    assert ids.ids_of(["k:a", "k:b"]) == [None, None]
    met.meet({"k:a": "A"})
    assert ids.ids_of(["k:a", "k:b"]) == ["A", None]
    upsert(identities, IDENTITIES, pa.table({"customer_key": ["k:b"], "customer_id": ["B"]}))
    assert ids.ids_of(["k:b", "k:a", "k:0"]) == ["B", "A", None]


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "met.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(UnavailableError, match="new customers"):
        MetCustomers(tmp_path / "met.db").table()
