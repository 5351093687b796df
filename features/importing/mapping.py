"""A mapping: which of a source's columns mean what. Frozen dataclasses, read from TOML; unknown keys are refused."""

from __future__ import annotations

import codecs
import zoneinfo
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from features.errors import ConfigurationError
from features.importing.money import EXPONENTS
from features.schema import EVENTS, KINDS
from features.settings import read_settings, read_toml

__all__ = [
    "FORMATS",
    "OPERATORS",
    "CustomerColumns",
    "EventId",
    "ItemColumns",
    "KindRule",
    "KindRules",
    "Mapping",
    "Money",
    "Rule",
    "Source",
    "TimeForm",
    "load_mapping",
    "shipped_mappings",
]

OPERATORS = (
    "equals", "not_equals", "in", "not_in", "starts_with", "matches",
    "lt", "at_most", "gt", "at_least", "is_null", "not_null",
)  # fmt: skip
FORMATS = ("csv", "parquet", "jsonl", "whitespace")
_TARGETS = ("customer_id", *(name for name in EVENTS.names if name not in ("customer_key", "event_id")))
_COMPUTED = ("amount_minor", "discount_minor")


@dataclass(frozen=True)
class Source:
    """How the file is written. `format` is told from the file's name where it is not given.

    `columns` names the columns of a file without a header line. `multiline` allows a quoted CSV value to hold line
    breaks; without it a quote that is open at the end of a line makes that line, and only that line, malformed.
    """

    format: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    multiline: bool = False


@dataclass(frozen=True)
class TimeForm:
    """How times are written: `iso8601`, `unix_s`, `unix_ms`, `unix_us`, or a strptime format such as `%Y%m%d`.

    `zone` (IANA name) is where times without an offset are local; without it they are refused. A date alone is the
    start of its day there. A local time that came twice (clocks set back) is read as the first of the two; one
    that never came (clocks set forward) as the instant at which the clocks moved.
    """

    format: str = "iso8601"
    zone: str | None = None


@dataclass(frozen=True)
class Money:
    """`amount` and `discount` are source columns in major units, or products of two, as in "Price * Quantity"."""

    currency: str | None = None
    amount: str | None = None
    discount: str | None = None


@dataclass(frozen=True)
class Rule:
    """A named condition on one source column. `value` is one value, or a list for `in` and `not_in`."""

    name: str
    column: str
    operator: str
    value: Any = None


@dataclass(frozen=True)
class KindRule:
    """Rows that match are of `kind`; the first rule that matches decides."""

    kind: str
    column: str
    operator: str
    value: Any = None


@dataclass(frozen=True)
class KindRules:
    """How a row's kind is decided: `rules` first, then `column` through `values`, then `constant`."""

    constant: str | None = None
    column: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    rules: tuple[KindRule, ...] = ()


@dataclass(frozen=True)
class EventId:
    """Where event_id comes from: one `column`, or a digest of the content of `columns` (all columns if neither)."""

    column: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemColumns:
    """Source columns from which the item table is filled. `choose`: the `most_frequent` or the `last` value."""

    title: str | None = None
    category: str | None = None
    brand: str | None = None
    choose: str = "most_frequent"


@dataclass(frozen=True)
class CustomerColumns:
    """Source columns from which the customer table is filled; the last value that is not empty counts."""

    country: str | None = None
    segment: str | None = None


@dataclass(frozen=True)
class Mapping:
    """Everything an import needs to know of a source. `columns` and `constants` are keyed by our own names.

    `optional` names our columns whose source column may be absent. `returns_negative` reads the negative quantities
    and amounts of return rows as what they are in other shops' books: positive ones.
    """

    name: str
    columns: dict[str, str]
    description: str = ""
    constants: dict[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    returns_negative: bool = False
    source: Source = field(default_factory=Source)
    time: TimeForm = field(default_factory=TimeForm)
    money: Money = field(default_factory=Money)
    kind: KindRules = field(default_factory=KindRules)
    event_id: EventId = field(default_factory=EventId)
    drop: tuple[Rule, ...] = ()
    keep: tuple[Rule, ...] = ()
    items: ItemColumns | None = None
    customers: CustomerColumns | None = None

    def __post_init__(self) -> None:
        self._check_columns()
        self._check_source()
        self._check_kind()
        self._check_time_and_money()
        for rule in (*self.drop, *self.keep):
            _check_rule(rule, self.name)
        for kind_rule in self.kind.rules:
            _check_rule(kind_rule, self.name)
        if self.items is not None:
            _one_of(self.items.choose, ("most_frequent", "last"), "items.choose")
        if self.event_id.column is not None and self.event_id.columns:
            raise ConfigurationError(f"mapping {self.name}: event_id has a column and columns; choose one")

    def _check_columns(self) -> None:
        for part, names in (("columns", self.columns), ("constants", self.constants), ("optional", self.optional)):
            for name in names:
                _one_of(name, (*_TARGETS, "event_id") if part == "optional" else _TARGETS, f"{part}: a column of ours")
        for needed in ("customer_id", "occurred_at"):
            if needed not in self.columns:
                raise ConfigurationError(f"mapping {self.name}: columns.{needed} is missing; name its source column")
        for name in self.columns:
            if name in self.constants:
                raise ConfigurationError(f"mapping {self.name}: {name} stands under columns and constants; choose one")

    def _check_source(self) -> None:
        try:
            codecs.lookup(self.source.encoding)
        except LookupError:
            raise ConfigurationError(f"mapping {self.name}: source.encoding names no known encoding") from None
        if self.source.format is not None:
            _one_of(self.source.format, FORMATS, "source.format")

    def _check_kind(self) -> None:
        kind = self.kind
        if kind.constant is None and kind.column is None:
            raise ConfigurationError(f"mapping {self.name}: kind needs a constant or a column")
        stated = [*kind.values.values(), *(rule.kind for rule in kind.rules)]
        for name in [*stated, *([kind.constant] if kind.constant is not None else [])]:
            _one_of(name, tuple(KINDS), "kind")

    def _check_time_and_money(self) -> None:
        if self.time.zone is not None:
            try:
                zoneinfo.ZoneInfo(self.time.zone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError):
                raise ConfigurationError(
                    f"mapping {self.name}: time.zone {self.time.zone!r} is no time zone; write one like Europe/London"
                ) from None
        if self.money.currency is not None and self.money.currency not in EXPONENTS:
            raise ConfigurationError(f"mapping {self.name}: money.currency {self.money.currency!r} is not in ISO-4217")
        for name, given in zip(_COMPUTED, (self.money.amount, self.money.discount), strict=True):
            if given is not None and name in self.columns:
                raise ConfigurationError(f"mapping {self.name}: {name} stands under columns and money; choose one")

    def source_columns(self) -> tuple[str, ...]:
        """Every source column that the mapping names and that must be there, in order of mention."""
        named = [source for ours, source in self.columns.items() if ours not in self.optional]
        for product in (self.money.amount, self.money.discount):
            named += factors(product) if product is not None else []
        named += [rule.column for rule in (*self.drop, *self.keep)] + [rule.column for rule in self.kind.rules]
        named += [self.kind.column] if self.kind.column is not None else []
        if "event_id" not in self.optional:
            named += [*self.event_id.columns, *([self.event_id.column] if self.event_id.column is not None else [])]
        for part in (self.items, self.customers):
            if part is not None:
                values = ((f.name, getattr(part, f.name)) for f in fields(part))
                named += [value for name, value in values if name != "choose" and value is not None]
        return tuple(dict.fromkeys(named))

    def all_source_columns(self) -> tuple[str, ...]:
        """Those of `source_columns`, and those that may be absent."""
        optional = [self.columns[ours] for ours in self.optional if ours in self.columns]
        event_id = [*self.event_id.columns, *([self.event_id.column] if self.event_id.column is not None else [])]
        return tuple(dict.fromkeys([*self.source_columns(), *optional, *event_id]))


def factors(product: str) -> list[str]:
    """The one or two source columns of an amount such as "Price * Quantity".

    >>> factors("Price * Quantity")
    ['Price', 'Quantity']
    """
    parts = [part.strip() for part in product.split(" * ")]
    if len(parts) > 2 or not all(parts):
        raise ConfigurationError(f"money {product!r} must be a column, or two columns written as A * B")
    return parts


def shipped_mappings() -> tuple[str, ...]:
    """Names of the mappings that come with Holdfast."""
    folder = resources.files("features") / "mappings"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_mapping(name_or_path: str | Path) -> Mapping:
    """A shipped mapping by its name, or one of your own by the path of its TOML file.

    Raises:
        ConfigurationError: there is none, it is not TOML, or a key is unknown or wrong; the message names it.
    """
    shipped = shipped_mappings()
    if str(name_or_path) in shipped:
        with resources.as_file(resources.files("features") / "mappings" / f"{name_or_path}.toml") as path:
            return read_settings(Mapping, read_toml(path), "mapping")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise ConfigurationError(
            f"there is no mapping {path.name}; shipped: {', '.join(shipped)}, or give a .toml file"
        )
    return read_settings(Mapping, read_toml(path), "mapping")


def _check_rule(rule: Rule | KindRule, mapping: str) -> None:
    _one_of(rule.operator, OPERATORS, "operator")
    many = rule.operator in ("in", "not_in")
    none = rule.operator in ("is_null", "not_null")
    if many != isinstance(rule.value, list) or none != (rule.value is None):
        wanted = "a list" if many else "no value" if none else "one value"
        raise ConfigurationError(f"mapping {mapping}: the rule on {rule.column} with {rule.operator} needs {wanted}")
    if rule.operator in ("lt", "at_most", "gt", "at_least") and not isinstance(rule.value, int | float):
        raise ConfigurationError(f"mapping {mapping}: the rule on {rule.column} with {rule.operator} needs a number")


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise ConfigurationError(f"mapping: {what} is one of {', '.join(allowed)}; not {value!r}")
