"""The keys of a shop's releases on disk: the one that signs, and the public ones whose releases are served.

The signing key stays where models are made; who only serves needs the file of trusted keys, which holds no secret.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path

from features.errors import ArtefactError, ConfigurationError
from features.workspace import Workspace
from serving.release_signature import SigningKey, TrustedKeys

__all__ = ["adopt", "distrust", "rotate", "signing_key", "signing_key_id", "trust", "trusted_keys"]

_KEY_BYTES = 32


def signing_key(workspace: Workspace) -> SigningKey:
    """The key that signs the workspace's releases; at the first call it is made, kept (mode 0600) and trusted.

    Raises:
        ArtefactError: the file is not a key file.
    """
    path = workspace.release_signing_key
    return _load(path) if path.exists() else rotate(workspace)


def signing_key_id(workspace: Workspace) -> str | None:
    """Which key signs here; None where none was made yet.

    Raises:
        ArtefactError: the file is not a key file.
    """
    path = workspace.release_signing_key
    return _load(path).key_id if path.exists() else None


def trusted_keys(workspace: Workspace) -> TrustedKeys:
    """The keys whose releases are loaded; none where none was made yet.

    Raises:
        ArtefactError: the file holds something else.
    """
    return TrustedKeys.load(workspace.trusted_release_keys)


def rotate(workspace: Workspace) -> SigningKey:
    """Sign with a fresh key from now on; what the former ones signed is still served."""
    return adopt(workspace, SigningKey(secrets.token_bytes(_KEY_BYTES)))


def adopt(workspace: Workspace, key: SigningKey) -> SigningKey:
    """Sign with this key from now on, and trust it beside those that are trusted."""
    # Trusted first: a crash in between leaves a public key too many, never a release that nobody can load.
    _keep(workspace, TrustedKeys.of(*trusted_keys(workspace).keys.values(), key.public))
    content = json.dumps({"key_id": key.key_id, "secret": key.secret.hex()})
    _write(workspace.release_signing_key, content.encode(), 0o600)
    return key


def trust(workspace: Workspace, public: str) -> TrustedKeys:
    """Serve releases of one more key, given as 64 hexadecimal digits.

    Raises:
        ConfigurationError: it is no public key.
    """
    try:
        key = bytes.fromhex(public)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigurationError("a public key is 64 hexadecimal digits, as `holdfast release-keys list` shows it")
    return _keep(workspace, TrustedKeys.of(*trusted_keys(workspace).keys.values(), key))


def distrust(workspace: Workspace, key_id: str) -> TrustedKeys:
    """Serve releases of a key no longer.

    Raises:
        ConfigurationError: the key is not trusted anyway, or is the one that signs.
    """
    keys = dict(trusted_keys(workspace).keys)
    if key_id not in keys:
        raise ConfigurationError(f"no such key is trusted here; trusted: {', '.join(keys) or 'none'}")
    if signing_key_id(workspace) == key_id:
        raise ConfigurationError("this key signs the releases made here; run `holdfast release-keys rotate` first")
    del keys[key_id]
    return _keep(workspace, TrustedKeys(keys))


def _keep(workspace: Workspace, trusted: TrustedKeys) -> TrustedKeys:
    _write(workspace.trusted_release_keys, trusted.to_bytes(), 0o644)
    return trusted


def _load(path: Path) -> SigningKey:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        key = SigningKey(bytes.fromhex(content["secret"]))
        fits = len(key.secret) == _KEY_BYTES and key.key_id == content["key_id"]
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ArtefactError(
            f"{path.name} is not a signing key; restore it from a backup, or remove it and the next release makes one"
        )
    return key


def _write(path: Path, content: bytes, mode: int) -> None:
    """The file whole or as before, on disk at return, never readable by more than `mode` says."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, staged = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
