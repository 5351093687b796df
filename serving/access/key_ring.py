"""The keys as a running service knows them: in memory, read anew where one changed, so that a revoked one dies fast."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from features.errors import HoldfastError, UnavailableError
from serving.access.keys import AccessKey, secret_hash
from serving.access.scopes import Caller, granted
from serving.problems import Problem
from serving.store import Store
from serving.store_schema import access_keys

__all__ = ["KeyRing", "unauthenticated"]

log = logging.getLogger("holdfast.callers")

POLL_S = 0.4
"""How often changes are looked for: below the second within which a revoked key dies."""

_STALE_S = 300.0
"""How long keys are believed that cannot be read anew; after it nobody is recognised."""

_NOBODY = secret_hash("")


def unauthenticated(detail: str) -> Problem:
    """401, with what the standard wants said."""
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


class KeyRing:
    """Recognises callers by their keys. `clock` gives UTC microseconds; a thread follows the store until `close`."""

    def __init__(self, store: Store, clock: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._keys: dict[str, tuple[AccessKey, Caller]] = {}
        self._origins: frozenset[str] = frozenset()
        self._revision = 0
        self._read_at = -_STALE_S
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="access keys", daemon=True)

    @classmethod
    def open(cls, store: Store, clock: Callable[[], int]) -> KeyRing:
        """Read the keys and follow their changes.

        Raises:
            UnavailableError: the store cannot be read now.
        """
        ring = cls(store, clock)
        ring.refresh()
        ring._thread.start()
        return ring

    @property
    def origins(self) -> frozenset[str]:
        """The origins of all pages that a publishable key names, but for revoked ones."""
        return self._origins

    def refresh(self) -> None:
        """Read what changed since the last time.

        Raises:
            UnavailableError: the store cannot be read now.
        """
        newer = sa.select(access_keys).where(access_keys.c.revision > self._revision).order_by(access_keys.c.revision)
        started = self._monotonic()
        with self._store.read() as connection:
            rows = connection.execute(newer).mappings().all()
        for row in rows:
            key = AccessKey.of_row(row)
            self._keys[key.key_id] = key, _caller(key)
            self._revision = row["revision"]
        if rows:
            alive = (caller.origins for key, caller in self._keys.values() if key.revoked_us is None)
            self._origins = frozenset().union(*alive)
        self._read_at = started

    def caller(self, text: str) -> Caller:
        """Whose key this is.

        Raises:
            Problem: 401 it is not a key, or does not work any more.
            UnavailableError: the keys could not be read for too long.
        """
        if self._monotonic() - self._read_at > _STALE_S:
            raise UnavailableError("the keys cannot be read; check the store")
        key_id, _, secret = text.partition(".")
        found = self._keys.get(key_id)
        expected = _NOBODY if found is None else found[0].secret_sha256
        is_right = hmac.compare_digest(secret_hash(secret), expected)
        if found is None or not is_right:
            raise unauthenticated("this is not a key of this service; send one as Authorization: Bearer KEY")
        key, caller = found
        if key.revoked_us is not None or key.wish.expires_us is not None:
            state = key.state(self._clock())
            if state != "active":
                raise unauthenticated(f"this key is {state}; ask for another")
        return caller

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        failing = False
        while not self._closing.wait(POLL_S):
            try:
                self.refresh()
                failing = False
            except HoldfastError as error:
                if not failing:
                    log.warning("access keys are as they were last read: %s", error)
                failing = True
            except Exception:  # a thread that ends silently would believe a revoked key for long
                log.exception("unforeseen fault while reading access keys")


def _caller(key: AccessKey) -> Caller:
    wish = key.wish
    return Caller(
        key.key_id,
        wish.owner,
        granted(frozenset(wish.scopes)),
        visitors_alone=wish.publishable,
        origins=frozenset(wish.origins),
        per_minute=wish.per_minute,
        per_day=wish.per_day,
    )
