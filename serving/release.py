"""A release: one immutable, signed folder with all that a decision needs, every file of it hashed in the manifest.

Nothing in it is code: text trees, JSON, and arrays read with `allow_pickle=False`. Loading verifies who made it, then
every byte, then that it gives the answers that it gave when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from features.errors import ArtefactError, ConfigurationError
from features.feature_set import FeatureSet, ModelInputs
from features.instants import format_instant, parse_instant
from features.table_features import TableFeatures
from serving import strict_json
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.golden_set import Answering, check_golden_set, make_golden_set
from serving.policy import Policy
from serving.recipe import Recipe, load_recipes, read_recipes
from serving.recommender import Recommender
from serving.release_files import (
    GOLDEN,
    MANIFEST,
    RELEASE_FORMAT,
    described_as,
    read_files,
    read_manifest,
    store_files,
)
from serving.release_refusal import ReleaseRefusedError
from serving.release_signature import SigningKey, TrustedKeys
from serving.segments import Segmentation

__all__ = ["Release", "load_release", "write_release"]

Part = TypeVar("Part")


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

    @cached_property
    def never_known_share(self) -> float:
        """Of its features, those that no customer had a value of in training, in [0, 1]."""
        return float(np.isnan(self.churn.medians).mean())

    @property
    def fingerprint(self) -> str:
        """Of the feature set that it reads."""
        return self.churn.fingerprint


def write_release(
    directory: Path,
    *,
    name: str,
    key: SigningKey,
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
    """Write a release as `directory / name`, signed with `key`, all of it or nothing, durable on return.

    `provenance` is JSON: log version, code version, runs, metrics; nothing about any customer. `recipes` are those that
    come with Holdfast where none are given.

    Raises:
        ReleaseRefusedError: the name is unfit or taken, the model was made for another feature set, or its answers to
            the golden set are not finite or all alike.
    """
    _check_fits(churn, feature_set)
    files = {f"churn/{path}": data for path, data in churn.to_files().items()}
    if recommender is not None:
        files |= {f"recommender/{path}": data for path, data in recommender.to_files().items()}
    chosen = load_recipes() if recipes is None else recipes
    files[GOLDEN] = make_golden_set(Answering(churn, recommender, bands, chosen), created_at_us)
    content = {
        "format": RELEASE_FORMAT,
        "name": name,
        "created_at": format_instant(created_at_us),
        "feature_set": {"fingerprint": feature_set.fingerprint(), "definition": feature_set.to_manifest()},
        "files": {path: described_as(data) for path, data in files.items()},
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
        "recipes": {name: one.to_manifest() for name, one in chosen.items()},
        "provenance": dict(provenance),
    }
    return store_files(directory, name, files, strict_json.write_object(content), key)


def load_release(directory: Path, feature_set: FeatureSet, trusted: TrustedKeys) -> Release:
    """Verify who signed a release folder and every byte of it, load it, and ask it the golden set.

    `feature_set` is what this code computes from an event log; a release of a table says itself how the table is read.

    Raises:
        ReleaseRefusedError: it is absent, signed by nobody who is trusted, truncated, altered, holds another file,
            leads out of its folder, was written by another version, was made for another feature set, or answers
            otherwise than when it was made; `reason` says which.
    """
    manifest = read_manifest(directory, trusted)
    table = _described_table(manifest)
    inputs: ModelInputs = feature_set if table is None else table
    recorded = manifest["feature_set"].get("fingerprint")
    if recorded != inputs.fingerprint():
        raise ReleaseRefusedError(
            "fingerprint",
            f"the release was made for feature set {str(recorded)[:12]}, this code computes "
            f"{inputs.fingerprint()[:12]}; train and release again, or run the version that wrote it",
        )
    files = read_files(directory, manifest)
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
    check_golden_set(files.get(GOLDEN), Answering(churn, recommender, bands, recipes))
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


def _loaded(part: str, load: Callable[[Mapping[str, Any]], Part], files: Mapping[str, Any]) -> Part:
    prefix = f"{part}/"
    try:
        return load({path.removeprefix(prefix): data for path, data in files.items() if path.startswith(prefix)})
    except ArtefactError as error:
        raise ReleaseRefusedError("content", f"{part}: {error}") from error
