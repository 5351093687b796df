"""The yardstick of bench_http: the same churn model behind Starlette alone, features already in memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from features.churn_features import CHURN_FEATURES
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.releases import load_named


def create() -> Starlette:
    """One route: the row of a customer, one prediction, a small answer."""
    workspace = Workspace(Path(os.environ["BENCH_WORKSPACE"]))
    release = load_named(os.environ["BENCH_RELEASE"], workspace)
    pseudonyms = Pseudonyms.load(workspace.pseudonym_keys)
    table = pq.read_table(max(workspace.snapshots.glob("*.parquet")))
    values = np.column_stack([table[name].to_numpy() for name in CHURN_FEATURES.names])
    rows = {key: row for row, key in enumerate(table["customer_key"].to_pylist())}

    async def churn(request: Request) -> Response:
        customer_id = request.path_params["customer_id"]
        probability = release.churn.probability(values[rows[pseudonyms.of(customer_id)]])
        content = {"customer_id": customer_id, "churn_probability": probability}
        return Response(orjson.dumps(content), media_type="application/json")

    return Starlette(routes=[Route("/v1/customers/{customer_id}/churn", churn)])
