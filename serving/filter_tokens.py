"""The words of the filter language: names, texts, numbers and signs, each with the place at which it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from features.errors import FilterError

__all__ = ["MAX_LENGTH", "Token", "tokens"]

MAX_LENGTH = 2_000
"""Longest expression, in characters."""

Kind = Literal["name", "word", "text", "number", "sign", "end"]

_WORDS = frozenset({"and", "or", "not", "in", "is", "missing", "true", "false"})
_SIGNS = ("!=", "<=", ">=", "=", "<", ">", "(", ")", ",")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_QUOTES = "\"'"
_NAME_QUOTE = "`"


@dataclass(frozen=True)
class Token:
    """One word of an expression.

    Attributes:
        kind: what it is; "word" is one of the language's own.
        text: a name, a word in small letters, the content of a text without its quotes, a sign as written.
        number: the value of a number, 0.0 otherwise.
        position: of its first character, counted from 1.
    """

    kind: Kind
    text: str
    position: int
    number: float = 0.0

    def described(self) -> str:
        """What it is, for people; nothing that was submitted is repeated."""
        if self.kind in {"word", "sign"}:
            return f'"{self.text}"'
        return {"name": "a name", "text": "a text", "number": "a number"}.get(self.kind, "the end")


def tokens(text: str) -> list[Token]:
    """The tokens of an expression; the last is of kind "end".

    Raises:
        FilterError: the expression is longer than `MAX_LENGTH`, a character has no meaning, a text is not closed, or a
            number is not finite.

    >>> [token.text or token.number for token in tokens("price_minor <= 5")]
    ['price_minor', '<=', 5.0, 'end']
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(
            f"the filter has {len(text):,} characters; at most {MAX_LENGTH:,} are read",
            MAX_LENGTH + 1,
            f"at most {MAX_LENGTH:,} characters",
        )
    return [*_read(text), Token("end", "end", len(text) + 1)]


def _read(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token, at = _next(text, at)
        yield token


def _next(text: str, at: int) -> tuple[Token, int]:
    first = text[at]
    if first in _QUOTES or first == _NAME_QUOTE:
        content, end = _quoted(text, at)
        return Token("name" if first == _NAME_QUOTE else "text", content, at + 1), end
    if first.isalpha() or first == "_":
        return _name(text, at)
    for sign in _SIGNS:
        if text.startswith(sign, at):
            return Token("sign", sign, at + 1), at + len(sign)
    found = _NUMBER.match(text, at)
    if found is not None:
        return _number(text, at, found.end())
    raise _unread(at, "a name, a value, a comparison or a parenthesis", "a character that means nothing here")


def _name(text: str, at: int) -> tuple[Token, int]:
    end = at + 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    name = text[at:end]
    word = name.lower()
    return (Token("word", word, at + 1) if word in _WORDS else Token("name", name, at + 1)), end


def _quoted(text: str, at: int) -> tuple[str, int]:
    """The content of a text from its opening quote on; a quote within it, and a backslash, stand behind a backslash."""
    parts: list[str] = []
    quote, here = text[at], at + 1
    while here < len(text):
        if text[here] == quote:
            return "".join(parts), here + 1
        if text[here] == "\\":
            here += 1
            if here == len(text) or text[here] not in (quote, "\\"):
                raise _unread(here - 1, f"{quote} or \\ behind a backslash", "something else")
        parts.append(text[here])
        here += 1
    raise _unread(at, f"a closing {quote}", "the end")


def _number(text: str, at: int, end: int) -> tuple[Token, int]:
    if end < len(text) and (text[end].isalnum() or text[end] in "_."):
        raise _unread(end, "the end of the number", "more of it; a text needs quotes")
    number = float(text[at:end])
    if not math.isfinite(number):
        raise _unread(at, "a number that a computer can hold", "one that is too large")
    return Token("number", "", at + 1, number), end


def _unread(at: int, expected: str, found: str) -> FilterError:
    return FilterError(
        f"the filter cannot be read at character {at + 1}: expected {expected}, found {found}", at + 1, expected
    )
