"""The BentoML service: it lends the process, the workers and the model store; every answer is our application's."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import bentoml
import psutil
from bentoml.exceptions import BentoMLException
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import create_app
from serving.metrics import Metrics
from serving.releases import release_folder
from serving.runtime import Runtime
from serving.settings import ServiceSettings, service_settings
from serving.structured_logs import configure_logs

__all__ = ["HoldfastService"]

STORE_NAME = "holdfast"
_PARENT_POLL_S = 0.5
_IDS_AT_ONCE = 256
_TURN_S = 0.00005
"""How long a thread that loads or scores beside the answers may keep the interpreter from one who comes back to it; a
request comes back several times, and Python's usual 5 ms each held answers up while a release was loaded. One who waits
is woken in vain each time that an answer lets go for a moment: the less it waits, the less that costs."""
_TIMEOUT_S = 30.0  # above our own limit, so that BentoML's list-shaped 504 is never what a caller sees


def clock_us(shift_us: int) -> int:
    """Now, UTC microseconds, moved by the settings' shift: the one clock of the service."""
    return time.time_ns() // 1_000 + shift_us


class RandomIds:
    """Fresh random names of 32 hexadecimal digits, for any thread; the system is asked for randomness once for many."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        """The next name."""
        try:
            return self._left.pop()
        except IndexError:  # looking first and taking then would let another thread take the last one in between
            digits = os.urandom(16 * _IDS_AT_ONCE).hex()
            fresh = [digits[start : start + 32] for start in range(0, len(digits), 32)]
            name = fresh.pop()
            self._left = fresh
            return name


new_id = RandomIds()


def folder_of(name: str, releases: Path) -> Path:
    """Where a release lies: in the model store (`name`, or `model:version`), else in the workspace, else a path.

    Raises:
        ArtefactError: nowhere.
    """
    tag = name if ":" in name else f"{STORE_NAME}:{name}"
    try:
        return Path(bentoml.models.get(tag).path) / "release"
    except (BentoMLException, ValueError):
        return release_folder(name, releases)


def open_runtime(settings: ServiceSettings) -> Runtime:
    """Open everything; the one place where the service's clock, names and model store are chosen."""
    releases = settings.places.releases
    runtime = Runtime.open(
        settings,
        resolve=lambda name: folder_of(name, releases),
        clock=lambda: clock_us(settings.clock_shift_us),
        new_id=new_id,
        metrics=metrics,
    )
    # Out of the collector's sight: walking what was imported and loaded stalled answers by 100 to 200 ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(_TURN_S)
    threading.Thread(target=leave_with, args=(os.getppid(),), name="parent", daemon=True).start()
    return runtime


def leave_with(parent: int) -> None:
    """Stop this worker when the process that leads it is gone: a killed leader would leave it serving, unseen."""
    with suppress(psutil.Error):
        if is_left_alone(psutil.Process().cmdline(), psutil.Process(parent).cmdline()):
            parent = 0
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def is_left_alone(own: Sequence[str], parent: Sequence[str]) -> bool:
    """Whether the leader was gone before this worker looked, by command lines: then another process is the parent.

    >>> worker = ["python", "-m", "_bentoml_impl.worker.service", "serving.service:HoldfastService"]
    >>> is_left_alone(worker, ["/sbin/init"])
    True
    >>> is_left_alone(worker, ["python", "-m", "bentoml", "serve", "serving.service:HoldfastService"])
    False
    """
    return any("_bentoml_impl.worker" in word for word in own) and not any("bentoml" in word for word in parent)


def started_settings() -> ServiceSettings:
    """The settings, and logs in the form that they ask for: the server has set up its own before."""
    settings = service_settings(os.environ)
    configure_logs(settings.log_format, access=settings.access_log)
    return settings


class OwnAnswers:
    """Sends every HTTP call to our application, so that BentoML's own routes (/livez, /schema.json, ...) never answer.

    Its routes read bodies in formats that ours refuse, among them pickle, and word their errors in another shape.
    """

    def __init__(self, app: ASGIApp, own: ASGIApp) -> None:
        self.app = app
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass BentoML's lifespan on."""
        await (self.own if scope["type"] == "http" else self.app)(scope, receive, send)


os.environ.pop("BENTOML_CONTAINERIZED", None)  # with it, as images of BentoML have it, a dead worker stays dead
metrics = Metrics(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
app = create_app(
    started_settings,
    open_runtime,
    metrics,
    new_id=new_id,
    swagger_assets=Path(bentoml.__file__).parent / "_internal" / "server" / "static_content",
)


@bentoml.service(
    name="holdfast",
    workers=int(os.environ.get("HOLDFAST_WORKERS", "1")),
    traffic={"timeout": _TIMEOUT_S},
    metrics={"enabled": False, "namespace": "holdfast_bentoml"},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(app, path="/")
class HoldfastService:
    """Who is about to leave, and what each customer wants next."""


HoldfastService.add_asgi_middleware(OwnAnswers, own=app)  # type: ignore[attr-defined]
