"""Is it alive, is it ready, what does it count."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from serving.api.exchange import json_answer, ready
from serving.problems import Problem

__all__ = ["livez", "metrics", "readyz"]


async def livez(request: Request) -> Response:
    """GET /livez: the process answers; says nothing of the release. 503 where it does not, see `Pulse`."""
    if request.app.state.pulse.stuck:
        raise Problem(503, "the last requests all timed out; start this process anew", code="stuck")
    return json_answer({"status": "alive"})


async def readyz(request: Request) -> Response:
    """GET /readyz: names the release that answers; 503 until one is loaded, and from when the service is to stop."""
    if request.app.state.warming.admission.leaving:
        raise Problem(503, "the service is stopping; send requests elsewhere", code="leaving")
    runtime = ready(request)
    served = runtime.served
    content: dict[str, object] = {"status": "ready", "release": served.champion.name}
    if served.challenger is not None:
        content["challenger"] = served.challenger.name
    if runtime.releases.refusals:
        content["refused"] = {name: why.detail for name, why in runtime.releases.refusals.items()}
    return json_answer(content, headers={"X-Release": served.champion.name})


async def metrics(request: Request) -> Response:
    """GET /metrics: Prometheus' text format."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE_LATEST)
