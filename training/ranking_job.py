"""The job behind `holdfast judge-ranking`: what a release's recommender would have earned on places that explored.

For every place that was drawn, the release ranks the customer's items as of the decision and is asked for its best one
that did not stand in the slate already. It is judged on decisions made after the release alone: of earlier ones it may
have learnt the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import format_instant, parse_instant
from features.workspace import Workspace
from serving.recommender import Recommender
from serving.release import load_release
from serving.releases import newest_release, release_folder
from training.log_data import Progress, read_log, silent
from training.logged_recommendations import (
    LoggedRecommendations,
    LoggedRecommendationSettings,
    read_logged_recommendations,
)
from training.off_policy import OffPolicyReport, OffPolicySettings, evaluate_policy

__all__ = ["JudgedRanking", "judge_ranking", "rankings_of"]

_RANKED_BEYOND = 100


@dataclass(frozen=True)
class JudgedRanking:
    """What the log says of a release's ranking: a reward is a response to one exploring place.

    n_not_shown: decided places that no impression names. n_open: places shown too lately to have had their window.
    """

    release: str
    since: str
    until: str
    n_not_shown: int
    n_open: int
    report: OffPolicyReport


def judge_ranking(
    workspace: Workspace,
    release_name: str | None,
    *,
    rewards: LoggedRecommendationSettings,
    off_policy: OffPolicySettings,
    rng: np.random.Generator,
    since_us: int | None = None,
    progress: Progress = silent,
) -> JudgedRanking:
    """Judge the recommender of a release, the newest if None, from the decisions, exposures and outcomes of the log.

    Args:
        workspace: of the shop.
        release_name: name or folder.
        rewards: what counts as a response, and how long it may take.
        off_policy: when a log supports a ranking.
        rng: folds and bootstrap.
        since_us: decisions from then on; None is when the release was made.
        progress: told each stage.

    Raises:
        ArtefactError: there is no release or no log.
        ConfigurationError: the release recommends nothing, or `since_us` lies before the release was made.
        NotEnoughDataError: nothing was explored, shown and had its window since then.
    """
    folder = release_folder(release_name or newest_release(workspace.releases), workspace.releases)
    release = load_release(folder, CHURN_FEATURES)
    made_us = parse_instant(str(release.manifest["created_at"]))
    if release.recommender is None:
        raise ConfigurationError(f"the release {release.name} was made of a table and recommends nothing; name another")
    if since_us is not None and since_us < made_us:
        raise ConfigurationError(
            f"--since {format_instant(since_us)} lies before the release {release.name} was made "
            f"({format_instant(made_us)}): it may have learnt from what is to judge it; write a later instant"
        )
    progress("reading the log")
    data = read_log(workspace)
    found = read_logged_recommendations(workspace, data.known_us, rewards)
    first_us = made_us if since_us is None else since_us
    judged = found.since(first_us)
    if not judged.rounds.n:
        raise NotEnoughDataError(
            f"0 of {found.rounds.n:,} explored places were decided since {format_instant(first_us)}, need 1 at least"
        )
    progress(f"ranking for {judged.rounds.n:,} places")
    policy = judged.policy_of(rankings_of(release.recommender, data.view, judged))
    progress("judging")
    report = evaluate_policy(judged.rounds, policy, rng, off_policy)
    since, until = format_instant(first_us), format_instant(data.known_us)
    return JudgedRanking(release.name, since, until, found.n_not_shown, found.n_open, report)


def rankings_of(recommender: Recommender, view: CustomerView, logged: LoggedRecommendations) -> dict[str, list[str]]:
    """By recommendation id, the items that a recommender ranks for its customer as of its instant, best first."""
    wanted = np.unique(logged.decision)
    lengths = np.bincount(logged.slates.decision, minlength=len(logged.slates.decision_ids))
    keys = [logged.slates.customer_keys[one] for one in wanted]
    rows = view.rows_of([key or "" for key in keys])
    found = {}
    for one, row in zip(wanted.tolist(), rows.tolist(), strict=True):
        history = None if row < 0 else view.select([row])
        as_of_us = int(logged.slates.as_of_us[one])
        slate = recommender.slate(history, as_of_us, int(lengths[one]) + _RANKED_BEYOND)
        found[logged.slates.decision_ids[one]] = [item.item_id for item in slate.items]
    return found
