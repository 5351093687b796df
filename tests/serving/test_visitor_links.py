"""Visitors who log in: whose their events are, in every process, after sealing, and after a customer is forgotten."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from features.event_log import EventLog
from serving.histories import Histories, SealedHistory
from serving.intake import EventIntake
from serving.sealing import seal
from serving.store import EVENT_FIELDS, Store, accepted_events, visitor_links
from serving.visitor_links import forget_links

ANN, BOB, TABLET = "k:ann", "k:bob", "k:tablet"


class Shop:
    """A store with events posted as the service posts them, and a log to seal into."""

    def __init__(self, root: Path) -> None:
        self.store = Store.open(root / "service.db")
        self.log = EventLog.create(root / "events", n_buckets=4)
        self.intake = EventIntake(self.store, lambda: 1_000, capacity=100)
        self.histories = self.opened()

    def opened(self) -> Histories:
        """As another process has them that starts now."""
        return Histories(self.store, SealedHistory.of(self.log))

    def sees(self, key: str, item: str) -> None:
        """`key` views an item; the item's name is that of the event."""
        self._post(item, key, None, {"kind": "view", "item_id": item})

    def login(self, event_id: str, customer: str, visitor: str = TABLET) -> None:
        self._post(event_id, customer, visitor, {"kind": "login"})

    def forget(self, customer: str) -> tuple[str, ...]:
        with self.store.write() as connection:
            return forget_links(connection, customer)

    def _post(self, event_id: str, key: str, visitor: str | None, fields: dict[str, Any]) -> None:
        given = {"event_id": event_id, "customer_key": key, "occurred_at": 7}
        self.intake.submit([dict.fromkeys(EVENT_FIELDS) | given | fields], [visitor]).result(5)

    def close(self) -> None:
        self.intake.close()
        self.store.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.close()


def seen(histories: Histories, key: str) -> list[str]:
    """The items that the history of a key holds."""
    histories.catch_up()
    view = histories.history(key)
    return [] if view is None else view.item_ids.tolist()


def links(shop: Shop) -> list[tuple[str, str | None]]:
    with shop.store.read() as connection:
        query = sa.select(visitor_links.c.anonymous_key, visitor_links.c.customer_key).order_by(
            visitor_links.c.from_seq
        )
        return [tuple(row) for row in connection.execute(query)]


def test_a_login_brings_what_the_visitor_did_and_does_and_leaves_the_visitor_s_own_view(shop: Shop) -> None:
    other = shop.opened()
    shop.sees(TABLET, "apple")
    assert seen(shop.histories, TABLET) == ["apple"]
    assert seen(shop.histories, ANN) == []
    shop.login("in", ANN)
    for histories in (shop.histories, other, shop.opened()):
        assert seen(histories, ANN) == ["apple"]
    shop.sees(TABLET, "bread")
    for histories in (shop.histories, other, shop.opened()):
        assert seen(histories, ANN) == ["apple", "bread"]
        assert seen(histories, TABLET) == ["apple", "bread"]
        assert seen(histories, BOB) == []


def test_events_that_are_no_longer_in_memory_change_hands_as_well(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.histories._ROWS_KEPT", 1)
    for item in ("apple", "bread"):
        shop.sees(TABLET, item)
    shop.sees(BOB, "cheese")
    assert seen(shop.histories, TABLET) == ["apple", "bread"]
    shop.login("in", ANN)
    assert seen(shop.histories, ANN) == ["apple", "bread"]
    assert seen(shop.histories, BOB) == ["cheese"]


def test_the_view_of_a_customer_holds_one_key_and_every_event_once(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    shop.login("in", ANN)
    shop.login("again", ANN)
    shop.histories.catch_up()
    view = shop.histories.history(ANN)
    assert view is not None
    assert (view.customer_keys.tolist(), len(view)) == ([ANN], 3)
    assert links(shop) == [(TABLET, ANN)]


def test_many_gives_what_history_gives(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    shop.login("in", ANN)
    shop.sees(BOB, "cheese")
    seal(shop.store, shop.log)
    shop.sees(TABLET, "bread")
    histories = shop.opened()
    views = {key: view for view in histories.many((ANN, BOB)) for key in view.customer_keys.tolist()}
    assert set(views) == {ANN, BOB}
    assert views[ANN].item_ids.tolist() == ["apple", "bread"]
    assert views[BOB].item_ids.tolist() == ["cheese"]


def test_at_a_shared_computer_each_owns_what_was_done_up_to_the_next_login(shop: Shop) -> None:
    for step, owner in (("apple", ANN), ("bread", BOB), ("cheese", ANN)):
        shop.sees(TABLET, step)
        shop.login(f"in-{step}", owner)
    shop.sees(TABLET, "dates")
    for histories in (shop.histories, shop.opened()):
        # apple is older than the first login, bread came while Ann was logged in, cheese while Bob was
        assert seen(histories, ANN) == ["apple", "bread", "dates"]
        assert seen(histories, BOB) == ["cheese"]
    assert links(shop) == [(TABLET, ANN), (TABLET, BOB), (TABLET, ANN)]


def test_logins_of_one_post_count_one_after_the_other(shop: Shop) -> None:
    rows = [
        dict.fromkeys(EVENT_FIELDS) | {"event_id": name, "customer_key": key, "occurred_at": 7} | more
        for name, key, more in (
            ("1", TABLET, {"kind": "view", "item_id": "apple"}),
            ("2", ANN, {"kind": "login"}),
            ("3", TABLET, {"kind": "view", "item_id": "bread"}),
            ("4", BOB, {"kind": "login"}),
            ("5", TABLET, {"kind": "view", "item_id": "cheese"}),
        )
    ]
    shop.intake.submit(rows, [None, TABLET, None, TABLET, None]).result(5)
    assert seen(shop.histories, ANN) == ["apple", "bread"]
    assert seen(shop.histories, BOB) == ["cheese"]


def test_a_repeated_event_changes_no_link(shop: Shop) -> None:
    shop.login("in", ANN)
    shop.login("in", BOB)
    assert links(shop) == [(TABLET, ANN)]


def test_a_customer_may_have_been_several_visitors(shop: Shop) -> None:
    for visitor, item in (("k:phone", "apple"), (TABLET, "bread")):
        shop.sees(visitor, item)
        shop.login(f"in-{item}", ANN, visitor)
    assert seen(shop.histories, ANN) == ["apple", "bread"]
    assert shop.forget(ANN) == ("k:phone", TABLET)


def test_what_waits_is_sealed_under_the_customer_s_key_and_counted_once_after_a_restart(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    shop.login("in", ANN)
    shop.sees(TABLET, "bread")
    sealed = seal(shop.store, shop.log)
    assert (sealed.n_sealed, sealed.n_known) == (3, 0)
    assert set(shop.log.read()["customer_key"].to_pylist()) == {ANN}
    restarted = shop.opened()
    view = restarted.history(ANN)
    assert view is not None
    assert len(view) == 3
    assert seen(restarted, TABLET) == []  # the customer's alone now
    assert seen(shop.histories, ANN) == ["apple", "bread"]


def test_what_was_sealed_before_the_login_stays_the_visitor_s_and_is_in_the_customer_s_history(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    seal(shop.store, shop.log)
    running = shop.opened()
    assert seen(running, TABLET) == ["apple"]
    shop.login("in", ANN)
    shop.sees(TABLET, "bread")
    for histories in (running, shop.opened()):
        assert seen(histories, ANN) == ["apple", "bread"]
    seal(shop.store, shop.log)
    by_item = {row["item_id"]: row["customer_key"] for row in shop.log.read().to_pylist()}
    assert (by_item["apple"], by_item["bread"]) == (TABLET, ANN)
    assert seen(shop.opened(), ANN) == ["apple", "bread"]
    assert seen(shop.opened(), TABLET) == ["apple"]


def test_a_login_between_the_append_and_the_mark_of_a_seal_doubles_nothing(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    seal(shop.store, shop.log)
    with shop.store.write() as connection:  # as if the run had ended before it marked what it appended
        connection.execute(sa.update(accepted_events).values(sealed_version=None))
    shop.login("in", ANN)
    again = seal(shop.store, shop.log)
    assert (again.n_sealed, again.n_known) == (1, 1)
    assert sorted(shop.log.read()["event_id"].to_pylist()) == ["apple", "in"]
    assert seen(shop.opened(), ANN) == ["apple"]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_forgotten_customer_did_as_a_visitor_falls_to_nobody(shop: Shop, restarted: bool) -> None:
    for step, owner in (("apple", ANN), ("bread", BOB)):
        shop.sees(TABLET, step)
        shop.login(f"in-{step}", owner)
    shop.sees(TABLET, "cheese")
    assert seen(shop.histories, ANN) == ["apple", "bread"]
    assert shop.forget(ANN) == (TABLET,)
    assert shop.forget(ANN) == ()
    shop.sees(BOB, "dates")  # any event tells the others
    histories = shop.opened() if restarted else shop.histories
    assert seen(histories, ANN) == []
    assert seen(histories, BOB) == ["cheese", "dates"]
    assert seen(histories, TABLET) == ["apple", "bread", "cheese"]
    assert links(shop) == [(TABLET, None), (TABLET, BOB)]
    seal(shop.store, shop.log)
    histories = shop.opened()  # now apple and bread lie in the log under the visitor's key
    assert seen(histories, BOB) == ["cheese", "dates"]
    assert seen(histories, ANN) == []


def test_what_the_second_at_a_computer_did_falls_not_to_the_first_once_forgotten_and_sealed(shop: Shop) -> None:
    shop.login("in", ANN)
    shop.sees(TABLET, "apple")
    shop.login("in-2", BOB)
    shop.sees(TABLET, "bread")
    shop.forget(BOB)
    seal(shop.store, shop.log)
    by_item = {row["item_id"]: row["customer_key"] for row in shop.log.read().to_pylist()}
    assert (by_item["apple"], by_item["bread"]) == (ANN, TABLET)
    assert seen(shop.opened(), ANN) == ["apple"]


def test_a_forgotten_customer_who_comes_back_starts_anew(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    shop.login("in", ANN)
    shop.forget(ANN)
    shop.login("back", ANN)
    shop.sees(TABLET, "bread")
    for histories in (shop.histories, shop.opened()):
        assert seen(histories, ANN) == ["bread"]


def test_customer_and_visitor_together_before_any_link_and_never_another_s_visitor(shop: Shop) -> None:
    shop.sees(TABLET, "apple")
    shop.sees(ANN, "bread")
    shop.histories.catch_up()
    for key, expected in ((ANN, ["apple", "bread"]), (BOB, ["apple"])):
        both = shop.histories.together(key, TABLET)
        assert both is not None
        assert (both.customer_keys.tolist(), both.item_ids.tolist()) == ([key], expected)
    assert seen(shop.histories, ANN) == ["bread"]  # of that request alone
    shop.login("in", ANN)
    shop.histories.catch_up()
    assert shop.histories.together(BOB, TABLET) is None
    both = shop.histories.together(ANN, TABLET)
    assert both is not None
    assert len(both) == 3  # apple, bread, the login: once each
    assert shop.histories.together(ANN, "k:unknown") is shop.histories.history(ANN)


def owned(steps: list[tuple[str, str, str | None]], customer: str) -> set[str]:
    """Items of the customer by the rule as written: the last login before an event, else the first one after it.

    A step is (item, key, None) for a view, (name, customer, visitor) for a login.
    """
    items = set()
    for place, (item, key, visitor) in enumerate(steps):
        if visitor is None:
            logins = [(at, who) for at, (_, who, where) in enumerate(steps) if where == key]
            before = [who for at, who in logins if at < place]
            owner = before[-1] if before else logins[0][1] if logins else None
            if customer in (key, owner):
                items.add(item)
    return items


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_order_of_views_logins_seals_and_starts_the_rule_holds(shop: Shop, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps: list[tuple[str, str, str | None]] = []
    processes = [shop.histories]
    for number in range(16):
        what, name = rng.choice(["view", "view", "view", "login", "seal", "start"]), f"s{number:02}"
        customer, visitor = str(rng.choice([ANN, BOB])), str(rng.choice([TABLET, "k:phone"]))
        if what == "view":
            key = str(rng.choice([customer, visitor, visitor]))
            shop.sees(key, name)
            steps.append((name, key, None))
        elif what == "login":
            shop.login(name, customer, visitor)
            steps.append((name, customer, visitor))
        elif what == "seal":
            seal(shop.store, shop.log)
        else:
            processes.append(shop.opened())
        for histories in processes:
            for one in (ANN, BOB):
                assert set(seen(histories, one)) == owned(steps, one)
    assert len(shop.opened().sealed.event_hashes) == shop.log.n_events <= len(steps)


def test_views_are_kept_of_few_events_in_all_and_hold_every_event_of_their_customer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.histories._VIEWED_EVENTS_KEPT", 3)
    for key in (ANN, BOB, TABLET):
        shop.sees(key, f"first of {key}")
        shop.sees(key, f"second of {key}")
    for _ in range(2):
        for key in (ANN, BOB, TABLET):
            assert seen(shop.histories, key) == [f"first of {key}", f"second of {key}"]
    assert len(shop.histories._views) == 1
