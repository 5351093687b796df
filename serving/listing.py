"""The work list as answered: a page of customers of a book of scores, in the shop's own ids.

Reads the disk, so it runs in a thread. A customer whose identity is not known any more is passed over.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from features.instants import format_instant
from serving.cursors import read_cursor, write_cursor
from serving.feeds import kept_book, money, no_scores, since_book
from serving.languages import Language
from serving.problems import FieldError, Problem
from serving.runtime import Runtime
from serving.score_book import Book
from serving.score_books import ScoreBooks
from serving.trends import TREND_US, from_book
from serving.work_list import Choice

__all__ = ["work_list"]

_PAGE = "page"


def work_list(runtime: Runtime, choice: Choice, cursor: str | None, limit: int, language: Language) -> dict[str, Any]:
    """One page of the customers that are chosen from the newest book, or from the one that the cursor began with.

    Raises:
        Problem: 404, there is no book yet; 410, the cursor's book is no longer kept; 422, it is none of this list.
        ArtefactError: the book is damaged.
    """
    book, start = _opened(runtime.books, choice, cursor)
    _check_segments(book, choice)
    rows = runtime.books.listed(book, choice)
    earlier = runtime.books.near(book.name.as_of_us - TREND_US, book.name.release)
    listed: list[dict[str, Any]] = []
    while len(listed) < limit and start < rows.size:
        part = rows[start : start + limit - len(listed)]
        start += part.size
        told = book.rows.take(pa.array(part)).to_pylist()
        ids = runtime.identities.ids_of([one["customer_key"] for one in told])
        listed += [
            _customer(book, earlier, one, customer_id, language)
            for one, customer_id in zip(told, ids, strict=True)
            if customer_id is not None
        ]
    name = book.name
    more = start < rows.size
    return {
        "as_of": format_instant(name.as_of_us),
        "release": name.release,
        "horizon_days": book.facts.horizon_days,
        "total": int(rows.size),
        "customers": listed,
        "next_cursor": write_cursor(_PAGE, name.seq, name.digest, choice.digest, start) if more else None,
        "changes_cursor": since_book(name),
    }


def _opened(books: ScoreBooks, choice: Choice, cursor: str | None) -> tuple[Book, int]:
    if cursor is None:
        if books.newest is None:
            raise no_scores()
        return books.newest, 0
    seq, digest, chosen, start = read_cursor(_PAGE, cursor, 4, "/cursor")
    if chosen != choice.digest:
        detail = "the cursor belongs to another band, stage, segment or sort; send the same ones with it"
        raise Problem(422, detail, code="cursor", errors=(FieldError("/cursor", "cursor", detail),))
    return books.open(kept_book(books.names, seq, digest)), start


def _check_segments(book: Book, choice: Choice) -> None:
    known = book.facts.names.get("en", {}).get("segment", {})
    if known and not set(choice.segments) <= set(known):
        detail = f"segments are {', '.join(known)}"
        raise Problem(422, detail, errors=(FieldError("/segment", "unknown_value", detail),))


def _customer(
    book: Book, earlier: Book | None, told: dict[str, Any], customer_id: str, language: Language
) -> dict[str, Any]:
    probability = told["churn_probability"]
    purchase = told["next_purchase_p50"]
    words = book.facts.names.get(language, book.facts.names.get("en", {}))
    return {
        "customer_id": customer_id,
        "churn_score": told["churn_score"],
        "churn_probability": probability,
        "percentile": told["percentile"],
        "population_percentile": book.percentile(probability),
        "band": told["band"],
        "expected_loss": money(told["expected_loss_minor"], book.facts.currency),
        "next_purchase": {"p50": None if purchase is None else purchase.isoformat()},
        "trend": from_book(earlier, told["customer_key"], probability),
        "segment": _named(told["segment"], words.get("segment", {})),
        "lifecycle_stage": _named(told["stage"], words.get("stage", {})),
        "reason_codes": (told["reason_codes"] or "").split(),
    }


def _named(key: str | None, names: Any) -> dict[str, str] | None:
    return None if key is None else {"key": key, "name": names.get(key, key)}
