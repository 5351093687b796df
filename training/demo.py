"""The demonstration: a simulated shop walks the whole road once, through the same jobs as the command line.

Simulate -> import -> train both models -> promote -> release -> serve -> ask as a CRM and as a storefront would ->
an event comes back and changes the next answer.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from features.errors import ConfigurationError, UnavailableError
from features.importing.job import import_file
from features.importing.mapping import load_mapping
from features.importing.table_job import import_table
from features.schema import CUSTOMERS, ITEMS
from features.workspace import Workspace
from serving.settings import ServiceSettings, serve_command
from training.settings import Settings
from training.simulate import simulate, write_shop

__all__ = [
    "Call",
    "Shop",
    "beside",
    "call",
    "free_port",
    "is_alive",
    "prepare",
    "serving",
    "simulate_and_import",
    "tour",
]

MARKER = "made-by-holdfast-demo"
START_SECONDS = 120.0


@dataclass(frozen=True)
class Shop:
    """What was made: where, how large, and how long each part took in seconds."""

    workspace: Workspace
    n_customers: int
    n_events: int


@dataclass(frozen=True)
class Call:
    """One HTTP call of the tour: who calls, what, and the answer."""

    who: str
    why: str
    method: str
    path: str
    body: dict[str, Any] | None
    status: int
    answer: Any = field(repr=False)
    milliseconds: float


def prepare(folder: Path) -> Workspace:
    """An empty workspace in `folder`; what an earlier demo left there is removed, anything else is refused.

    Raises:
        ConfigurationError: the folder holds something that no demo made.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigurationError(f"the folder {folder.name} holds something else; name another with --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    return Workspace(folder)


def simulate_and_import(workspace: Workspace, settings: Settings, seed: int, say: Callable[[str], None]) -> Shop:
    """Write the simulated shop as ordinary files and import them as anybody's would be."""
    say("simulating a shop")
    files = write_shop(simulate(settings.simulation, seed), workspace.root / "shop", workspace.truth)
    say("importing its events, items and customers")
    report = import_file(files.events, load_mapping("events"), workspace)
    import_table(files.items, ITEMS, workspace)
    import_table(files.customers, CUSTOMERS, workspace)
    return Shop(workspace, report.n_customers, report.n_accepted)


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens there on loopback, else a port that the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UnavailableError("no port is free on the loopback interface; close something and try again")


@contextmanager
def serving(workspace: Workspace, release: str, port: int, clock_shift_us: int = 0) -> Iterator[str]:
    """The real service in a process of its own; gives its base address once it is ready, stops it at the end.

    Raises:
        UnavailableError: it ended, or was not ready within two minutes; its log is named.
    """
    settings = ServiceSettings(workspace=workspace.root, release=release, port=port, clock_shift_us=clock_shift_us)
    command = serve_command(settings)
    log = workspace.root / "service.log"
    environment = {name: value for name, value in os.environ.items() if name != "HOLDFAST_STORE"}  # another shop's
    with beside(command.argv, environment | command.env, log) as process:
        base = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, base, log)
        yield base


@contextmanager
def beside(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the body does, its output in `log`; it is told to stop at the end, then made to."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], base: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UnavailableError(f"the service ended while starting; read {log.name} in the workspace")
        try:
            if call(base, "probe", "", "GET", "/readyz").status == 200:
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.25)
    raise UnavailableError(f"the service was not ready after {START_SECONDS:.0f} s; read {log.name} in the workspace")


def is_alive(base: str) -> bool:
    """Whether the service still answers."""
    try:
        return call(base, "probe", "", "GET", "/livez").status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def call(base: str, who: str, why: str, method: str, path: str, body: dict[str, Any] | None = None) -> Call:
    """One HTTP call with a JSON body and a JSON answer, whatever its status."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = urllib.request.Request(base + path, data, headers, method=method)  # noqa: S310 - loopback only
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback only # nosec B310
            status, content = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    took = (time.perf_counter() - start) * 1e3
    return Call(who, why, method, path, body, status, json.loads(content or b"null"), took)


def tour(base: str, customer_id: str, now: str) -> Iterator[Call]:
    """What a CRM and a storefront would ask, in turn; an event in the middle changes what comes after."""
    score = f"/v1/customers/{customer_id}/churn"
    wish = {"customer_id": customer_id, "placement": "home", "limit": 5}
    yield call(base, "CRM", "whom to see to first?", "GET", "/v1/customers?band=high&sort=-expected_loss&limit=3")
    yield call(base, "CRM", "is this customer about to leave?", "GET", score)
    before = call(base, "storefront", "what to show on the home page?", "POST", "/v1/recommendations", wish)
    yield before
    items = before.answer.get("items") or [{"item_id": "unknown"}]
    item_id = items[-1]["item_id"]
    yield call(base, "storefront", "what goes with it?", "GET", f"/v1/items/{item_id}/similar?limit=3")
    event = {
        "event_id": f"demo-{now}",
        "customer_id": customer_id,
        "kind": "view",
        "item_id": item_id,
        "occurred_at": now,
        "channel": "web",
        "recommendation_id": before.answer.get("recommendation_id"),
    }
    yield call(base, "storefront", "the customer opened it", "POST", "/v1/events", {"events": [event]})
    yield call(base, "CRM", "the score a moment later, the view included", "GET", score)
    yield call(base, "storefront", "the list a moment later", "POST", "/v1/recommendations", wish)
    yield call(
        base, "storefront", "a visitor nobody knows", "POST", "/v1/recommendations", {"placement": "home", "limit": 3}
    )
