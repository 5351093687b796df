"""The yardstick of bench_recommend_speed: implicit's `recommend` with `recalculate_user` behind FastAPI, no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import BaseModel
from scipy.sparse import load_npz


class Asked(BaseModel):
    """One call."""

    customer_id: str
    limit: int = 10


def create() -> FastAPI:
    """One route: the customer's row, a list of ids and scores."""
    folder = Path(os.environ["BENCH_FOLDER"])
    model = AlternatingLeastSquares.load(str(folder / "plain.npz"))
    rows = load_npz(folder / "matrix.npz")
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/recommend")
    async def recommend(asked: Asked) -> dict[str, Any]:
        row = int(asked.customer_id[1:])
        items, scores = model.recommend(row, rows[row], N=asked.limit, recalculate_user=True)
        listed = [{"item_id": f"i{item:07d}", "score": float(score)} for item, score in zip(items, scores, strict=True)]
        return {"customer_id": asked.customer_id, "items": listed}

    return app
