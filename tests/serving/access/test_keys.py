"""Keys: the store never holds one, they rotate with an overlap, and a slip in a wish is refused."""

from pathlib import Path
from typing import Any

import pytest

from features.errors import ConfigurationError
from features.instants import DAY_US
from serving.access.keys import RANDOM_BYTES, KeyWish, list_keys, make_key, revoke_key, rotate_key
from serving.store import Store
from tests.callers import PAGE

NOW_US = 1_700_000_000_000_000
CRM = KeyWish("crm", ("predict",), per_minute=60, expires_us=NOW_US + 30 * DAY_US)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = Store.open(tmp_path / "service.db")
    yield opened
    opened.close()


def random(number: int) -> bytes:
    return bytes([number]) * RANDOM_BYTES


def test_the_store_holds_a_hash_and_never_the_secret(store: Store, tmp_path: Path) -> None:
    key_id, _, secret = make_key(store, CRM, bytes(range(RANDOM_BYTES)), NOW_US).partition(".")
    assert key_id == "hfs_000102030405"
    assert len(secret) == 43  # 256 bits, six a character
    store.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key_id.encode() in everything
    assert secret.encode() not in everything


def test_a_rotated_key_works_beside_the_new_one_until_the_overlap_ends(store: Store) -> None:
    old = make_key(store, CRM, random(1), NOW_US).partition(".")[0]
    new = rotate_key(store, old, random(2), NOW_US + DAY_US, overlap_us=3 * DAY_US).partition(".")[0]
    before, after = list_keys(store)
    assert (before.key_id, after.key_id) == (old, new)
    assert [key.state(NOW_US + 4 * DAY_US - 1) for key in (before, after)] == ["active", "active"]
    assert [key.state(NOW_US + 4 * DAY_US) for key in (before, after)] == ["expired", "active"]
    assert after.wish.expires_us == NOW_US + 31 * DAY_US  # as long a life as the first had
    assert (after.wish.owner, after.wish.scopes, after.wish.per_minute) == ("crm", ("predict",), 60)


def test_a_rotation_never_makes_the_old_key_live_longer(store: Store) -> None:
    old = make_key(store, CRM, random(1), NOW_US).partition(".")[0]
    rotate_key(store, old, random(2), NOW_US + 29 * DAY_US, overlap_us=3 * DAY_US)
    assert list_keys(store)[0].wish.expires_us == CRM.expires_us


def test_a_dead_key_is_not_rotated_and_an_unknown_one_not_revoked(store: Store) -> None:
    old = make_key(store, CRM, random(1), NOW_US).partition(".")[0]
    revoke_key(store, old, NOW_US)
    revoke_key(store, old, NOW_US + 5)  # again changes nothing
    assert list_keys(store)[0].revoked_us == NOW_US
    with pytest.raises(ConfigurationError, match="the key is revoked"):
        rotate_key(store, old, random(2), NOW_US, 0)
    with pytest.raises(ConfigurationError, match="no such key"):
        revoke_key(store, "hfs_nobody", NOW_US)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"owner": "anna@example.org"}, "no address"),
        ({"owner": ""}, "owner"),
        ({"scopes": ()}, "scopes"),
        ({"scopes": ("predict", "everything")}, "scopes"),
        ({"scopes": ("predict",), "publishable": True, "origins": (PAGE,)}, "read by everybody"),
        ({"scopes": ("recommend",), "publishable": True}, "origins"),
        ({"origins": (PAGE,)}, "origins"),
        *(
            ({"scopes": ("events",), "publishable": True, "origins": (origin,)}, "without a path")
            for origin in ("*", "http://shop.example", f"{PAGE}/", "null", "https://Shop.example", f"{PAGE}\n")
        ),
        ({"per_minute": 0}, "at least 1"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(wish: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        KeyWish(**({"owner": "crm", "scopes": ("predict",)} | wish))
