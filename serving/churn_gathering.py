"""What a churn answer is made of: who is asked about and who answers, histories and stored features of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from features.customer_view import CustomerView
from features.instants import format_instant, parse_instant
from serving.assignment import Arm
from serving.following import CLOCK_BEHIND, CLOCK_SKEW_US, HISTORY_UNREADABLE
from serving.languages import LANGUAGES, Language
from serving.problems import Problem
from serving.release import Release
from serving.releases import Served
from serving.request_context import span
from serving.runtime import Runtime
from serving.snapshots import StoredFeatures

__all__ = ["Asked", "ChurnRequest", "Gathered", "gather", "without_histories"]


@dataclass(frozen=True)
class ChurnRequest:
    """What is wanted: a past instant (or None for now), stored or fresh features, and what to tell beside the score.

    `fresh`: fresh features are asked for by name, not by default, so that stored ones will not do.
    `trend_computed`: where no book of scores tells the trend, compute the earlier score from the history, which costs
    as much as the score itself.
    """

    as_of: str | None = None
    stored: bool = False
    fresh: bool = False
    reasons: bool = True
    actions: bool = True
    forecast: bool = True
    trend: bool = True
    trend_computed: bool = False
    segment: bool = True
    what_if: bool = False
    language: Language = LANGUAGES[0]


@dataclass(frozen=True, eq=False)
class Asked:
    """One customer of a request: the place in it, the outside id, the pseudonym, and what answers it."""

    index: int
    customer_id: str
    customer_key: str
    release: Release
    arm: Arm
    experiment: str
    stood_in_for: str | None = None


@dataclass(frozen=True, eq=False)
class Gathered:
    """All that an answer needs from shared state, taken at one moment; the rest can run in any thread.

    served: who was asked by it, and the champion that stands in where a challenger fails.
    as_of_us, views: of the histories, for fresh answers. stored: by fingerprint, for the releases that answer from
    stored features. degraded: why the answer is less than it should be, None where it is not, see serving.following.
    """

    request: ChurnRequest
    served: Served
    now_us: int
    as_of_us: int
    asked: tuple[Asked, ...]
    views: tuple[CustomerView, ...]
    stored: Mapping[str, StoredFeatures]
    degraded: str | None = None


def gather(runtime: Runtime, customer_ids: Sequence[str], request: ChurnRequest) -> Gathered:
    """Look the customers up. Those nobody knows are missing from `views` and `stored`.

    Raises:
        Problem: the instant lies in the future, stored features are asked for and there are none, or a table is asked
            for another moment than its own.
        UnavailableError: no release is loaded.
    """
    served, now_us = runtime.served, runtime.clock()
    asked = []
    for index, customer_id in enumerate(customer_ids):
        key = runtime.pseudonyms.of(customer_id)
        asked.append(Asked(index, customer_id, key, *served.route(key)))
    keys = dict.fromkeys(one.customer_key for one in asked)
    releases = {one.release.fingerprint: one.release for one in asked}
    if served.challenger in releases.values():
        releases.setdefault(served.champion.fingerprint, served.champion)
    stored = {
        fingerprint: _stored(runtime, release, request, now_us)
        for fingerprint, release in releases.items()
        if request.stored or release.table is not None
    }
    if stored.keys() == releases.keys():
        degraded = runtime.following.lack_of_time(now_us)
        return Gathered(request, served, now_us, now_us, tuple(asked), (), stored, degraded)
    with span("history"):
        degraded = runtime.following.lack(now_us)
        as_of_us = _as_of(runtime, request, keys, now_us)
        gathered = Gathered(request, served, now_us, as_of_us, tuple(asked), (), stored, degraded)
        try:
            return replace(gathered, views=runtime.histories.many(keys))
        except Exception:
            instead = without_histories(runtime, gathered)
            if instead is None:
                raise
            return instead


def without_histories(runtime: Runtime, gathered: Gathered) -> Gathered | None:
    """The same from stored features alone, for histories that cannot be read; None where these are no answer."""
    releases = {one.release.fingerprint for one in gathered.asked}
    found = {fingerprint: runtime.snapshots.of(fingerprint) for fingerprint in releases}
    stored = {name: one for name, one in found.items() if one is not None and one.as_of_us <= gathered.now_us}
    if gathered.request.as_of is not None or stored.keys() != releases:
        return None
    return replace(gathered, views=(), stored=stored, degraded=HISTORY_UNREADABLE)


def _stored(runtime: Runtime, release: Release, request: ChurnRequest, now_us: int) -> StoredFeatures:
    if release.table is not None and (request.fresh or request.as_of is not None):
        what = "as_of" if request.as_of is not None else "freshness=fresh"
        raise Problem(
            422,
            f"{what} is not for a table: this release answers from the stored table alone, which is of one moment, and "
            "events change nothing in it; leave it out",
            code="not_supported",
        )
    found = runtime.snapshots.of(release.fingerprint)
    if found is None:
        raise Problem(404, "no features are stored for this feature set; build them first", code="no_snapshot")
    if found.as_of_us > now_us + CLOCK_SKEW_US and runtime.following.lack(now_us) != CLOCK_BEHIND:
        raise Problem(
            404,
            f"the stored features are of {format_instant(found.as_of_us)}, which lies in the future; build them "
            "again as of now, or ask for fresh ones",
            code="no_snapshot",
        )
    return found


def _as_of(runtime: Runtime, request: ChurnRequest, keys: dict[str, None], now_us: int) -> int:
    """A past instant as asked for; else now, or just after the newest accepted event where clocks are close."""
    if request.as_of is not None:
        as_of_us = parse_instant(request.as_of)
        if as_of_us > now_us:
            raise Problem(422, "as_of lies in the future; leave it out for a score as of now", code="in_the_future")
        return as_of_us
    latest = runtime.histories.latest_recorded_us
    return max(now_us, *(latest.get(key, 0) + 1 for key in keys))
