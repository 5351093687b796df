"""Keys and tokens for tests: who may do what, without a command line."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import jwt

from serving.access.keys import RANDOM_BYTES, KeyWish, make_key
from serving.store import Store

NEVER_RANDOM = itertools.count(1)
PAGE = "https://shop.example"
SECRET = b"a secret of the shop's sign-on, long enough"
AUDIENCE, ISSUER = "holdfast", "https://sso.shop.example"


def key_of(store: Store, *scopes: str, now_us: int, **wish: Any) -> str:
    """A new key, as its owner sends it."""
    random = hashlib.sha512(str(next(NEVER_RANDOM)).encode()).digest()[:RANDOM_BYTES]
    return make_key(store, KeyWish(wish.pop("owner", "a test"), scopes, **wish), random, now_us)


def bearer(credential: str) -> dict[str, str]:
    """The header that shows it."""
    return {"Authorization": f"Bearer {credential}"}


def token_of(scope: str, now_us: int, *, key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token good for an hour; a claim of None is left out."""
    now_s = now_us // 1_000_000
    whole = {"iss": ISSUER, "aud": AUDIENCE, "exp": now_s + 3_600, "sub": "7", "scope": scope} | claims
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, key, algorithm)
