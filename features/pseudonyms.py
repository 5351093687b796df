"""Keyed pseudonyms: inside, a customer is `<key id>:<32 hex digits of HMAC-SHA256>`, never the outside id.

Without the key file a pseudonym can be neither reversed nor recomputed from a guessed id. The key id in front says
which key made it, so keys can be replaced: the file holds every key and names the active one.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pyarrow as pa

from features.errors import ArtefactError, DataError
from features.schema import MAX_ID_LENGTH

__all__ = ["Pseudonyms"]

_CUSTOMER = b"customer\0"
_ANONYMOUS = b"anonymous\0"
_HEX_DIGITS = 32
_KEY_BYTES = 32
_RECENT = 64


@dataclass(frozen=True, repr=False)
class Pseudonyms:
    """Makes pseudonyms with one key. `key_id` is public, `key` (32 bytes) is secret and is never shown."""

    key_id: str
    key: bytes

    @classmethod
    def fresh(cls) -> Pseudonyms:
        """A new random key, kept nowhere yet; see `save`."""
        return cls(f"k{secrets.token_hex(3)}", secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def create(cls, path: Path) -> Pseudonyms:
        """Make a fresh random key, keep it at `path` and return it; see `save`."""
        made = cls.fresh()
        made.save(path)
        return made

    def save(self, path: Path) -> None:
        """Keep the key at `path`: readable by its owner alone (0600), in a folder of mode 0700, on disk at return.

        Raises:
            ArtefactError: there is a key file already; writing over it would orphan every pseudonym.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = json.dumps({"active": self.key_id, "keys": {self.key_id: self.key.hex()}})
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ArtefactError(
                f"there is a key file {path.name} already; load it, or every pseudonym made with it is orphaned"
            ) from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, path: Path) -> Pseudonyms:
        """The active key of the file at `path`.

        Raises:
            ArtefactError: the file is absent, or is not a key file.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            active = content["active"]
            key = bytes.fromhex(content["keys"][active])
        except FileNotFoundError:
            raise ArtefactError(f"there is no key file {path.name}; an import makes one") from None
        except (ValueError, KeyError, TypeError):
            raise ArtefactError(f"{path.name} is not a key file; restore it from a backup") from None
        if len(key) != _KEY_BYTES:
            raise ArtefactError(f"the key in {path.name} has {len(key)} bytes, not {_KEY_BYTES}; restore the file")
        return cls(active, key)

    @classmethod
    def load_or_create(cls, path: Path) -> Pseudonyms:
        """The active key at `path`, made now if there is no file."""
        return cls.load(path) if path.exists() else cls.create(path)

    def of(self, customer_id: str) -> str:
        """The customer_key of an outside id.

        Raises:
            DataError: the id is empty or longer than 256 characters.

        >>> Pseudonyms("k1", bytes(32)).of("17850")
        'k1:59679e799e504f7b44d954a5fb59498f'
        """
        return self._recent(_CUSTOMER, customer_id)

    def of_anonymous(self, anonymous_id: str) -> str:
        """The customer_key of a visitor who is not signed in; never equal to that of a customer with this id."""
        return self._recent(_ANONYMOUS, anonymous_id)

    def of_column(self, customer_ids: pa.Array) -> pa.Array:
        """The customer_keys, a string array of the same length, of a string array; null stays null.

        One HMAC is made for each distinct id.
        """
        if isinstance(customer_ids, pa.ChunkedArray):
            customer_ids = customer_ids.combine_chunks()
        encoded = customer_ids.dictionary_encode()
        keys = pa.array([self._made(_CUSTOMER, one) for one in encoded.dictionary.to_pylist()], pa.string())
        return keys.take(encoded.indices)

    def _made(self, domain: bytes, identifier: str) -> str:
        if not identifier or len(identifier) > MAX_ID_LENGTH:
            raise DataError(
                f"a customer id has {len(identifier)} characters; write one of 1 to {MAX_ID_LENGTH} characters"
            )
        digest = self._keyed.copy()
        digest.update(domain + identifier.encode("utf-8", "surrogatepass"))
        return f"{self.key_id}:{digest.hexdigest()[:_HEX_DIGITS]}"

    @cached_property
    def _recent(self) -> Callable[[bytes, str], str]:
        """Remembers the last few: one request asks several times who its customer is."""
        return lru_cache(_RECENT)(self._made)

    @cached_property
    def _keyed(self) -> hmac.HMAC:
        """Copied for each id: quicker than a new one, and no other thread takes the interpreter meanwhile."""
        return hmac.new(self.key, digestmod="sha256")
