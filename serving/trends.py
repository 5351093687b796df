"""How a customer's churn probability moved within the last week, and where the earlier figure comes from.

Both figures are of the same release: a difference between two models would not be the customer's.
"""

from __future__ import annotations

from typing import Any

from features.instants import DAY_US, format_instant
from serving.score_book import Book

__all__ = ["TREND_DAYS", "TREND_US", "from_book", "recomputed", "unknown"]

TREND_DAYS = 7
TREND_US = TREND_DAYS * DAY_US


def unknown() -> dict[str, Any]:
    """Nobody scored the customer a week before, and nothing was known of them then."""
    return {"delta_7d": None, "basis": None, "since": None}


def from_book(earlier: Book | None, customer_key: str, probability: float) -> dict[str, Any]:
    """Against the book of a week before; unknown without one, or where it does not hold the customer."""
    row = None if earlier is None else earlier.row(customer_key)
    if earlier is None or row is None:
        return unknown()
    return _moved(probability, float(earlier.probability[row]), "book", earlier.name.as_of_us)


def recomputed(probability: float, before: float, since_us: int) -> dict[str, Any]:
    """Against the score of the history as it was known then."""
    return _moved(probability, before, "recomputed", since_us)


def _moved(probability: float, before: float, basis: str, since_us: int) -> dict[str, Any]:
    return {"delta_7d": probability - before, "basis": basis, "since": format_instant(since_us)}
