"""Keys in memory: what another process changes is known within a second, and a store that is gone is bridged."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from features.errors import UnavailableError
from serving.access.key_ring import KeyRing
from serving.access.keys import revoke_key
from serving.problems import Problem
from serving.store import Store
from tests.callers import PAGE, key_of

NOW_US = 1_700_000_000_000_000


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """The same database, as two processes have it."""
    pair = Store.open(tmp_path / "service.db"), Store.open(tmp_path / "service.db")
    yield pair
    for store in pair:
        store.close()


def test_a_key_made_or_revoked_elsewhere_is_known_within_a_second(stores: tuple[Store, Store]) -> None:
    here, elsewhere = stores
    ring = KeyRing.open(here, lambda: NOW_US)
    try:
        key = key_of(elsewhere, "predict", now_us=NOW_US, owner="crm")
        assert seconds_until(lambda: is_known(ring, key)) < 1.0
        assert ring.caller(key).owner == "crm"
        revoke_key(elsewhere, key.partition(".")[0], NOW_US)
        assert seconds_until(lambda: not is_known(ring, key)) < 1.0
    finally:
        ring.close()


def is_known(ring: KeyRing, key: str) -> bool:
    try:
        ring.caller(key)
    except Problem as problem:
        return problem.status != 401
    return True


def seconds_until(happened: object) -> float:
    assert callable(happened)
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < 5
        time.sleep(0.01)
    return time.monotonic() - started


def test_only_the_whole_key_is_recognised(stores: tuple[Store, Store]) -> None:
    key = key_of(stores[0], "predict", now_us=NOW_US)
    other = key_of(stores[0], "admin", now_us=NOW_US)
    ring = KeyRing(stores[0], lambda: NOW_US)
    ring.refresh()
    key_id, _, secret = key.partition(".")
    wrong = (
        "", ".", key_id, f"{key_id}.", f".{secret}", secret, f"{key}x", key[:-1], key.upper(), f"{key}.",
        f"{key_id}.{other.partition('.')[2]}", f"{other.partition('.')[0]}.{secret}", "x" * 8_000, "\xff.\xff",
    )  # fmt: skip
    assert not any(is_known(ring, one) for one in wrong)
    assert is_known(ring, key)


def test_a_key_ends_at_its_instant(stores: tuple[Store, Store]) -> None:
    now = [NOW_US]
    ring = KeyRing(stores[0], lambda: now[0])
    key = key_of(stores[0], "predict", now_us=NOW_US, expires_us=NOW_US + 5)
    ring.refresh()
    now[0] += 4
    assert is_known(ring, key)
    now[0] += 1
    assert not is_known(ring, key)


def test_keys_are_believed_for_five_minutes_while_the_store_is_gone_and_no_longer(stores: tuple[Store, Store]) -> None:
    seconds = [0.0]
    ring = KeyRing(stores[0], lambda: NOW_US, lambda: seconds[0])
    key = key_of(stores[0], "predict", now_us=NOW_US)
    ring.refresh()
    seconds[0] = 299
    assert is_known(ring, key)
    seconds[0] = 301
    with pytest.raises(UnavailableError, match="keys cannot be read"):
        ring.caller(key)


def test_while_the_store_is_locked_a_revoked_key_stays_revoked_and_others_end_at_their_instant(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    now = [NOW_US]
    good, ended, revoked = (
        key_of(stores[0], "predict", now_us=NOW_US, expires_us=expires_us) for expires_us in (None, NOW_US + 5, None)
    )
    ring = KeyRing(stores[0], lambda: now[0])
    ring.refresh()
    revoke_key(stores[1], revoked.partition(".")[0], NOW_US)
    with closing(sqlite3.connect(tmp_path / "service.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        ring.refresh()  # what was revoked a moment before the lock is read in spite of it
        assert [is_known(ring, one) for one in (good, ended, revoked)] == [True, True, False]
        now[0] += 5
        assert [is_known(ring, one) for one in (good, ended, revoked)] == [True, False, False]
    now[0] -= 10  # and a clock that was set back brings no revoked key back
    assert not is_known(ring, revoked)


def test_scopes_imply_what_they_say_and_the_origins_are_those_of_all_pages(stores: tuple[Store, Store]) -> None:
    ring = KeyRing(stores[0], lambda: NOW_US)
    keys = [key_of(stores[0], scope, now_us=NOW_US) for scope in ("admin", "rollout", "predict")]
    page = key_of(stores[0], "events", now_us=NOW_US, publishable=True, origins=(PAGE,))
    ring.refresh()
    admin, rollout, predict = (ring.caller(key).scopes for key in keys)
    assert admin == {"predict", "recommend", "events", "rollout", "admin", "audit"}
    assert (rollout, predict) == ({"rollout", "audit"}, {"predict"})
    assert ring.caller(page).visitors_alone
    assert ring.origins == {PAGE}
    revoke_key(stores[1], page.partition(".")[0], NOW_US)
    ring.refresh()
    assert ring.origins == set()
