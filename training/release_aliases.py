"""MLflow's champion follows what is served: the versions that a promoted release was made of become champion.

The store says what is served. The registry is moved after it, and again where that failed, so that it catches up.
"""

from __future__ import annotations

import json

from features.workspace import Workspace
from serving.release_files import MANIFEST
from serving.releases import release_folder
from serving.rollouts.promotion_log import read_history
from serving.rollouts.state import read_rollout
from serving.store import Store
from training.promotion import PromotionDecision
from training.registry import CHAMPION, CHURN, RECOMMENDER, ModelVersion, Registry
from training.tracking import open_tracking

__all__ = ["follow_champion"]


def follow_champion(store: Store, workspace: Workspace, who: str, now_us: int) -> list[ModelVersion]:
    """Move the champion aliases to the versions of the release that is served; those that are there already stay.

    Returns the versions that became champion. A release that was made elsewhere, whose versions this registry does not
    know, moves nothing.

    Raises:
        ArtefactError: the champion's release is not in the workspace.
        UnavailableError: MLflow's database is locked; call again.
    """
    state = read_rollout(store)
    if state is None or not workspace.mlflow_database.exists():
        return []
    folder = release_folder(state.champion, workspace.releases)
    provenance = json.loads((folder / MANIFEST).read_bytes())["provenance"]
    registry, moved = Registry(open_tracking(workspace)), []
    for name in (CHURN, RECOMMENDER):
        made_of = provenance.get(name.removeprefix("holdfast-"))
        version = registry.find(name, int(made_of["version"])) if isinstance(made_of, dict) else None
        current = registry.find(name, CHAMPION)
        if version is None or version.digest != made_of.get("digest"):
            continue
        if current is None or current.version != version.version:
            registry.promote(version, _why(store, state.champion), who=who, at_us=now_us)
            moved.append(registry.version(name, version.version))
    return moved


def _why(store: Store, release: str) -> PromotionDecision:
    """The words of the change that made the release champion."""
    changes = (one for one in read_history(store) if one["after"]["champion"] == release)
    found = next((one for one in changes if one["before"].get("champion") != release), None)
    words = f"release {release} serves: {found['action']} by {found['who']}; {found['why']}" if found else "it serves"
    return PromotionDecision(True, (words,), {})
