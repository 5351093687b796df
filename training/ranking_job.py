"""The job behind `holdfast judge-ranking`: what a release's recommender would have earned on places that explored.

For every place that was drawn, the release is asked for the slate that it would have shown: as of the decision, by its
own recipe of the placement, for what the call wanted and with the churn probability that was known. Its best item that
did not stand in the slate already is valued. It is judged on decisions made after the release alone: of earlier ones it
may have learnt the outcome. What was in stock at the time is not known; the stock of the release counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from features.customer_view import CustomerView
from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import format_instant, parse_instant
from features.workspace import Workspace
from serving.arranging import RANKED
from serving.kept_requests import request_again
from serving.recipe import Recipe
from serving.releases import load_named, newest_release
from serving.storefront import Storefront
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
    n_unplaced: explored places left out, whose decision names no placement that the release has a recipe of.
    """

    release: str
    since: str
    until: str
    n_not_shown: int
    n_open: int
    n_unplaced: int
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
        NotEnoughDataError: nothing was explored, shown and had its window since then at a placement of the release.
        FilterError, ConfigurationError: the release cannot follow what a call wanted; it would have answered nothing.
    """
    release = load_named(release_name or newest_release(workspace.releases), workspace)
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
    recent = found.since(first_us)
    judged = recent.placed(release.recipes)
    n_unplaced = recent.rounds.n - judged.rounds.n
    if not judged.rounds.n:
        raise NotEnoughDataError(
            f"0 of {found.rounds.n:,} explored places were decided since {format_instant(first_us)} at a placement of "
            f"the release, {n_unplaced:,} elsewhere, need 1 at least"
        )
    progress(f"ranking for {judged.rounds.n:,} places")
    storefront = Storefront(release.recommender, release.recommender.catalogue)
    policy = judged.policy_of(rankings_of(storefront, release.recipes, data.view, judged))
    progress("judging")
    report = evaluate_policy(judged.rounds, policy, rng, off_policy)
    since, until = format_instant(first_us), format_instant(data.known_us)
    return JudgedRanking(release.name, since, until, found.n_not_shown, found.n_open, n_unplaced, report)


def rankings_of(
    storefront: Storefront, recipes: Mapping[str, Recipe], view: CustomerView, logged: LoggedRecommendations
) -> dict[str, list[str]]:
    """By recommendation id, the items that a storefront would have ranked for that call, best first.

    Pinned and sponsored items are left out: nothing is drawn where they stand.

    Args:
        storefront: of the release.
        recipes: of the release, one for every placement that the rounds name.
        view: of all customers.
        logged: the rounds.

    Raises:
        ArtefactError: a decision keeps a damaged request.
    """
    wanted, of = np.unique(logged.decision), logged.slates
    lengths = np.bincount(of.decision, minlength=len(of.decision_ids))
    rows = view.rows_of([of.customer_keys[one] or "" for one in wanted])
    found = {}
    for one, row in zip(wanted.tolist(), rows.tolist(), strict=True):
        history = None if row < 0 else view.select([row])
        recipe = recipes[str(of.placements[one])]
        asked = replace(request_again(of.requests[one], recipe), limit=int(lengths[one]) + _RANKED_BEYOND)
        risk = float(of.churn_probability[one])
        slate = storefront.slate(history, int(of.as_of_us[one]), asked, recipe, None if math.isnan(risk) else risk)
        found[of.decision_ids[one]] = [item.item_id for item in slate.items if item.shown_as == RANKED]
    return found
