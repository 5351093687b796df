"""The whole service in this process with something behind every call: releases, scores of two weeks, warnings, keys."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from schemathesis.python import asgi
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.event_log import EventLog
from features.instants import DAY_US
from features.tables import IDENTITIES, upsert
from serving.access.scopes import SCOPES
from serving.app import create_app
from serving.early_warning import WarningRule
from serving.metrics import Metrics
from serving.releases import release_folder
from serving.rollouts.plan import load_plan
from serving.rollouts.state import Change, pause, read_rollout, rollback, start_rollout
from serving.runtime import Runtime
from serving.score_book import list_books, read_book, write_book
from serving.settings import ServiceSettings
from serving.store import Store
from serving.warning_log import give_warnings
from tests.callers import key_of
from tests.forecasting import forecasting_model, two_segments
from tests.score_books import book_rows, facts
from tests.tiny_shop import N_CUSTOMERS, NOW_US, TinyShop, tiny_shop

__all__ = ["FuzzedService", "fuzzed_service"]

READY_WITHIN_S = 60.0
_HIGH = {"band": "high", "churn_probability": 0.9, "churn_score": 95, "reason_codes": "overdue"}


@dataclass(frozen=True)
class FuzzedService:
    """An application that asks for keys, started and ready, and a key of each scope."""

    app: ASGIApp
    keys: dict[str, str]


@contextmanager
def fuzzed_service(folder: Path) -> Iterator[FuzzedService]:
    """The service on a shop under a folder.

    Nothing limits how often it is asked: a refusal tells of the request, not of how fast they come.
    """
    shop = tiny_shop(folder / "shop")
    shop.release("first", churn=forecasting_model(), segments=two_segments())
    shop.release("second", base=2.0)
    _lay_scores(shop)
    store = Store.open(shop.workspace.store)
    _warn(shop, store)
    keys = {scope: key_of(store, scope, now_us=NOW_US) for scope in SCOPES}
    store.close()
    settings = ServiceSettings(
        shop.workspace.root, release="first", access="keys", max_wait_ms=60_000, access_log=False
    )
    metrics, ids = Metrics(), itertools.count(1)

    def new_id() -> str:
        return f"{next(ids):032x}"

    def opened(given: ServiceSettings) -> Runtime:
        resolve = partial(_folder, shop.workspace.releases)
        return Runtime.open(given, resolve=resolve, clock=lambda: NOW_US, new_id=new_id, metrics=metrics)

    try:
        app = _with_work(create_app(lambda: settings, opened, metrics, new_id=new_id))
        _wait_until_ready(app)
        yield FuzzedService(app, keys)
    finally:
        asgi.shutdown_lifespans()


def _with_work(app: Starlette) -> ASGIApp:
    """The application, brought before two of three changes of a rollout into a state in which they can do something.

    Each would else end what the next one needs, and nearly all of them were conflicts.
    """
    counted = itertools.count()

    async def prepared(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and "/rollouts" in scope["path"] and next(counted) % 3:
            _make_room(app.state.warming.ready().store, scope["path"])
        await app(scope, receive, send)

    return prepared


def _make_room(store: Store, path: str) -> None:
    """By a share from the start: a shadow would start a process for each."""
    state, change = read_rollout(store), Change("a test", NOW_US, "so that the next call has work")
    if state is None:
        return
    if path == "/v1/rollouts" and state.challenger is not None:
        rollback(store, change)
    elif path != "/v1/rollouts" and state.challenger is None:
        plan = load_plan("default")
        steps = tuple(step for step in plan.steps if step.share)
        other = "first" if state.champion == "second" else "second"
        start_rollout(store, other, steps[0].share, "salt", change, replace(plan, steps=steps).to_json())
    if path.endswith(":resume"):
        pause(store, True, change)


def _wait_until_ready(app: ASGIApp) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    with asgi.get_client(app) as client:
        while client.get("/readyz").status_code != 200:
            if time.monotonic() > deadline:
                raise TimeoutError(client.get("/readyz").text)
            time.sleep(0.05)


def _folder(releases: Path, name: str) -> Path:
    return release_folder(name, releases)


def _lay_scores(shop: TinyShop) -> None:
    """Stored features, and books of a week ago and of today; everybody is known by name."""
    customers = [f"c{number}" for number in range(N_CUSTOMERS)]
    keys = [shop.pseudonyms.of(one) for one in customers]
    upsert(shop.workspace.identities, IDENTITIES, pa.table({"customer_key": keys, "customer_id": customers}))
    table = compute(
        CustomerView.from_events(EventLog.open(shop.workspace.event_log).read()), CHURN_FEATURES, NOW_US - DAY_US
    )
    shop.workspace.snapshots.mkdir()
    pq.write_table(table.to_arrow(), shop.workspace.snapshots / "yesterday.parquet")
    for days_ago, n_high in ((7, 5), (0, 15)):
        people = {key: _HIGH if number < n_high else {"expected_loss_minor": number} for number, key in enumerate(keys)}
        write_book(shop.workspace.scores, facts(NOW_US - days_ago * DAY_US), book_rows(people), keep=14)


def _warn(shop: TinyShop, store: Store) -> None:
    book = read_book(list_books(shop.workspace.scores)[-1])
    give_warnings(store, WarningRule(weekly_capacity=500), book, np.full(len(book), 0.01))
