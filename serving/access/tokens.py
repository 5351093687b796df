"""Optional JWTs, as of the shop's own sign-on: algorithm, audience and issuer are pinned, never read from the token.

A token that carries `customer_id` speaks for that customer alone: what a server gives the page of who is logged in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from features.errors import ConfigurationError
from features.instants import SECOND_US
from serving.access.key_ring import unauthenticated
from serving.access.scopes import BROWSER_SCOPES, SCOPES, Caller, granted
from serving.settings import TokenSettings

__all__ = ["Tokens"]

_LEAST_SECRET_BYTES = 32
_REMEMBERED = 10_000
_CHECKED = {"require": ["exp", "aud", "iss"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
"""What the library is told to look at; times are ours, by the clock that is given."""


class Tokens:
    """Recognises callers by tokens. A signature is checked once a token, its times at every call."""

    def __init__(self, settings: TokenSettings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._key = _key(settings)
        self._known: dict[bytes, tuple[Caller, int, int]] = {}

    def caller(self, text: str) -> Caller:
        """Who the token says.

        Raises:
            Problem: 401 it is not signed, not meant for us, not valid now, or says what cannot be.
        """
        digest = hashlib.sha256(text.encode()).digest()
        found = self._known.get(digest)
        if found is None:
            found = self._read(text)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = found
        caller, not_before_us, expires_us = found
        if not not_before_us <= self._clock() < expires_us:
            raise unauthenticated("this token is not valid now; ask for another")
        return caller

    def _read(self, text: str) -> tuple[Caller, int, int]:
        wanted = self._settings
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[wanted.algorithm],
                audience=wanted.audience,
                issuer=wanted.issuer,
                options=_CHECKED,  # type: ignore[arg-type]
            )
            return _caller(claims), _instant(claims.get("nbf", 0)), _instant(claims["exp"])
        except (PyJWTError, ValueError, TypeError):
            raise unauthenticated("this token is not one that this service believes") from None


def _key(settings: TokenSettings) -> Any:
    """The key as the library wants it.

    Raises:
        ConfigurationError: it cannot be read, or is none for the algorithm.
    """
    try:
        data = settings.key_file.read_bytes().strip()
        if settings.algorithm != "HS256" or len(data) >= _LEAST_SECRET_BYTES:  # PyJWT refuses a PEM as a secret
            return jwt.get_algorithm_by_name(settings.algorithm).prepare_key(data)
    except (OSError, ValueError, TypeError, PyJWTError):
        pass
    raise ConfigurationError(
        f"HOLDFAST_JWT_KEY must be a file with a key for {settings.algorithm}: a public key in PEM, or a secret of "
        f"at least {_LEAST_SECRET_BYTES} bytes for HS256"
    )


def _instant(seconds: object) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError
    return int(seconds * SECOND_US)


def _caller(claims: Mapping[str, Any]) -> Caller:
    said, customer_id = claims.get("scope", ""), claims.get("customer_id")
    scopes = frozenset(said.split()) if isinstance(said, str) else frozenset()
    if not scopes <= set(SCOPES) or not (customer_id is None or (isinstance(customer_id, str) and customer_id)):
        raise ValueError
    if customer_id is not None and not scopes <= BROWSER_SCOPES | {"predict"}:
        raise ValueError
    subject = hashlib.sha256(str(claims.get("sub", "")).encode()).hexdigest()
    return Caller("token", f"token {subject}", granted(scopes), customer_id=customer_id)
