"""The model registry: numbered versions of each model, with a challenger and a champion, in the MLflow database.

A version is entered only after its run has ended with all files written. It becomes challenger in the same breath, or
is taken out again. A promotion writes its record (who, when, from, to, why, figures) before the alias moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from features.errors import ArtefactError, ConfigurationError, HoldfastError
from features.instants import format_instant
from features.locking import exclusive
from training.promotion import PromotionDecision
from training.tracking import MODEL_FOLDER, Tracking, mlflow_errors, read_files

__all__ = ["CHALLENGER", "CHAMPION", "CHURN", "RECOMMENDER", "ModelVersion", "Promotion", "Registry"]

CHURN = "holdfast-churn"
RECOMMENDER = "holdfast-recommender"
CHALLENGER = "challenger"
CHAMPION = "champion"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class ModelVersion:
    """One registered version. `digest` is the SHA-256 of the manifest of its files; `tags` say what it was made of."""

    name: str
    version: int
    run_id: str
    folder: Path
    digest: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Promotion:
    """One entry of a model's promotion log. `from_version` is None for the first champion."""

    at: str
    who: str
    from_version: int | None
    to_version: int
    reasons: tuple[str, ...]
    figures: Mapping[str, float]
    forced: bool


@dataclass(frozen=True)
class Registry:
    """The registered models of one workspace."""

    tracking: Tracking

    def register(self, name: str, run_id: str, digest: str, tags: Mapping[str, str]) -> ModelVersion:
        """Enter a finished run's model as the next version and make it the challenger, or leave nothing.

        Raises:
            ArtefactError: the run's files are not those of `digest`.
            UnavailableError: the database is locked; nothing was entered.
        """
        client = self.tracking.client
        with mlflow_errors():
            folder = Path(client.get_run(run_id).info.artifact_uri) / MODEL_FOLDER
        read_files(folder, digest)
        self.tracking.require_unlocked()
        self._ensure(name)
        with mlflow_errors():
            entered = client.create_model_version(name, str(folder), run_id, tags={**tags, "digest": digest})
        try:
            with mlflow_errors():
                client.set_registered_model_alias(name, CHALLENGER, str(entered.version))
        except BaseException:
            with suppress(MlflowException):
                client.delete_model_version(name, str(entered.version))
            raise
        return self.version(name, int(entered.version))

    def version(self, name: str, which: int | str) -> ModelVersion:
        """A version by number or alias.

        Raises:
            ArtefactError: there is no such version.
        """
        found = self.find(name, which)
        if found is None:
            raise ArtefactError(f"there is no {which} of {name}; train one, or list what there is with compare")
        return found

    def find(self, name: str, which: int | str) -> ModelVersion | None:
        """A version by number or alias, or None."""
        client = self.tracking.client
        number = isinstance(which, int) or which.isdecimal()
        try:
            if number:
                row = client.get_model_version(name, str(which))
            else:
                row = client.get_model_version_by_alias(name, str(which))
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            with mlflow_errors():
                raise
        return _version(row)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version, the newest first."""
        with mlflow_errors():
            rows = self.tracking.client.search_model_versions(f"name = '{name}'")
        numbers = sorted((int(row.version) for row in rows), reverse=True)
        return tuple(self.version(name, number) for number in numbers)

    def files(self, version: ModelVersion) -> dict[str, bytes]:
        """The files of a version, checked against its digest.

        Raises:
            ArtefactError: a file is missing or altered.
        """
        return read_files(version.folder, version.digest)

    def metrics(self, version: ModelVersion) -> dict[str, float]:
        """The figures that the version's run recorded."""
        with mlflow_errors():
            return dict(self.tracking.client.get_run(version.run_id).data.metrics)

    def promote(self, version: ModelVersion, decision: PromotionDecision, *, who: str, at_us: int) -> Promotion:
        """Make a version the champion and write why; the record stands before the alias moves, or neither does.

        Raises:
            ConfigurationError: the decision does not promote.
            UnavailableError: the database is locked, or somebody else is promoting; the champion is unchanged.
        """
        if not decision.promote:
            raise ConfigurationError("this decision does not promote; force it with a reason, or train a better model")
        # two at once would number their records alike, and one would be written over
        with exclusive(self.tracking.database.with_name("promotions.lock"), "the promotion log"):
            return self._promote(version, decision, who, at_us)

    def _promote(self, version: ModelVersion, decision: PromotionDecision, who: str, at_us: int) -> Promotion:
        self.tracking.require_unlocked()
        client, name = self.tracking.client, version.name
        former = self.find(name, CHAMPION)
        record = Promotion(
            format_instant(at_us),
            who,
            former.version if former else None,
            version.version,
            decision.reasons,
            dict(decision.figures),
            decision.forced,
        )
        key = f"promotion.{len(self.promotions(name)) + 1:06d}"
        with mlflow_errors():
            client.set_registered_model_tag(name, key, _record_json(record))
        self._or_undo(
            lambda: client.set_registered_model_alias(name, CHAMPION, str(version.version)),
            lambda: client.delete_registered_model_tag(name, key),
        )
        challenger = self.find(name, CHALLENGER)  # now: a newer version may have become it since the decision
        with mlflow_errors():
            if challenger is not None and challenger.version == version.version:
                client.delete_registered_model_alias(name, CHALLENGER)
            client.set_model_version_tag(name, str(version.version), "promoted_because", "; ".join(decision.reasons))
        return record

    def promotions(self, name: str) -> tuple[Promotion, ...]:
        """The promotion log of a model, the oldest first."""
        with mlflow_errors():
            rows = self.tracking.client.search_registered_models(f"name = '{name}'")
        tags: dict[str, str] = dict(rows[0].tags) if rows else {}
        return tuple(_promotion(json.loads(tags[key])) for key in sorted(tags) if key.startswith("promotion."))

    def _ensure(self, name: str) -> None:
        client = self.tracking.client
        with mlflow_errors():
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)

    @staticmethod
    def _or_undo(step: Callable[[], Any], undo: Callable[[], Any]) -> None:
        try:
            with mlflow_errors():
                step()
        except BaseException:
            with suppress(MlflowException, HoldfastError):
                undo()
            raise


def _version(row: Any) -> ModelVersion:
    tags = dict(row.tags)
    return ModelVersion(
        str(row.name),
        int(row.version),
        str(row.run_id),
        Path(row.source),
        tags.get("digest", ""),
        tuple(sorted(row.aliases)),
        tags,
    )


def _record_json(record: Promotion) -> str:
    return json.dumps({**record.__dict__, "reasons": list(record.reasons)}, sort_keys=True)


def _promotion(values: dict[str, Any]) -> Promotion:
    return Promotion(**{**values, "reasons": tuple(values["reasons"])})
