"""The customers on whom two versions made of tables are compared.

Who is kept apart to judge by is told by a hash of the pseudonym, so neither version has learnt from those of the
challenger's table, however far the tables differ (see `training.table_churn.judges`).
"""

from __future__ import annotations

import numpy as np

from features.errors import ArtefactError
from features.instants import parse_instant
from features.workspace import Workspace
from training.churn_problem import ChurnProblem
from training.registry import ModelVersion
from training.table_churn import judges
from training.table_store import read_stored
from training.training_set import TrainingSet

__all__ = ["compared_rows", "is_table"]


def is_table(version: ModelVersion) -> bool:
    """Whether a version was made of a table."""
    return version.tags.get("kind") == "table"


def compared_rows(
    workspace: Workspace, challenger: ModelVersion, champion: ModelVersion, names: tuple[str, ...]
) -> TrainingSet:
    """The labelled customers kept apart of the challenger's table; `names` are its features.

    Raises:
        ArtefactError: one version is of an event log, answers another question, reads other columns or categories, or
            has learnt from these customers; or the stored table is gone.
    """
    _check_alike(challenger, champion)
    stored = workspace.snapshots / challenger.tags["stored_table"]
    keys, values, labels = read_stored(stored, names)
    rows = np.flatnonzero(judges(keys) & (labels >= 0)).astype(np.int64)
    as_of_us = parse_instant(challenger.tags["test_as_of"])
    return TrainingSet.of_table(names, challenger.tags["fingerprint"], values, labels, rows, as_of_us)


def _check_alike(challenger: ModelVersion, champion: ModelVersion) -> None:
    versions = f"versions {challenger.version} and {champion.version}"
    forced = "promote by --force and say why"
    if is_table(challenger) != is_table(champion):
        raise ArtefactError(f"of {versions} one is of a table, the other of an event log; {forced}")
    asked = [ChurnProblem.from_json(version.tags["question"]) for version in (challenger, champion)]
    if not asked[0].asks_the_same(asked[1]):
        raise ArtefactError(f"{versions} answer different questions: another label, id or number of days; {forced}")
    if challenger.tags["fingerprint"] != champion.tags["fingerprint"]:
        raise ArtefactError(
            f"{versions} read tables with other columns or categories, so one table cannot be scored by both; {forced}"
        )
    told = [version.version for version in (challenger, champion) if version.tags.get("learnt_from") == "everybody"]
    if told:
        raise ArtefactError(
            f"version {told[0]} was fitted on everybody (churn.refit_on_all), so nobody is left to judge by; {forced}"
        )
