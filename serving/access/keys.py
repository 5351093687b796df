"""API keys, `prefix.secret`: made, listed, revoked and rotated in the store, which keeps no secret.

The secret is 256 random bits, so one SHA-256 of it is enough: slow hashes and salts protect what people choose, and
there is nothing to guess here (NIST SP 800-63B 5.1.1.2 asks for them below 112 bits). A key is shown once, when it is
made.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from features.errors import ConfigurationError
from serving.access.scopes import BROWSER_SCOPES, SCOPES
from serving.store import Store
from serving.store_schema import access_keys

__all__ = ["RANDOM_BYTES", "AccessKey", "KeyWish", "list_keys", "make_key", "revoke_key", "rotate_key", "secret_hash"]

RANDOM_BYTES = 38
"""How much randomness a new key takes: 6 bytes for its name, 32 for its secret."""

_NAME_BYTES = 6
_PREFIX = {False: "hfs_", True: "hfp_"}  # so that who searches code and logs for leaked keys finds them
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z")
_ORIGIN = re.compile(r"(https://[a-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?\Z")


@dataclass(frozen=True)
class KeyWish:
    """What a new key shall be able to do. `publishable` ones may be read by everybody, as in the source of a page.

    `per_minute` and `per_day` bound its calls in each minute and day of UTC; None is no bound.

    Raises:
        ConfigurationError: a name, scope, origin or limit that cannot be.
    """

    owner: str
    scopes: tuple[str, ...]
    publishable: bool = False
    origins: tuple[str, ...] = ()
    per_minute: int | None = None
    per_day: int | None = None
    expires_us: int | None = None

    def __post_init__(self) -> None:
        if not _OWNER.match(self.owner):
            raise ConfigurationError(
                "an owner is the name of a system, at most 64 letters, digits, spaces, dots and dashes; no address"
            )
        if not self.scopes or not set(self.scopes) <= set(SCOPES):
            raise ConfigurationError(f"a key needs scopes out of {', '.join(SCOPES)}")
        if self.publishable and not set(self.scopes) <= BROWSER_SCOPES:
            raise ConfigurationError("a publishable key can be read by everybody: it may only recommend, events")
        if self.publishable != bool(self.origins):
            raise ConfigurationError("name the origins of the pages for a publishable key, and for no other")
        if not all(_ORIGIN.match(origin) for origin in self.origins):
            raise ConfigurationError("an origin is written as https://shop.example, without a path and without *")
        if any(limit is not None and limit < 1 for limit in (self.per_minute, self.per_day)):
            raise ConfigurationError("a limit of calls must be at least 1; revoke a key that shall do nothing")


@dataclass(frozen=True)
class AccessKey:
    """A key as it is kept. Instants are UTC microseconds; `expires_us` and `revoked_us` are None where it does not."""

    key_id: str
    secret_sha256: str
    wish: KeyWish
    created_us: int
    revoked_us: int | None

    def state(self, now_us: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.wish.expires_us is not None and self.wish.expires_us <= now_us else "active"

    @classmethod
    def of_row(cls, row: Any) -> AccessKey:
        """From a row of `access_keys`."""
        wish = KeyWish(
            row["owner"],
            tuple(row["scopes"].split()),
            row["publishable"],
            tuple(row["origins"].split()),
            row["per_minute"],
            row["per_day"],
            row["expires_us"],
        )
        return cls(row["key_id"], row["secret_sha256"], wish, row["created_us"], row["revoked_us"])


def secret_hash(secret: str) -> str:
    """SHA-256 in hexadecimal digits, as the store keeps it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make_key(store: Store, wish: KeyWish, random: bytes, now_us: int) -> str:
    """Keep a new key and give its text, which nobody can find out later. `random` is `RANDOM_BYTES` fresh ones."""
    with store.write() as connection:
        return _insert(connection, wish, random, now_us)


def list_keys(store: Store) -> list[AccessKey]:
    """All keys ever made, the oldest first."""
    with store.read() as connection:
        rows = connection.execute(sa.select(access_keys).order_by(access_keys.c.created_us)).mappings().all()
    return [AccessKey.of_row(row) for row in rows]


def revoke_key(store: Store, key_id: str, now_us: int) -> None:
    """Let a key die in every process within a second.

    Raises:
        ConfigurationError: there is no such key.
    """
    with store.write() as connection:
        if _found(connection, key_id).revoked_us is None:
            _change(connection, key_id, revoked_us=now_us)


def rotate_key(store: Store, key_id: str, random: bytes, now_us: int, overlap_us: int) -> str:
    """A new key that may do the same for as long; the old one works `overlap_us` more, for callers to change over.

    Raises:
        ConfigurationError: there is no such key, or it does not work any more.
    """
    with store.write() as connection:
        old = _found(connection, key_id)
        if old.state(now_us) != "active":
            raise ConfigurationError(f"the key is {old.state(now_us)}; make a new one")
        until = now_us + overlap_us
        ends = until if old.wish.expires_us is None else min(until, old.wish.expires_us)
        _change(connection, key_id, expires_us=ends)
        lives_us = None if old.wish.expires_us is None else old.wish.expires_us - old.created_us
        wish = replace(old.wish, expires_us=None if lives_us is None else now_us + lives_us)
        return _insert(connection, wish, random, now_us)


def _found(connection: sa.Connection, key_id: str) -> AccessKey:
    row = connection.execute(sa.select(access_keys).where(access_keys.c.key_id == key_id)).mappings().first()
    if row is None:
        raise ConfigurationError("there is no such key; holdfast access-keys list shows their names")
    return AccessKey.of_row(row)


def _change(connection: sa.Connection, key_id: str, **values: int) -> None:
    changed = sa.update(access_keys).where(access_keys.c.key_id == key_id)
    connection.execute(changed.values(revision=_next_revision(connection), **values))


def _next_revision(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.max(access_keys.c.revision), 0))) or 0) + 1


def _insert(connection: sa.Connection, wish: KeyWish, random: bytes, now_us: int) -> str:
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} random bytes")
    key_id = _PREFIX[wish.publishable] + random[:_NAME_BYTES].hex()
    secret = base64.urlsafe_b64encode(random[_NAME_BYTES:]).decode().rstrip("=")
    row = {
        "key_id": key_id,
        "revision": _next_revision(connection),
        "secret_sha256": secret_hash(secret),
        "owner": wish.owner,
        "publishable": wish.publishable,
        "scopes": " ".join(wish.scopes),
        "origins": " ".join(wish.origins),
        "per_minute": wish.per_minute,
        "per_day": wish.per_day,
        "created_us": now_us,
        "expires_us": wish.expires_us,
    }
    connection.execute(sa.insert(access_keys), row)
    return f"{key_id}.{secret}"
