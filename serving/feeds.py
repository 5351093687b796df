"""What a CRM follows: who changed band, book after book, and early warnings, in the shop's own ids.

Everything here reads the disk, so it runs in a thread. A customer whose identity is not known any more is passed over.
"""

from __future__ import annotations

from typing import Any

from features.instants import format_instant
from serving.cursors import cursor_expired, read_cursor, write_cursor
from serving.problems import Problem
from serving.runtime import Runtime
from serving.score_book import BookName
from serving.score_changes import BandChange
from serving.warning_log import EarlyWarning, read_warnings

__all__ = ["changes_since", "kept_book", "money", "no_scores", "since_book", "warnings_since"]

_SINCE, _WARNED = "since", "warned"
_BOOKS_A_PAGE = 4


def no_scores() -> Problem:
    """404: nobody has scored everybody yet."""
    return Problem(404, "no scores of all customers are kept yet; run: holdfast score", code="no_scores")


def kept_book(names: tuple[BookName, ...], seq: int, digest: int) -> BookName:
    """The book that a cursor names.

    Raises:
        Problem: 410, it is no longer kept.
    """
    for name in names:
        if (name.seq, name.digest) == (seq, digest):
            return name
    raise cursor_expired()


def since_book(name: BookName) -> str:
    """The cursor of a reader who knows this book, and nothing newer."""
    return write_cursor(_SINCE, name.seq, name.digest, 0, 0)


def money(amount_minor: int | None, currency: str | None) -> dict[str, Any] | None:
    """An amount as answered; None where there is none."""
    return None if amount_minor is None else {"amount_minor": amount_minor, "currency": currency}


def changes_since(runtime: Runtime, since: str | None, limit: int) -> dict[str, Any]:
    """One page of who changed band, book after book; without a cursor everybody of the oldest kept book enters first.

    The cursor that is answered says how far the reader is: the same cursor gives the same changes, and none is
    skipped however many books came meanwhile.

    Raises:
        Problem: 404, there is no book yet; 410, the book that the cursor stands at is no longer kept; 422, it is none
            of this list.
        ArtefactError: a book is damaged.
    """
    names = runtime.books.names
    if not names:
        raise no_scores()
    seq, digest, pinned, start = (0, 0, 0, 0) if since is None else read_cursor(_SINCE, since, 4, "/since")
    before = kept_book(names, seq, digest) if seq else None
    found: list[dict[str, Any]] = []
    for _ in range(_BOOKS_A_PAGE):
        after = _after(names, before, pinned)
        if after is None or len(found) >= limit:
            break
        changes = runtime.books.changes(before, after)
        page = changes.page(start, limit - len(found))
        found += _named_changes(runtime, page, after)
        start += len(page)
        pinned = after.seq
        if start >= len(changes):
            before, pinned, start = after, 0, 0
    position = (0, 0) if before is None else (before.seq, before.digest)
    return {
        "changes": found,
        "cursor": write_cursor(_SINCE, *position, pinned, start),
        "more": _after(names, before, pinned) is not None,
    }


def _after(names: tuple[BookName, ...], before: BookName | None, pinned: int) -> BookName | None:
    """The book whose changes come next: the one that was begun, else the next by number."""
    if pinned:
        begun = next((name for name in names if name.seq == pinned), None)
        if begun is None:
            raise cursor_expired()
        return begun
    return next((name for name in names if before is None or name.seq > before.seq), None)


def _named_changes(runtime: Runtime, page: tuple[BandChange, ...], book: BookName) -> list[dict[str, Any]]:
    ids = runtime.identities.ids_of([one.customer_key for one in page])
    as_of = format_instant(book.as_of_us)
    return [
        {
            "customer_id": customer_id,
            "change": one.change,
            "band_before": one.band_before,
            "band": one.band,
            "churn_probability": one.churn_probability,
            "as_of": as_of,
            "release": book.release,
        }
        for one, customer_id in zip(page, ids, strict=True)
        if customer_id is not None
    ]


def warnings_since(runtime: Runtime, since: str | None, limit: int) -> dict[str, Any]:
    """One page of early warnings in the order in which they were given.

    Raises:
        Problem: 422, the cursor is none of this list.
        UnavailableError: the store cannot be read now.
    """
    (seq,) = (0,) if since is None else read_cursor(_WARNED, since, 1, "/since")
    read = read_warnings(runtime.store, seq, limit + 1)
    page = read[:limit]
    ids = runtime.identities.ids_of([one.customer_key for one in page])
    return {
        "warnings": [_warning(one, customer_id) for one, customer_id in zip(page, ids, strict=True) if customer_id],
        "cursor": write_cursor(_WARNED, page[-1].seq if page else seq),
        "more": len(read) > limit,
    }


def _warning(one: EarlyWarning, customer_id: str) -> dict[str, Any]:
    return {
        "warning_id": f"w-{one.seq}",
        "customer_id": customer_id,
        "rise_log_odds": one.rise,
        "churn_probability": one.churn_probability,
        "churn_probability_before": one.probability_before,
        "band": one.band,
        "expected_loss": money(one.expected_loss_minor, one.currency),
        "as_of": format_instant(one.as_of_us),
        "release": one.release,
    }
