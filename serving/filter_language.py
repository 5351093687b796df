"""A small language to choose items by their attributes: read by hand, never evaluated as code.

    expression := all ("or" all)*
    all        := one ("and" one)*
    one        := "not" one | "(" expression ")" | test
    test       := name ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                | name ["not"] "in" "(" value ("," value)* ")"
                | name "is" ["not"] "missing"
    value      := text in quotes | number | true | false

`not` binds closest, then `and`, then `or`. The language's own words may be written in large letters; names and texts
are as written. A name that is no plain word stands in `backquotes`.

**Missing values.** Every comparison with a missing value is false: `brand = "Uno"`, `brand != "Uno"`, `brand in (...)`
and `brand not in (...)` all leave an item without a brand out. `brand is missing` asks. `not (brand = "Uno")` is true
of everything of which `brand = "Uno"` is false, so of an item without a brand too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from features.errors import FilterError
from serving.filter_tokens import MAX_LENGTH, Token, tokens

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MAX_TERMS",
    "AllOf",
    "AnyOf",
    "Comparison",
    "Expression",
    "Filter",
    "Membership",
    "Missing",
    "Not",
    "Test",
    "parse_filter",
]

MAX_DEPTH = 32
"""Deepest nesting of parentheses and `not`."""
MAX_TERMS = 200
"""Most values and tests for missing values in one expression."""

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = str | float | bool

_OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")
_ORDERED = frozenset({"<", "<=", ">", ">="})
_MOST_NAMED = 40


@dataclass(frozen=True)
class Comparison:
    """An attribute beside one value; `position` is that of the name, counted from 1, here and below."""

    attribute: str
    operator: Operator
    value: Value
    position: int


@dataclass(frozen=True)
class Membership:
    """An attribute in (or, negated, not in) a list of values."""

    attribute: str
    values: tuple[Value, ...]
    negated: bool
    position: int


@dataclass(frozen=True)
class Missing:
    """Whether an attribute is missing (or, negated, there)."""

    attribute: str
    negated: bool
    position: int


@dataclass(frozen=True)
class Not:
    """What its part is not."""

    part: Expression


@dataclass(frozen=True)
class AllOf:
    """What holds where every part holds."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """What holds where at least one part holds."""

    parts: tuple[Expression, ...]


Test = Comparison | Membership | Missing
Expression = Test | Not | AllOf | AnyOf


@dataclass(frozen=True)
class Filter:
    """An expression that was read: its text, and its meaning."""

    text: str
    root: Expression

    def check(self, attributes: Mapping[str, str]) -> None:
        """Whether the attributes are there and of the kind that each test needs.

        Args:
            attributes: name -> "text", "number" or "flag".

        Raises:
            FilterError: a name is unknown, or a value is of another kind; the message lists what is known.
        """
        for test in _tests(self.root):
            _check(test, attributes)


def parse_filter(text: str, attributes: Mapping[str, str] | None = None) -> Filter:
    """Read an expression; with `attributes`, hold it to them as `Filter.check` does.

    Raises:
        FilterError: it is too long, too deep, has too many terms, or cannot be read. The message names the position
            (characters from 1), what was expected there and, where they are given, the known attributes.

    >>> parse_filter('brand = "Uno" and price_minor < 500').root.parts[1].value
    500.0
    >>> parse_filter("brand =")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    features.errors.FilterError: the filter cannot be read at character 8: expected a text in quotes, a number, ...
    """
    try:
        found = Filter(text, _Parser(tokens(text)).whole())
    except FilterError as error:
        if attributes is None:
            raise
        raise FilterError(f"{error}; {_known(attributes)}", error.position, error.expected) from None
    if attributes is not None:
        found.check(attributes)
    return found


class _Parser:
    """Recursive descent; each nesting is counted, so that the depth of Python's own calls is bounded."""

    def __init__(self, read: list[Token]) -> None:
        self._read = read
        self._at = 0
        self._terms = 0

    def whole(self) -> Expression:
        found = self._expression(0)
        if self._here.kind != "end":
            raise self._unexpected('"and", "or" or the end')
        return found

    @property
    def _here(self) -> Token:
        return self._read[self._at]

    def _take(self, kind: str, text: str) -> bool:
        taken = self._here.kind == kind and self._here.text == text
        self._at += taken
        return taken

    def _expression(self, depth: int) -> Expression:
        parts = [self._all(depth)]
        while self._take("word", "or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self, depth: int) -> Expression:
        parts = [self._one(depth)]
        while self._take("word", "and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise FilterError(
                f"the filter is nested deeper than {MAX_DEPTH} at character {self._here.position}; use fewer "
                "parentheses and `not`",
                self._here.position,
                f"at most {MAX_DEPTH} parentheses and `not` within each other",
            )
        if self._take("word", "not"):
            return Not(self._one(depth + 1))
        if self._take("sign", "("):
            found = self._expression(depth + 1)
            if not self._take("sign", ")"):
                raise self._unexpected('"and", "or" or ")"')
            return found
        return self._test()

    def _test(self) -> Expression:
        name = self._here
        if name.kind != "name":
            raise self._unexpected('the name of an attribute, "not" or "("')
        self._at += 1
        if self._take("word", "is"):
            return self._missing(name)
        negated = self._take("word", "not")
        if self._take("word", "in"):
            return Membership(name.text, self._values(), negated, name.position)
        if negated:
            raise self._unexpected('"in"')
        for operator in _OPERATORS:
            if self._take("sign", operator):
                return Comparison(name.text, operator, self._value(), name.position)
        raise self._unexpected('a comparison (=, !=, <, <=, >, >=), "in", "not in" or "is missing"')

    def _missing(self, name: Token) -> Expression:
        negated = self._take("word", "not")
        if not self._take("word", "missing"):
            raise self._unexpected('"missing"' if negated else '"missing" or "not missing"')
        self._count(name)
        return Missing(name.text, negated, name.position)

    def _values(self) -> tuple[Value, ...]:
        if not self._take("sign", "("):
            raise self._unexpected('"(" and a list of values')
        values = [self._value()]
        while self._take("sign", ","):
            values.append(self._value())
        if not self._take("sign", ")"):
            raise self._unexpected('"," or ")"')
        return tuple(values)

    def _value(self) -> Value:
        token = self._here
        self._count(token)
        if token.kind == "text":
            self._at += 1
            return token.text
        if token.kind == "number":
            self._at += 1
            return token.number
        for word in ("true", "false"):
            if self._take("word", word):
                return word == "true"
        raise self._unexpected("a text in quotes, a number, true or false")

    def _count(self, token: Token) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise FilterError(
                f"the filter has more than {MAX_TERMS} terms at character {token.position}; ask for less at once",
                token.position,
                f"at most {MAX_TERMS} terms",
            )

    def _unexpected(self, expected: str) -> FilterError:
        here = self._here
        return FilterError(
            f"the filter cannot be read at character {here.position}: expected {expected}, found {here.described()}",
            here.position,
            expected,
        )


def _tests(expression: Expression) -> Iterator[Test]:
    if isinstance(expression, Not):
        yield from _tests(expression.part)
    elif isinstance(expression, AllOf | AnyOf):
        for part in expression.parts:
            yield from _tests(part)
    else:
        yield expression


def _check(test: Test, attributes: Mapping[str, str]) -> None:
    kind = attributes.get(test.attribute)
    if kind is None:
        raise FilterError(
            f"the filter asks at character {test.position} for an attribute that items do not have; "
            f"{_known(attributes)}",
            test.position,
            "the name of an attribute",
        )
    if isinstance(test, Comparison) and test.operator in _ORDERED and kind != "number":
        expected = "=, !=, in, not in or is missing"
        raise FilterError(
            f"the filter asks for an order at character {test.position}, of an attribute that is a {kind}; expected "
            f"{expected}; {_known(attributes)}",
            test.position,
            expected,
        )
    values = () if isinstance(test, Missing) else (test.value,) if isinstance(test, Comparison) else test.values
    if any(_kind_of(value) != kind for value in values):
        expected = {"text": "a text in quotes", "number": "a number", "flag": "true or false"}[kind]
        raise FilterError(
            f"the filter compares at character {test.position} an attribute that is a {kind} with something else; "
            f"expected {expected}; {_known(attributes)}",
            test.position,
            expected,
        )


def _kind_of(value: Value) -> str:
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def _known(attributes: Mapping[str, str]) -> str:
    named = [f"{name} ({kind})" for name, kind in list(attributes.items())[:_MOST_NAMED]]
    more = len(attributes) - len(named)
    return f"known attributes: {', '.join(named)}{f' and {more} more' if more else ''}"
