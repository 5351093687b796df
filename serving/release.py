"""A release: one immutable folder with all that a decision needs, every file of it hashed in the manifest.

Nothing in it is code: text trees, JSON, and arrays read with `allow_pickle=False`. What does not match its manifest to
the byte is refused before anything in it is parsed. The hashes find damage; they prove no author.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from features.errors import ArtefactError, ConfigurationError, HoldfastError
from features.feature_set import FeatureSet, ModelInputs
from features.instants import format_instant, parse_instant
from features.table_features import TableFeatures
from serving import strict_json
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.policy import Policy
from serving.recipe import Recipe, load_recipes, read_recipes
from serving.recommender import Recommender
from serving.segments import Segmentation

__all__ = ["MANIFEST", "RELEASE_FORMAT", "Refusal", "Release", "ReleaseRefusedError", "load_release", "write_release"]

MANIFEST = "manifest.json"
RELEASE_FORMAT = 2
_MAX_FILE_BYTES = 4 << 30
_ARRAY = ".npy"
_MAX_MANIFEST_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PART = re.compile(r"(churn|recommender)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Refusal = Literal[
    "absent", "manifest", "format", "path", "missing_file", "extra_file", "size", "sha256", "fingerprint", "content"
]
Part = TypeVar("Part")


class ReleaseRefusedError(ArtefactError):
    """A release that cannot be loaded; `reason` is stable and machine readable."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Release:
    """A verified release, loaded. `manifest` is as written, with the provenance and the feature definitions.

    `table` says how a table without events is read; None where the event log is. `recommender` is None where there are
    no purchases to learn from, as in a table. `segments` is None in a release made without. `recipes` say by the name
    of a placement how its slates are made.
    """

    name: str
    manifest: Mapping[str, Any]
    churn: ChurnModel
    recommender: Recommender | None
    policy: Policy
    bands: Bands
    segments: Segmentation | None = None
    table: TableFeatures | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=load_recipes)

    @property
    def created_at_us(self) -> int:
        """When it was assembled, microseconds UTC."""
        return parse_instant(self.manifest["created_at"])

    @property
    def fingerprint(self) -> str:
        """Of the feature set that it reads."""
        return self.churn.fingerprint


def write_release(
    directory: Path,
    *,
    name: str,
    created_at_us: int,
    feature_set: ModelInputs,
    churn: ChurnModel,
    recommender: Recommender | None,
    policy: Policy,
    bands: Bands,
    provenance: Mapping[str, object],
    segments: Segmentation | None = None,
    recipes: Mapping[str, Recipe] | None = None,
) -> Path:
    """Write a release as `directory / name`, all of it or nothing, durable on return.

    `provenance` is JSON: log version, code version, runs, metrics; nothing about any customer. `recipes` are those that
    come with Holdfast where none are given.

    Raises:
        ReleaseRefusedError: the name is unfit or taken, or the model was made for another feature set.
    """
    if not _NAME.fullmatch(name):
        raise ReleaseRefusedError("path", "a release name is letters, digits, dot, dash and underscore, at most 128")
    _check_fits(churn, feature_set)
    files = {f"churn/{path}": data for path, data in churn.to_files().items()}
    if recommender is not None:
        files |= {f"recommender/{path}": data for path, data in recommender.to_files().items()}
    content = {
        "format": RELEASE_FORMAT,
        "name": name,
        "created_at": format_instant(created_at_us),
        "feature_set": {"fingerprint": feature_set.fingerprint(), "definition": feature_set.to_manifest()},
        "files": {
            path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in files.items()
        },
        "churn": {
            "horizon_days": churn.horizon_days,
            "gap_days": churn.gap_days,
            "base_rate": churn.base_rate,
            "baseline": churn.baseline,
        },
        "recommender": None if recommender is None else {"n_items": len(recommender.item_ids)},
        "bands": bands.to_manifest(),
        "policy": policy.to_manifest(),
        "segments": None if segments is None else segments.to_manifest(),
        "recipes": {name: one.to_manifest() for name, one in (load_recipes() if recipes is None else recipes).items()},
        "provenance": dict(provenance),
    }
    manifest = strict_json.write_object({**content, "sha256": _digest(content)})
    return _store(directory, name, {**files, MANIFEST: manifest})


def _store(directory: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write the files as `directory / name`, all of them or none."""
    target = directory / name
    directory.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=directory))
    try:
        for path, data in files.items():
            _write_durably(staged / path, data)
        for folder in (*sorted(path for path in staged.iterdir() if path.is_dir()), staged):
            _sync_folder(folder)
        staged.chmod(0o755)
        if target.exists():
            raise ReleaseRefusedError(
                "path", f"there is a release {name} already; releases never change, take a new name"
            )
        staged.rename(target)
        _sync_folder(directory)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def load_release(directory: Path, feature_set: FeatureSet) -> Release:
    """Verify every byte of a release folder against its manifest, then load it.

    `feature_set` is what this code computes from an event log; a release of a table says itself how the table is read.

    Raises:
        ReleaseRefusedError: it is absent, truncated, altered, holds another file, leads out of its folder, was written
            by a newer version, or was made for another feature set; `reason` says which.
    """
    manifest = _read_manifest(directory)
    described = _described_files(manifest)
    table = _described_table(manifest)
    inputs: ModelInputs = feature_set if table is None else table
    recorded = manifest["feature_set"].get("fingerprint")
    if recorded != inputs.fingerprint():
        raise ReleaseRefusedError(
            "fingerprint",
            f"the release was made for feature set {str(recorded)[:12]}, this code computes "
            f"{inputs.fingerprint()[:12]}; train and release again, or run the version that wrote it",
        )
    files = _read_verified(directory, described)
    churn = _loaded("churn", ChurnModel.from_files, files)
    _check_fits(churn, inputs)
    recommends = "recommender" not in manifest or manifest["recommender"] is not None
    recommender = _loaded("recommender", Recommender.from_files, files) if recommends else None
    try:
        bands = Bands.from_manifest(manifest.get("bands"))
        policy = Policy.from_manifest(strict_json.section(manifest, "policy", MANIFEST))
        written = manifest.get("segments")
        segments = None if written is None else Segmentation.from_manifest(written)
        recipes = read_recipes(strict_json.section(manifest, "recipes", MANIFEST))
    except (ArtefactError, ConfigurationError) as error:
        raise ReleaseRefusedError("content", str(error)) from error
    name = strict_json.text(manifest, "name", MANIFEST)
    return Release(name, manifest, churn, recommender, policy, bands, segments, table, recipes)


def _described_table(manifest: Mapping[str, Any]) -> TableFeatures | None:
    """How the table is read that the release is for; None where it is for an event log."""
    definition = manifest["feature_set"].get("definition")
    if not isinstance(definition, dict) or definition.get("input") != "table":
        return None
    try:
        return TableFeatures.from_manifest(definition)
    except ArtefactError as error:
        raise ReleaseRefusedError("content", str(error)) from error


def _check_fits(churn: ChurnModel, feature_set: ModelInputs) -> None:
    if churn.fingerprint != feature_set.fingerprint() or churn.feature_names != tuple(feature_set.names):
        raise ReleaseRefusedError(
            "fingerprint",
            f"the churn model reads feature set {churn.fingerprint[:12]}, not "
            f"{feature_set.fingerprint()[:12]}; train again",
        )


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise ReleaseRefusedError("absent", f"{directory.name} is no release: it has no {MANIFEST}")
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise ReleaseRefusedError("manifest", f"{MANIFEST} is larger than {_MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = strict_json.read_object(path.read_bytes(), MANIFEST)
        _check_format(strict_json.whole(manifest, "format", MANIFEST, 1, 1 << 30))
        _check_unaltered(manifest)
        strict_json.text(manifest, "name", MANIFEST)
        for key in ("feature_set", "files", "policy", "provenance"):
            strict_json.section(manifest, key, MANIFEST)
        parse_instant(strict_json.text(manifest, "created_at", MANIFEST))
    except ReleaseRefusedError:
        raise
    except HoldfastError as error:
        raise ReleaseRefusedError("manifest", f"{MANIFEST} cannot be read: {error}") from error
    return manifest


def _digest(content: Mapping[str, Any]) -> str:
    """The sha256 of a manifest without this very entry: bands, policy and provenance are covered as the files are."""
    return hashlib.sha256(strict_json.write_object(content)).hexdigest()


def _check_unaltered(manifest: Mapping[str, Any]) -> None:
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    if strict_json.text(manifest, "sha256", MANIFEST) != _digest(content):
        raise ReleaseRefusedError("manifest", f"{MANIFEST} was altered: its sha256 differs; copy the release again")


def _check_format(written: int) -> None:
    if written != RELEASE_FORMAT:
        raise ReleaseRefusedError(
            "format", f"the release has format {written}, this version reads {RELEASE_FORMAT}; install a newer version"
        )


def _described_files(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    described = {}
    for path, entry in manifest["files"].items():
        if not _PART.fullmatch(path) or ".." in PurePosixPath(path).parts:
            raise ReleaseRefusedError("path", f"{MANIFEST} names a file outside churn/ and recommender/")
        if not isinstance(entry, dict) or set(entry) != {"sha256", "size"}:
            raise ReleaseRefusedError("manifest", f"{MANIFEST} needs exactly sha256 and size for each file")
        digest, size = entry["sha256"], entry["size"]
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ReleaseRefusedError("manifest", f"{MANIFEST} has a sha256 that is not 64 hexadecimal digits")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_FILE_BYTES:
            raise ReleaseRefusedError("manifest", f"{MANIFEST} has a size outside 0 to {_MAX_FILE_BYTES}")
        described[path] = (digest, size)
    return described


def _read_verified(directory: Path, described: Mapping[str, tuple[str, int]]) -> dict[str, bytes | mmap.mmap]:
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
    extra = sorted(present - set(described) - {MANIFEST})
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
    return files


def _content(path: Path) -> bytes | mmap.mmap:
    """Arrays are mapped, so that the processes that serve a release share them; the rest is read."""
    if path.suffix != _ARRAY:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _loaded(part: str, load: Callable[[Mapping[str, Any]], Part], files: Mapping[str, Any]) -> Part:
    prefix = f"{part}/"
    try:
        return load({path.removeprefix(prefix): data for path, data in files.items() if path.startswith(prefix)})
    except ArtefactError as error:
        raise ReleaseRefusedError("content", f"{part}: {error}") from error


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
