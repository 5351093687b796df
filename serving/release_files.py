"""A release on disk: a folder whose manifest names the sha256 and size of every file, beside its signature.

Written all or not at all. Read strictly: what does not match to the byte is refused before anything in it is parsed.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from features.errors import HoldfastError
from features.instants import parse_instant
from serving import strict_json
from serving.pacing import breathe
from serving.release_refusal import ReleaseRefusedError
from serving.release_signature import SIGNATURE, SigningKey, TrustedKeys

__all__ = [
    "GOLDEN",
    "MANIFEST",
    "RELEASE_FORMAT",
    "Files",
    "described_as",
    "read_files",
    "read_manifest",
    "store_files",
]

MANIFEST = "manifest.json"
GOLDEN = "golden.json"
RELEASE_FORMAT = 3
_MAX_FILE_BYTES = 4 << 30
_ARRAY = ".npy"
_MAX_MANIFEST_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PART = re.compile(r"(churn|recommender)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}|golden\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Files = Mapping[str, bytes | mmap.mmap]


def store_files(directory: Path, name: str, files: Mapping[str, bytes], manifest: bytes, key: SigningKey) -> Path:
    """Write a release as `directory / name`, signed, all of it or nothing, durable on return.

    Raises:
        ReleaseRefusedError: the name is unfit or taken.
    """
    if not _NAME.fullmatch(name):
        raise ReleaseRefusedError("path", "a release name is letters, digits, dot, dash and underscore, at most 128")
    files = {**files, MANIFEST: manifest, SIGNATURE: key.sign(manifest)}
    target = directory / name
    directory.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=directory))
    try:
        for path, data in files.items():
            _write_durably(staged / path, data)
        for folder in (*sorted(path for path in staged.iterdir() if path.is_dir()), staged):
            _sync_folder(folder)
        staged.chmod(0o750)  # the group may serve what the owner trains; nobody else may take it
        if target.exists():
            raise ReleaseRefusedError(
                "path", f"there is a release {name} already; releases never change, take a new name"
            )
        staged.rename(target)
        _sync_folder(directory)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def read_manifest(directory: Path, trusted: TrustedKeys) -> dict[str, Any]:
    """The manifest of a release folder, once its signature is found to be of somebody who is trusted.

    Raises:
        ReleaseRefusedError: it is absent, not signed as wanted, of another format, or malformed.
    """
    path = directory / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise ReleaseRefusedError("absent", f"{directory.name} is no release: it has no {MANIFEST}")
    with path.open("rb") as file:  # read once: what was verified is what is parsed
        data = file.read(_MAX_MANIFEST_BYTES + 1)
    if len(data) > _MAX_MANIFEST_BYTES:
        raise ReleaseRefusedError("manifest", f"{MANIFEST} is larger than {_MAX_MANIFEST_BYTES} bytes")
    trusted.verify(directory, data)
    try:
        manifest = strict_json.read_object(data, MANIFEST)
        _check_format(strict_json.whole(manifest, "format", MANIFEST, 1, 1 << 30))
        strict_json.text(manifest, "name", MANIFEST)
        for key in ("feature_set", "files", "policy", "provenance"):
            strict_json.section(manifest, key, MANIFEST)
        parse_instant(strict_json.text(manifest, "created_at", MANIFEST))
    except ReleaseRefusedError:
        raise
    except HoldfastError as error:
        raise ReleaseRefusedError("manifest", f"{MANIFEST} cannot be read: {error}") from error
    return manifest


def _check_format(written: int) -> None:
    if written != RELEASE_FORMAT:
        do = "install a newer version" if written > RELEASE_FORMAT else "make it again with `holdfast release`"
        raise ReleaseRefusedError(
            "format", f"the release has format {written}, this version reads {RELEASE_FORMAT}; {do}"
        )


def described_as(data: bytes) -> dict[str, object]:
    """What a manifest says of a file."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _described_files(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    described = {}
    for path, entry in manifest["files"].items():
        if not _PART.fullmatch(path) or ".." in PurePosixPath(path).parts:
            raise ReleaseRefusedError("path", f"{MANIFEST} names a file that no release has")
        if not isinstance(entry, dict) or set(entry) != {"sha256", "size"}:
            raise ReleaseRefusedError("manifest", f"{MANIFEST} needs exactly sha256 and size for each file")
        digest, size = entry["sha256"], entry["size"]
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ReleaseRefusedError("manifest", f"{MANIFEST} has a sha256 that is not 64 hexadecimal digits")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_FILE_BYTES:
            raise ReleaseRefusedError("manifest", f"{MANIFEST} has a size outside 0 to {_MAX_FILE_BYTES}")
        described[path] = (digest, size)
    return described


def read_files(directory: Path, manifest: Mapping[str, Any]) -> Files:
    """The files that a manifest names, each found to be what was written; arrays are mapped and not copied.

    Raises:
        ReleaseRefusedError: one is missing, truncated, altered, of another size or leads out of the folder, or another
            lies beside them.
    """
    described = _described_files(manifest)
    present = set()
    for found in directory.rglob("*"):
        path = found.relative_to(directory).as_posix()
        if found.is_symlink() or not (found.is_file() or path in {"churn", "recommender"}):
            raise ReleaseRefusedError("extra_file", f"the release holds {path}, which is no plain file of it")
        if found.is_file():
            present.add(path)
    absent = sorted(set(described) - present)
    if absent:
        raise ReleaseRefusedError("missing_file", f"the release lacks {absent[0]}; copy it again")
    extra = sorted(present - set(described) - {MANIFEST, SIGNATURE})
    if extra:
        raise ReleaseRefusedError("extra_file", f"the release holds {extra[0]}, which its manifest does not name")
    files: dict[str, bytes | mmap.mmap] = {}
    for path, (digest, size) in described.items():
        actual = (directory / path).stat().st_size
        if actual != size:
            raise ReleaseRefusedError("size", f"{path} has {actual} bytes, {size} were written; copy the release again")
        data = _content(directory / path)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ReleaseRefusedError("sha256", f"{path} was altered: its sha256 differs; copy the release again")
        files[path] = data
        breathe()
    return files


def _content(path: Path) -> bytes | mmap.mmap:
    """Arrays are mapped, so that the processes that serve a release share them; the rest is read."""
    if path.suffix != _ARRAY:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _write_durably(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
