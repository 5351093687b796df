"""Books of scores made by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.instants import DAY_US
from serving.score_book import BOOK, BookFacts, BookName, write_book

NIGHT_US = 19_800 * DAY_US  # 2024-03-18


def facts(as_of_us: int = NIGHT_US, release: str = "first") -> BookFacts:
    names = {"en": {"segment": {"s1": "Regulars"}, "stage": {"active": "Active", "at_risk": "At risk"}}}
    names["zh"] = {"segment": {"s1": "常客"}, "stage": {}}
    return BookFacts(as_of_us, release, "churn", "3", 90, "EUR", names)


def book_rows(customers: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Rows by pseudonym; what is not said is a low risk without more."""
    plain: dict[str, Any] = {"churn_probability": 0.1, "churn_score": 10, "percentile": 10.0, "band": "low"}
    plain |= {"eligible": True}
    rows = [
        {name: ({"customer_key": key} | plain | told).get(name) for name in BOOK.names}
        for key, told in customers.items()
    ]
    return pa.Table.from_pylist(rows, schema=BOOK)


def lay_books(folder: Path, nights: Sequence[Mapping[str, Mapping[str, Any]]], keep: int = 14) -> list[BookName]:
    """A book a night, the last one at NIGHT_US."""
    first_us = NIGHT_US - (len(nights) - 1) * DAY_US
    return [
        write_book(folder, facts(first_us + place * DAY_US), book_rows(customers), keep=keep)
        for place, customers in enumerate(nights)
    ]
