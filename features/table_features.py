"""What a table of customers says of each: columns as they are learnt, with their kinds and categories, described."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

from features.errors import ArtefactError

__all__ = ["ColumnKind", "LeftOut", "TableColumn", "TableFeatures"]

ColumnKind = Literal["number", "category", "flag", "date"]
"""How a column is learnt: a number; one of a few texts; yes or no; a date, as days from it to the scoring."""

_FORMAT = 1
_WHAT = "the description of the table"
_SHOWN = 4


@dataclass(frozen=True)
class TableColumn:
    """A column that is learnt from. categories: the texts of the codes 0, 1, ... of a category or a flag."""

    name: str
    kind: ColumnKind
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        coded = self.kind in {"category", "flag"}
        if coded != bool(self.categories) or len(set(self.categories)) != len(self.categories):
            raise ArtefactError(f"{_WHAT}: a {self.kind} column has {len(self.categories)} categories, or one twice")

    @property
    def feature(self) -> str:
        """What the feature is called: as the column, but for a date.

        >>> TableColumn("signup", "date").feature
        'signup (days ago)'
        """
        return f"{self.name} (days ago)" if self.kind == "date" else self.name

    @property
    def meaning(self) -> str:
        """What its values are, for people.

        >>> TableColumn("Contract", "category", ("Month-to-month", "One year")).meaning
        'one of 2: Month-to-month, One year'
        """
        if self.kind == "category":
            more = f", and {len(self.categories) - _SHOWN} others" if len(self.categories) > _SHOWN else ""
            return f"one of {len(self.categories)}: {', '.join(self.categories[:_SHOWN])}{more}"
        return {"number": "a number", "flag": "yes or no", "date": "days from this date to the scoring"}[self.kind]


@dataclass(frozen=True)
class LeftOut:
    """A column that is not learnt from, and why, in words."""

    name: str
    why: str


@dataclass(frozen=True)
class TableFeatures:
    """The features of a table in their order, the columns left out, and which columns are the id and the label.

    Raises:
        ArtefactError: there is no column, or two features have one name.
    """

    id_column: str
    label_column: str
    churned_value: str
    columns: tuple[TableColumn, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.names)) != len(self.names):
            raise ArtefactError(f"{_WHAT} needs features, each named once")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of the values."""
        return tuple(column.feature for column in self.columns)

    @cached_property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """For each feature whose values are codes, the texts of the codes."""
        return {column.feature: column.categories for column in self.columns if column.categories}

    def __len__(self) -> int:
        return len(self.columns)

    def to_manifest(self) -> dict[str, Any]:
        """The description as JSON values."""
        return {
            "format": _FORMAT,
            "input": "table",
            "id_column": self.id_column,
            "label_column": self.label_column,
            "churned_value": self.churned_value,
            "columns": [
                {"name": c.name, "kind": c.kind, "categories": list(c.categories), "meaning": c.meaning}
                for c in self.columns
            ],
            "left_out": [{"name": one.name, "why": one.why} for one in self.left_out],
        }

    @classmethod
    def from_manifest(cls, manifest: object) -> TableFeatures:
        """The description that `to_manifest` wrote.

        Raises:
            ArtefactError: a part is missing, unknown, or of another type.
        """
        if not isinstance(manifest, Mapping) or (manifest.get("format"), manifest.get("input")) != (_FORMAT, "table"):
            raise ArtefactError(f"{_WHAT} is not of format {_FORMAT}; load it with the version that wrote it")
        columns, left_out = manifest.get("columns"), manifest.get("left_out")
        if not isinstance(columns, list) or not isinstance(left_out, list):
            raise ArtefactError(f"{_WHAT} needs lists of columns and of what was left out")
        return cls(
            id_column=_text(manifest, "id_column"),
            label_column=_text(manifest, "label_column"),
            churned_value=_text(manifest, "churned_value"),
            columns=tuple(_column(one) for one in columns),
            left_out=tuple(LeftOut(_text(one, "name"), _text(one, "why")) for one in left_out),
        )

    def fingerprint(self) -> str:
        """sha256 of what decides the values: two tables with one fingerprint are read alike."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        read = [self.id_column, *((c.name, c.kind, c.categories) for c in self.columns)]
        return hashlib.sha256(json.dumps(read, separators=(",", ":")).encode()).hexdigest()


def _column(written: object) -> TableColumn:
    kind = _text(written, "kind")
    if kind not in get_args(ColumnKind):
        raise ArtefactError(f"{_WHAT} has a column of unknown kind; known: {', '.join(get_args(ColumnKind))}")
    categories = written.get("categories") if isinstance(written, Mapping) else None
    if not isinstance(categories, list) or not all(isinstance(text, str) for text in categories):
        raise ArtefactError(f"{_WHAT} needs a list of texts as the categories of a column")
    return TableColumn(_text(written, "name"), cast("ColumnKind", kind), tuple(categories))


def _text(written: object, key: str) -> str:
    value = written.get(key) if isinstance(written, Mapping) else None
    if not isinstance(value, str):
        raise ArtefactError(f"{_WHAT} needs a text {key}")
    return value
