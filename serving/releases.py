"""Releases in memory: a new one is verified, loaded and warmed beside the running one, then one reference is swapped.

A release that is refused leaves what runs untouched; why is kept, and shown at /v1/releases and /readyz.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, HoldfastError
from features.feature_set import FeatureSet
from features.instants import parse_instant
from features.workspace import Workspace
from serving.assignment import Arm, placed_arm
from serving.release import Release, load_release
from serving.release_files import MANIFEST, read_manifest
from serving.release_refusal import Refusal, ReleaseRefusedError
from serving.release_signature import TrustedKeys
from serving.rollouts.state import NO_EXPERIMENT, RolloutState
from serving.storefronts import Storefronts

__all__ = [
    "Refused",
    "Releases",
    "Routed",
    "Served",
    "experiment_of",
    "known_releases",
    "load_named",
    "newest_release",
    "release_folder",
]

log = logging.getLogger("holdfast.releases")


class Refused(NamedTuple):
    """Why a release is not served: a stable reason (see `release_refusal`), and a sentence."""

    reason: str
    detail: str


class Routed(NamedTuple):
    """What answers a customer: the release, the arm, and the experiment that the arm belongs to.

    Where the arm is compared with no other (no rollout, no key, a challenger that was refused here, the champion's
    customers outside the control slice) the experiment is `none`. A shadow is compared with all that the champion
    answers meanwhile. Where the champion stands in for a challenger that failed, the arm is still `challenger`: whom it
    was meant for is what outcomes are compared by, and nothing counts for the champion.
    """

    release: Release
    arm: Arm
    experiment: str
    stood_in_for: str | None = None


class Placed(Protocol):
    """A customer with the arm and the experiment that an answer belongs to."""

    @property
    def arm(self) -> Arm:
        """See `serving.assignment`."""

    @property
    def experiment(self) -> str:
        """`none` where the arm is compared with no other."""

    @property
    def stood_in_for(self) -> str | None:
        """The release that failed, where the champion stands in for it."""


def experiment_of(placed: Placed) -> dict[str, str]:
    """As an answer tells it."""
    told = {"key": placed.experiment, "arm": placed.arm}
    return told if placed.stood_in_for is None else {**told, "stood_in_for": placed.stood_in_for}


@dataclass(frozen=True, eq=False)
class Served:
    """What answers at a moment. `challenger` is None where no rollout is under way, or where it was refused."""

    state: RolloutState
    champion: Release
    challenger: Release | None

    def route(self, customer_key: str | None) -> Routed:
        """What answers a customer; a visitor without any key gets the champion, and is in no experiment."""
        state = self.state
        if self.challenger is None or customer_key is None:
            return Routed(self.champion, "champion", NO_EXPERIMENT)
        arm = placed_arm(state.salt, state.share, customer_key, state.holdout_share)
        compared = arm != "champion" or state.shadow
        release = self.challenger if arm == "challenger" else self.champion
        return Routed(release, arm, state.key if compared else NO_EXPERIMENT)

    def standing_in(self, routed: Routed) -> Routed | None:
        """Who answers where what was routed to failed: the champion for the challenger, nobody for the champion."""
        if routed.release is not self.challenger:
            return None
        return routed._replace(release=self.champion, stood_in_for=routed.release.name)


class Releases:
    """Keeps what is served in step with the rollout state. `served` is read by requests, `update` runs beside them.

    `trusted` is asked at each load, so that a key which is added counts at once. `older_allowed` says whether somebody
    had a release started though it is older than what was served; see `_check_not_older`.
    """

    def __init__(
        self,
        resolve: Callable[[str], Path],
        feature_set: FeatureSet,
        trusted: Callable[[], TrustedKeys],
        storefronts: Storefronts,
        *,
        older_allowed: Callable[[str], bool] = lambda _: False,
        refused: Callable[[], None] | None = None,
    ) -> None:
        self.served: Served | None = None
        self.refusals: dict[str, Refused] = {}
        self._trusted = trusted
        self._older_allowed = older_allowed
        self._resolve = resolve
        self._feature_set = feature_set
        self._storefronts = storefronts
        self._loaded: dict[str, Release] = {}
        self._looked_at: dict[str, tuple[object, Refusal, str]] = {}
        self._refused = refused

    def exists(self, name: str) -> bool:
        """Whether a release of this name is at hand; it may still be refused when it is loaded."""
        try:
            return (self._resolve(name) / MANIFEST).is_file()
        except (HoldfastError, OSError):
            return False

    def update(self, state: RolloutState) -> None:
        """Load what the state names and is not loaded, then serve it; on a refusal go on serving what is served.

        Where nothing is served yet, as in a worker that was just started, a refused champion's predecessor serves.
        """
        refusals: dict[str, Refused] = {}
        challenger, champion = None, self._load(state.champion, state.previous, refusals)
        if champion is not None and state.challenger is not None:
            challenger = self._load(state.challenger, state.champion, refusals)
        elif champion is None and self.served is None and state.previous is not None:
            champion = self._load(state.previous, None, refusals)
        self.refusals = refusals  # at once: readers never see it half made
        self._looked_at = {name: known for name, known in self._looked_at.items() if name in refusals}
        if champion is not None:
            self.served = Served(state, champion, challenger)
            kept = {state.champion, state.challenger, state.previous}  # the previous one stays, for an instant rollback
            self._loaded = {name: release for name, release in self._loaded.items() if name in kept}
        self._storefronts.keep([one.recommender for one in self._loaded.values() if one.recommender is not None])

    def _load(self, name: str, before: str | None, refusals: dict[str, Refused]) -> Release | None:
        """The release, loaded before or now, unless it is refused; `before` is the one that it is to follow."""
        try:
            release = self._loaded.get(name) or self._verified(name)
            self._loaded[name] = release
            self._check_not_older(release, before)
        except Exception as error:  # whatever is wrong with it, it must not keep the others from serving
            refusals[name] = self._refuse(name, _why(name, error))
            return None
        return release

    def _verified(self, name: str) -> Release:
        """The release as verified now; one that was refused is not read again before its files or the keys change."""
        folder, trusted = self._resolve(name), self._trusted()
        look = (trusted, _look(folder))
        known = self._looked_at.get(name)
        if known is not None and known[0] == look:
            raise ReleaseRefusedError(known[1], known[2])
        if trusted.accept_unsigned:
            log.warning("loading release %s though releases without a signature are accepted: development only", name)
        try:
            release = load_release(folder, self._feature_set, trusted)
            _check_name(name, release)
        except ReleaseRefusedError as error:
            self._looked_at[name] = look, error.reason, str(error)  # not the error: it holds what was read
            raise
        self._warm(release)
        return release

    def _check_not_older(self, release: Release, before: str | None) -> None:
        """Time runs forward: previous, champion, challenger. After a rollback there is none to compare with.

        Raises:
            ReleaseRefusedError: the release was made before the one that it is to follow, and nobody allowed it.
        """
        made_us = None if before is None else self._made_us(before)
        if made_us is not None and release.created_at_us < made_us and not self._older_allowed(release.name):
            raise ReleaseRefusedError(
                "older",
                f"it was made at {release.manifest['created_at']}, before {before} which it is to follow; take it away "
                "by `holdfast rollout rollback`, or start it with --older if that is meant",
            )

    def _made_us(self, name: str) -> int | None:
        """When a release was made; None where it is gone, or nobody vouches for what it says."""
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded.created_at_us
        try:
            return parse_instant(read_manifest(self._resolve(name), self._trusted())["created_at"])
        except (HoldfastError, OSError):
            return None

    def _refuse(self, name: str, why: Refused) -> Refused:
        """Tell of a refusal once, not again at every try."""
        if self.refusals.get(name) != why:
            log.error("release %s refused (%s): %s", name, why.reason, why.detail)
            if self._refused is not None:
                self._refused()
        return why

    def _warm(self, release: Release) -> None:
        """Make every part answer once, so that the first customer does not wait and a broken part never serves."""
        unknown = np.full((1, len(release.churn.feature_names)), np.nan)
        probability = release.churn.probabilities(unknown)
        release.churn.contributions(unknown)
        release.bands.of_many(probability)
        if release.recommender is not None:
            self._storefronts.warm(release.recommender, release.recipes, release.created_at_us)


def _look(folder: Path) -> object:
    """What changes when a file of a release does, without reading it."""
    stats = [(path, path.lstat()) for path in folder.rglob("*")]
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats}


def _why(name: str, error: Exception) -> Refused:
    if isinstance(error, ReleaseRefusedError):
        return Refused(error.reason, str(error))
    if isinstance(error, HoldfastError):
        return Refused("content", str(error))
    if isinstance(error, OSError):
        return Refused("unreadable", f"its files cannot be read ({type(error).__name__})")
    log.error("release %s cannot be loaded", name, exc_info=error)
    return Refused("content", f"it cannot be loaded ({type(error).__name__}); the fault is in the service's log")


def _check_name(asked: str, release: Release) -> None:
    """What answers say of themselves must be what the promotion log says was set (a name, a tag or a path)."""
    if release.name != Path(asked.rpartition(":")[2]).name:
        raise ReleaseRefusedError("name", f"what lies there calls itself {release.name}; put it where its name leads")


def release_folder(name: str, releases: Path) -> Path:
    """The folder of a release named by a path or by its name in the workspace.

    Raises:
        ArtefactError: there is none.
    """
    for folder in (releases / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder
    raise ArtefactError("there is no release of this name in the workspace or the model store; make one first")


def load_named(name: str, workspace: Workspace) -> Release:
    """The release of this name, or at this path, verified by the keys that the workspace trusts, then loaded.

    Raises:
        ArtefactError: there is none, or it is refused.
    """
    trusted = TrustedKeys.load(workspace.trusted_release_keys)
    return load_release(release_folder(name, workspace.releases), CHURN_FEATURES, trusted)


def known_releases(releases: Path) -> list[str]:
    """The names of the releases that lie in the workspace, in ascending order."""
    return sorted(path.parent.name for path in releases.glob(f"*/{MANIFEST}"))


def newest_release(releases: Path) -> str:
    """The name of the release that was made last, of the folders in the workspace.

    Raises:
        ArtefactError: there is none.
    """
    names = known_releases(releases)
    if not names:
        raise ArtefactError("there is no release yet; promote the models and run: holdfast release")
    return max(names, key=lambda name: (str(json.loads((releases / name / MANIFEST).read_bytes())["created_at"]), name))
