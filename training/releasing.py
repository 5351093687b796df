"""Assemble a release from registered models and copy it into BentoML's model store.

A release is named by its content and the key that signs it: the same models, bands and policy give the same name, and
releasing them again changes nothing; with another key or format, or code that answers otherwise, they become another
release. BentoML is told the store's folder on every call; its global home is not looked at.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import ArtefactError
from features.feature_set import FeatureSet, ModelInputs
from features.workspace import Workspace
from serving.bands import Bands
from serving.policy import Policy
from serving.recipe import Recipe, load_recipes
from serving.recommender import Recommender
from serving.release import load_release, write_release
from serving.release_files import RELEASE_FORMAT
from serving.release_refusal import ReleaseRefusedError
from serving.release_signature import TrustedKeys
from training.band_costs import bands_for
from training.churn_files import ChurnParts, read_churn_parts
from training.cost_settings import CostSettings
from training.registry import CHAMPION, CHURN, RECOMMENDER, ModelVersion, Registry
from training.release_keys import signing_key
from training.release_settings import ReleaseSettings

# BentoML reads this when a model is saved, and would report the saving; an entry point may have set it already.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml
from bentoml._internal.models import ModelStore
from bentoml.exceptions import NotFound

__all__ = ["STORE_NAME", "Released", "put_in_store", "release"]

STORE_NAME = "holdfast"
_FOLDER = "release"


@dataclass(frozen=True)
class Released:
    """A release: its name, its folder in the workspace, its tag in BentoML's model store, and what it was made of."""

    name: str
    folder: Path
    tag: str
    provenance: Mapping[str, Any]


def release(
    workspace: Workspace,
    registry: Registry,
    feature_set: FeatureSet,
    settings: ReleaseSettings,
    *,
    created_at_us: int,
    churn: int | str = CHAMPION,
    recommender: int | str = CHAMPION,
    costs: CostSettings | None = None,
) -> Released:
    """Assemble the versions into one release, write it, verify it as written, and copy it into the store.

    A churn version that was trained on a table is released by itself: a table holds no purchases to recommend from.
    With `costs` the bands are chosen from them, where the churn version knows what customers are worth.

    Raises:
        ArtefactError: there is no such version, a file was altered, or the two models (or this code) do not share one
            feature set; nothing is released.
    """
    churn_version = registry.version(CHURN, churn)
    churn_files = registry.files(churn_version)
    parts = _read(churn_version, churn_files)
    inputs: ModelInputs = feature_set if parts.table is None else parts.table
    recommender_version = registry.version(RECOMMENDER, recommender) if parts.table is None else None
    versions = [churn_version] if recommender_version is None else [churn_version, recommender_version]
    _check_fingerprints(inputs, *versions)
    recommender_files = {} if recommender_version is None else registry.files(recommender_version)
    bands = bands_for(parts.losses, costs, parts.model.reference, settings.bands)
    policy = Policy()
    recipes = load_recipes(workspace.recipes)
    key = signing_key(workspace)
    trusted = TrustedKeys.load(workspace.trusted_release_keys)
    content_name = _content_name(key.key_id, inputs, churn_files, recommender_files, bands, policy, recipes)
    name = _settled_name(content_name, workspace.releases, feature_set, trusted)
    if not (workspace.releases / name).exists():
        write_release(
            workspace.releases,
            name=name,
            key=key,
            created_at_us=created_at_us,
            feature_set=inputs,
            churn=parts.model,
            recommender=None if recommender_version is None else Recommender.from_files(recommender_files),
            policy=policy,
            bands=bands,
            provenance=_provenance(registry, *versions),
            segments=parts.segments,
            recipes=recipes,
        )
    folder = workspace.releases / name
    provenance = load_release(folder, feature_set, trusted).manifest["provenance"]
    return Released(name, folder, put_in_store(folder, workspace.bentoml_home, feature_set, trusted), provenance)


def put_in_store(folder: Path, bentoml_home: Path, feature_set: FeatureSet, trusted: TrustedKeys) -> str:
    """Copy a release's folder into the model store and return its tag; what is there already is verified, or replaced.

    Raises:
        ArtefactError: the folder is not an intact release.
    """
    manifest = load_release(folder, feature_set, trusted).manifest
    models = bentoml_home.resolve() / "models"
    models.mkdir(parents=True, exist_ok=True)
    store = ModelStore(models)
    tag = f"{STORE_NAME}:{folder.name}"
    try:
        stored = Path(bentoml.models.get(tag, _model_store=store, model_aliases={}).path) / _FOLDER
        load_release(stored, feature_set, trusted)
    except NotFound:
        pass
    except ArtefactError:
        bentoml.models.delete(tag, _model_store=store)
    else:
        return tag
    labels = {"fingerprint": manifest["feature_set"]["fingerprint"][:12], "created_at": manifest["created_at"]}
    metadata = {"provenance": json.dumps(manifest["provenance"], sort_keys=True)}
    with bentoml.models.create(tag, labels=labels, metadata=metadata, _model_store=store) as entry:
        shutil.copytree(folder, entry.path_of(_FOLDER))
    load_release(models / STORE_NAME / folder.name / _FOLDER, feature_set, trusted)
    return tag


def _read(version: ModelVersion, files: Mapping[str, bytes]) -> ChurnParts:
    try:
        return read_churn_parts(files)
    except ArtefactError as error:
        raise ArtefactError(
            f"{version.name} {version.version} cannot be released: {error}; {_newer(version)}"
        ) from None


def _newer(version: ModelVersion) -> str:
    """How a version that this code cannot read is replaced: figures cannot compare another with it."""
    name = version.name.removeprefix("holdfast-")
    return (
        f"where a newer version is trained already, it takes this one's place by: holdfast promote {name} --force "
        '--why "made by this code"'
    )


def _check_fingerprints(feature_set: ModelInputs, *versions: ModelVersion) -> None:
    for version in versions:
        recorded = version.tags.get("fingerprint", "")
        if recorded != feature_set.fingerprint():
            raise ArtefactError(
                f"{version.name} {version.version} was trained with feature set {recorded[:12] or 'unknown'}, this "
                f"code computes {feature_set.fingerprint()[:12]}; train it again, and {_newer(version)}"
            )


def _settled_name(name: str, releases: Path, feature_set: FeatureSet, trusted: TrustedKeys) -> str:
    """The name, or the next one with a number behind it where a release of it is there and answers otherwise now.

    Raises:
        ReleaseRefusedError: what is there was damaged.
    """
    for tried in itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))):
        if not (releases / tried).exists():
            break
        try:
            load_release(releases / tried, feature_set, trusted)
            break
        except ReleaseRefusedError as error:
            if error.reason != "golden":
                raise
    return tried


def _content_name(
    key_id: str,
    feature_set: ModelInputs,
    churn_files: Mapping[str, bytes],
    recommender_files: Mapping[str, bytes],
    bands: Bands,
    policy: Policy,
    recipes: Mapping[str, Recipe],
) -> str:
    named = {f"churn/{name}": data for name, data in churn_files.items()}
    named |= {f"recommender/{name}": data for name, data in recommender_files.items()}
    content = {
        "format": RELEASE_FORMAT,
        "key": key_id,
        "fingerprint": feature_set.fingerprint(),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in named.items()},
        "bands": bands.to_manifest(),
        "policy": policy.to_manifest(),
        "recipes": {name: one.to_manifest() for name, one in recipes.items()},
    }
    return f"r-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]}"


def _provenance(registry: Registry, *versions: ModelVersion) -> dict[str, object]:
    def described(version: ModelVersion) -> dict[str, object]:
        return {
            "name": version.name,
            "version": version.version,
            "run_id": version.run_id,
            "digest": version.digest,
            "log_version": version.tags.get("log_version"),
            "stored_table": version.tags.get("stored_table"),
            "code_version": version.tags.get("code_version"),
            "gate": version.tags.get("gate"),
            "question": version.tags.get("question"),
            "metrics": registry.metrics(version),
        }

    return {version.name.removeprefix("holdfast-"): described(version) for version in versions}
