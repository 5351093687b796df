"""Cursors: opaque words that say where a reader stands. They are checked when they come back, never trusted."""

from __future__ import annotations

import base64
import re

from serving.problems import FieldError, Problem

__all__ = ["MAX_CURSOR_LENGTH", "cursor_expired", "read_cursor", "write_cursor"]

MAX_CURSOR_LENGTH = 128
_WORD = re.compile(rb"([a-z]+)((?:\.\d{1,18})*)")


def write_cursor(kind: str, *parts: int) -> str:
    """A cursor of some kind that holds whole numbers, none of them negative.

    >>> read_cursor("page", write_cursor("page", 12, 0), 2, "/cursor")
    (12, 0)
    """
    return base64.urlsafe_b64encode(".".join([kind, *map(str, parts)]).encode()).decode().rstrip("=")


def read_cursor(kind: str, text: str, n_parts: int, pointer: str) -> tuple[int, ...]:
    """The numbers in a cursor that `write_cursor` made.

    Raises:
        Problem: 422, the text is no cursor of this kind; `pointer` names the field.
    """
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        plain = b""
    found = _WORD.fullmatch(plain)
    parts = found[2].split(b".")[1:] if found else []
    if found is None or found[1] != kind.encode() or len(parts) != n_parts:
        detail = "this is no cursor of this list; send one exactly as it was answered, or none"
        raise Problem(422, detail, code="cursor", errors=(FieldError(pointer, "cursor", detail),))
    return tuple(map(int, parts))


def cursor_expired() -> Problem:
    """410: what the cursor points into is no longer kept."""
    return Problem(410, "what this cursor points into is no longer kept; start again without one", code="expired")
