"""From an event log to a release in one go: train both models, promote by the rule, assemble, and build a snapshot.

The same steps as the single commands, for a first release and for a nightly job.
"""

from __future__ import annotations

from dataclasses import dataclass

from features.churn_features import CHURN_FEATURES
from features.workspace import Workspace
from training.comparing import decide_promotion
from training.jobs import Progress, Trained, silent, train_churn_job, train_recommender_job
from training.promotion import PromotionDecision, force
from training.registry import CHAMPION, CHURN, RECOMMENDER, Registry
from training.releasing import Released, release
from training.settings import Settings
from training.standing import why_unreadable
from training.tracking import open_tracking

__all__ = ["FIRST_CHAMPION", "Pipelined", "run_pipeline"]

FIRST_CHAMPION = (
    "the first champion of this workspace that this code can read: there is nothing else to serve, and its report says "
    "how it fares"
)


@dataclass(frozen=True)
class Pipelined:
    """Both challengers, the decision about each, and the release of the champions as they are now."""

    churn: Trained
    recommender: Trained
    decisions: dict[str, PromotionDecision]
    released: Released


def run_pipeline(
    workspace: Workspace,
    settings: Settings,
    *,
    code_version: str,
    who: str,
    now_us: int,
    progress: Progress = silent,
) -> Pipelined:
    """Train, decide, promote where the rule says so, and release the champions.

    A first challenger that does not beat a baseline becomes champion all the same, forced and recorded as such: a
    shop that has no model yet is served the better of nothing, and the decision's reasons name what beat it. So does a
    challenger after an upgrade whose code cannot read the champion. A later challenger that the rule refuses stays
    challenger, and the champion is released again.

    Raises:
        NotEnoughDataError: the log is too short or holds too few customers or items.
        UnavailableError: the MLflow database is locked; nothing is registered.
    """
    churn = train_churn_job(workspace, settings, code_version=code_version, progress=progress)
    recommender = train_recommender_job(workspace, settings, code_version=code_version, progress=progress)
    registry = Registry(open_tracking(workspace, wait_seconds=settings.tracking.lock_wait_seconds))
    decisions = {}
    for name, trained in ((CHURN, churn), (RECOMMENDER, recommender)):
        progress(f"deciding about {name} {trained.version.version}")
        decision = decide_promotion(workspace, registry, trained.version, settings, progress)
        if not decision.promote and not _stands(registry, name):
            decision = force(decision, FIRST_CHAMPION)
        if decision.promote:
            registry.promote(trained.version, decision, who=who, at_us=now_us)
        decisions[name] = decision
    progress("assembling, verifying and storing the release")
    released = release(
        workspace, registry, CHURN_FEATURES, settings.release, created_at_us=now_us, costs=settings.churn.costs
    )
    return Pipelined(churn, recommender, decisions, released)


def _stands(registry: Registry, name: str) -> bool:
    """Whether there is a champion that this code can read."""
    champion = registry.find(name, CHAMPION)
    return champion is not None and why_unreadable(registry, champion) is None
