"""Whether a champion still stands: a version that this code cannot read can be neither judged nor released.

After an upgrade the format of a model's files, or the features computed, may be others. Nothing can be compared with
such a champion and no release made of it, so it counts as no champion at all. Altered or missing files are another
matter: they are no question of the code, and are refused as ever.
"""

from __future__ import annotations

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError
from serving.recommender import Recommender
from training.churn_files import read_churn_parts
from training.registry import CHURN, ModelVersion, Registry
from training.table_comparing import is_table

__all__ = ["why_unreadable"]


def why_unreadable(registry: Registry, version: ModelVersion) -> str | None:
    """Why this code cannot read a version, in words; None where it can.

    Raises:
        ArtefactError: a file of the version is missing or altered.
    """
    files = registry.files(version)
    try:
        _ = read_churn_parts(files) if version.name == CHURN else Recommender.from_files(files)
    except ArtefactError as error:
        return str(error)
    recorded = version.tags.get("fingerprint", "")
    if is_table(version) or recorded == CHURN_FEATURES.fingerprint():
        return None
    return (
        f"it was trained with feature set {recorded[:12] or 'unknown'}, this code computes "
        f"{CHURN_FEATURES.fingerprint()[:12]}"
    )
