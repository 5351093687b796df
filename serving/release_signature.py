"""Who made a release: an Ed25519 signature over the bytes of its manifest, which names the sha256 of every other file.

The signature lies beside the manifest, so that any tool checks it over the very bytes on disk, before they are parsed.
A key's id is worked out of the key itself: no file can claim another's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from features.errors import ArtefactError, ConfigurationError
from serving import strict_json
from serving.release_refusal import ReleaseRefusedError

__all__ = ["SIGNATURE", "SigningKey", "TrustedKeys", "key_id_of"]

SIGNATURE = "manifest.sig"
_MAX_SIGNATURE_BYTES = 4_096
_MAX_TRUSTED_BYTES = 1 << 20
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SIGNED = re.compile(r"[0-9a-f]{128}")
_AGAIN = "make the release again with `holdfast release`"


def key_id_of(public: bytes) -> str:
    """What a public key (32 bytes) is called: `s` and 16 hexadecimal digits of its sha256.

    >>> key_id_of(bytes(32))
    's66687aadf862bd77'
    """
    return f"s{hashlib.sha256(public).hexdigest()[:16]}"


@dataclass(frozen=True, repr=False)
class SigningKey:
    """Signs releases. `secret` is the 32 bytes of the private key (RFC 8032) and is never shown."""

    secret: bytes

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """What the key is called."""
        return key_id_of(self.public)

    def sign(self, manifest: bytes) -> bytes:
        """The content of `manifest.sig`; the same key and bytes always give the same."""
        signature = Ed25519PrivateKey.from_private_bytes(self.secret).sign(manifest)
        return strict_json.write_object({"key_id": self.key_id, "signature": signature.hex()})


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys whose releases are loaded, by key id, 32 bytes each.

    accept_unsigned: load a release that bears no signature too; one that bears a wrong signature never.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)
    accept_unsigned: bool = False

    @classmethod
    def of(cls, *public: bytes, accept_unsigned: bool = False) -> TrustedKeys:
        """Of public keys, 32 bytes each."""
        return cls({key_id_of(key): key for key in public}, accept_unsigned)

    @classmethod
    def load(cls, path: Path) -> TrustedKeys:
        """The keys of a file as `to_bytes` writes it; none where there is no file.

        Raises:
            ArtefactError: it is no such file.
        """
        try:
            with path.open("rb") as file:
                content = strict_json.read_object(file.read(_MAX_TRUSTED_BYTES), path.name)
        except FileNotFoundError:
            return cls()
        named = strict_json.section(content, "keys", path.name)
        for key_id, public in named.items():
            if not isinstance(public, str) or not _PUBLIC.fullmatch(public):
                raise ArtefactError(f"{path.name} holds a key that is not 64 hexadecimal digits; restore the file")
            if key_id != key_id_of(bytes.fromhex(public)):
                raise ArtefactError(f"{path.name} holds a key under the name of another; restore the file")
        return cls.of(*map(bytes.fromhex, named.values()))

    @classmethod
    def read(cls, given: str) -> TrustedKeys:
        """Of the text of a setting: public keys of 64 hexadecimal digits with commas between them, else a file's path.

        Raises:
            ConfigurationError: it names a file that is not there.
            ArtefactError: the file holds something else.
        """
        parts = [part.strip() for part in given.split(",")]
        if all(_PUBLIC.fullmatch(part) for part in parts):
            return cls.of(*map(bytes.fromhex, parts))
        if not Path(given).is_file():
            raise ConfigurationError(
                "the trusted keys are neither public keys of 64 hexadecimal digits nor a file that is there; "
                "`holdfast release-keys list` shows the keys"
            )
        return cls.load(Path(given))

    def to_bytes(self) -> bytes:
        """The content of a file of trusted keys: JSON, no secret in it."""
        return strict_json.write_object({"keys": {key_id: key.hex() for key_id, key in self.keys.items()}})

    def verify(self, folder: Path, manifest: bytes) -> str | None:
        """The id of the key that signed these bytes; None where unsigned releases are accepted and this is one.

        Raises:
            ReleaseRefusedError: `unsigned`, `unknown_key` (of nobody who is trusted here), or `signature` (garbled, or
                of other bytes).
        """
        path = folder / SIGNATURE
        if not path.is_file() or path.is_symlink():
            if self.accept_unsigned and not path.is_symlink() and not path.exists():
                return None
            raise ReleaseRefusedError("unsigned", f"the release has no {SIGNATURE}, so nobody vouches for it; {_AGAIN}")
        key_id, signature = _read_signature(path)
        public = self.keys.get(key_id)
        if public is None:
            raise ReleaseRefusedError(
                "unknown_key",
                f"the release is signed by {key_id}, which is not trusted here; {_AGAIN}, or trust its public key: "
                "`holdfast release-keys trust KEY`, or HOLDFAST_TRUSTED_KEYS of the service",
            )
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, manifest)
        except InvalidSignature:
            raise ReleaseRefusedError(
                "signature", f"the manifest is not what {key_id} signed; copy the release again, or {_AGAIN}"
            ) from None
        return key_id


def _read_signature(path: Path) -> tuple[str, bytes]:
    with path.open("rb") as file:
        data = file.read(_MAX_SIGNATURE_BYTES + 1)
    try:
        content = strict_json.read_object(data, SIGNATURE)
        key_id = strict_json.text(content, "key_id", SIGNATURE)
        signature = strict_json.text(content, "signature", SIGNATURE)
    except ArtefactError as error:
        raise ReleaseRefusedError("signature", str(error)) from error
    fits = len(data) <= _MAX_SIGNATURE_BYTES and set(content) == {"key_id", "signature"}
    if not fits or not _SIGNED.fullmatch(signature):
        raise ReleaseRefusedError("signature", f"{SIGNATURE} is no signature; copy the release again, or {_AGAIN}")
    return key_id, bytes.fromhex(signature)
