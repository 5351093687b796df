"""What all pictures of the churn report share: size, type, colours, and the names of models in words."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure

__all__ = ["COLOURS", "OURS_COLOUR", "new_figure", "png", "shown_model"]

COLOURS = ("#0b5cad", "#c2571a", "#3f8f4f", "#7a5195", "#8c6d31", "#5b6770")
"""Told apart by colour-blind readers too; the first is ours."""

OURS_COLOUR = COLOURS[0]
_DPI = 110
_WORDS = {
    "churn_model": "this model",
    "recency": "recency rule",
    "logistic": "logistic model",
    "bg_nbd": "BG/NBD",
    "bg_nbd_published": "BG/NBD as published",
}


def shown_model(name: str) -> str:
    """A model's name as readers see it.

    >>> shown_model("churn_model"), shown_model("bg_nbd")
    ('this model', 'BG/NBD')
    """
    return _WORDS.get(name, name.replace("_", " "))


def new_figure(width: float, height: float, columns: int, **subplots: Any) -> tuple[Figure, tuple[Any, ...]]:
    """A figure of `width` x `height` inches with axes side by side, their upper and right edges left open."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = tuple(figure.subplots(1, columns, squeeze=False, **subplots)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="#e6e6e6", linewidth=0.7)
        one.set_axisbelow(True)
    return figure, axes


def png(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
