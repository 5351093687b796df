"""Which releases are loaded, how traffic is split, and every change of it."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from features.instants import format_instant
from serving.api.exchange import json_answer, ready
from serving.release import Release
from serving.rollouts.promotion_log import read_history

__all__ = ["releases", "rollouts"]


async def releases(request: Request) -> Response:
    """GET /v1/releases: the releases in memory, and those that were refused with the reason."""
    runtime = ready(request)
    served = runtime.served
    loaded = [_described(served.champion, "champion", 1.0 if served.challenger is None else 1.0 - served.state.share)]
    if served.challenger is not None:
        loaded.append(_described(served.challenger, "challenger", served.state.share))
    refused = [{"release": name, **why._asdict()} for name, why in runtime.releases.refusals.items()]
    return json_answer({"releases": loaded, "refused": refused})


async def rollouts(request: Request) -> Response:
    """GET /v1/rollouts: the state and the newest changes, newest first."""
    runtime = ready(request)
    changes = await to_thread.run_sync(read_history, runtime.store)
    history = [{"at": format_instant(change.pop("at_us")), **change} for change in changes]
    return json_answer({"current": runtime.served.state.to_dict(), "history": history})


def _described(release: Release, arm: str, share: float) -> dict[str, object]:
    return {
        "release": release.name,
        "arm": arm,
        "share": share,
        "created_at": release.manifest["created_at"],
        "fingerprint": release.fingerprint,
        "horizon_days": release.churn.horizon_days,
        "items": 0 if release.recommender is None else len(release.recommender.item_ids),
        "provenance": release.manifest["provenance"],
    }
