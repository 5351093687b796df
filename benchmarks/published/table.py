"""What a published table is to the command that prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class PublishedTable:
    """A table measured here, beside what was published.

    Attributes:
        name: of the file of results.
        title: protocol and size.
        rows: sources, baselines, the blend and what was published, with the same keys.
        notes: how it was made.
        limits: what ours is held to, in words, and whether it is kept.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    limits: Mapping[str, bool]


class DataSet(Protocol):
    """A module of this package."""

    FOLDER: str
    """Where the files are by default, under ../shared/data."""

    def run(self, folder: Path) -> PublishedTable:
        """The table of the files in a folder; those of another shop in the same form are not held to the limits."""
