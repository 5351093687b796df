"""The yardstick of bench_cost: the same churn model and the same checks behind FastAPI, features already in memory.

/churn/ asks the model at each request, /stored/ looks up what it said beforehand, as Holdfast does with a snapshot. Who
calls, how often, and by which release is nobody's business here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Query
from fastapi import Path as InPath
from pydantic import AwareDatetime, BaseModel, ConfigDict

from features.churn_features import CHURN_FEATURES
from features.compute import FeatureTable
from features.instants import format_instant
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.releases import load_named
from serving.scoring import ChurnScore, score_churn
from serving.snapshots import Snapshots

Id = Annotated[str, InPath(min_length=1, max_length=256)]


class Asked(BaseModel):
    """How a score is asked for."""

    model_config = ConfigDict(extra="forbid")
    as_of: AwareDatetime | None = None
    freshness: Literal["fresh", "stored"] = "stored"


class Answer(BaseModel):
    """What is told of a customer."""

    customer_id: str
    horizon_days: int
    churn_score: int
    churn_probability: float
    percentile: float
    band: Literal["low", "medium", "high"]
    features_as_of: str


def create() -> FastAPI:
    """Two routes over the newest snapshot."""
    workspace = Workspace(Path(os.environ["BENCH_WORKSPACE"]))
    release = load_named(os.environ["BENCH_RELEASE"], workspace)
    pseudonyms = Pseudonyms.load(workspace.pseudonym_keys)
    snapshots = Snapshots(workspace.snapshots, CHURN_FEATURES)
    snapshots.poll()
    stored = snapshots.stored
    if stored is None:
        raise SystemExit("the shop has no snapshot of features; remove its folder and start again")
    app, as_of_us, as_of = FastAPI(), stored.as_of_us, format_instant(stored.as_of_us)
    keys = np.array(list(stored.rows), object)

    def scores(keys: np.ndarray, values: np.ndarray) -> list[ChurnScore]:
        table = FeatureTable(keys, as_of_us, release.churn.feature_names, values, release.churn.fingerprint)
        found = score_churn(release.churn, release.bands, table, forecast=False)
        return [found.one(row) for row in range(len(found))]

    beforehand = dict(zip(keys, scores(keys, stored.values), strict=True))

    def answer(customer_id: str, score: ChurnScore) -> Answer:
        return Answer(
            customer_id=customer_id, horizon_days=release.churn.horizon_days, features_as_of=as_of, **vars(score)
        )

    @app.get("/churn/{customer_id}")
    async def churn(customer_id: Id, _asked: Annotated[Asked, Query()]) -> Answer:
        row = stored.row(pseudonyms.of(customer_id))
        if row is None:
            raise HTTPException(404)
        return answer(customer_id, scores(keys[:1], row[None])[0])

    @app.get("/stored/{customer_id}")
    async def ready(customer_id: Id, _asked: Annotated[Asked, Query()]) -> Answer:
        score = beforehand.get(pseudonyms.of(customer_id))
        if score is None:
            raise HTTPException(404)
        return answer(customer_id, score)

    return app
