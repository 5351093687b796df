"""The decision log: everything handed over is kept as it was, or counted as lost."""

import json
import sqlite3
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from serving.decisions import Decision, DecisionLog
from serving.store import Store, decisions


def decision(number: int) -> Decision:
    return Decision(
        f"d-{number}",
        "churn" if number % 2 else "recommendation",
        None if number % 3 else f"k:{number}",
        number,
        "first",
        "none",
        "champion",
        churn_probability=number / 1_000 if number % 2 else None,
        item_ids=None if number % 2 else ("a", f"b{number}"),
        fingerprint="f",
        feature_values=bytes([number % 256]) * 8,
        propensities=None if number % 4 else (1.0, 1 / 3),
    )


def test_whole_groups_and_the_rest_are_kept_in_order_as_handed_over(tmp_path: Path) -> None:
    store, counted = Store.open(tmp_path / "service.db"), Counter[str]()
    log = DecisionLog(store, capacity=1_000, count=lambda outcome, n: counted.update({outcome: n}))
    for number in range(560):  # two whole statements and the rest
        log.record(decision(number))
    log.close()
    assert counted == {"written": 560}
    with store.read() as connection:
        kept = connection.execute(sa.select(decisions).order_by(decisions.c.seq)).mappings().all()
    assert [row["decision_id"] for row in kept] == [f"d-{number}" for number in range(560)]
    for number in (0, 1, 249, 250, 500, 559):
        wanted = decision(number)
        row = kept[number]
        assert (row["kind"], row["customer_key"], row["as_of_us"]) == (wanted.kind, wanted.customer_key, number)
        assert (row["churn_probability"], row["feature_values"]) == (wanted.churn_probability, wanted.feature_values)
        assert row["item_ids"] == (None if number % 2 else f'["a", "b{number}"]')
        assert (None if row["propensities"] is None else tuple(json.loads(row["propensities"]))) == wanted.propensities


def test_a_full_queue_drops_and_a_locked_store_fails_and_both_are_counted(tmp_path: Path) -> None:
    store, counted = Store.open(tmp_path / "service.db", lock_timeout_ms=20), Counter[str]()
    holder = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    log = DecisionLog(store, capacity=5, count=lambda outcome, n: counted.update({outcome: n}))
    for number in range(8):
        log.record(decision(number))
    log.close()
    holder.execute("ROLLBACK")
    holder.close()
    assert counted == {"dropped": 3, "failed": 5}


def test_decisions_wait_for_a_locked_store_and_are_kept_in_order(tmp_path: Path) -> None:
    store, counted = Store.open(tmp_path / "service.db", lock_timeout_ms=20), Counter[str]()
    holder = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    log = DecisionLog(store, capacity=100, count=lambda outcome, n: counted.update({outcome: n}))
    for number in range(8):
        log.record(decision(number))
    time.sleep(0.5)  # they were tried at least once
    holder.execute("ROLLBACK")
    holder.close()
    log.close()
    assert counted == {"written": 8}
    with store.read() as connection:
        kept = connection.scalars(sa.select(decisions.c.decision_id).order_by(decisions.c.seq)).all()
    assert kept == [f"d-{number}" for number in range(8)]
