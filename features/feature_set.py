"""Features as declared: a name, an expression, what missing means, what it may be used for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from features.errors import ConfigurationError
from features.expressions import Expression

__all__ = ["PURPOSES", "Feature", "FeatureSet", "ModelInputs"]

PURPOSES = ("churn", "recommend")
"""What a feature may be used for; a customer's consent is given or withdrawn by purpose."""


class ModelInputs(Protocol):
    """What a model reads, in order: features of an event log (`FeatureSet`) or of a table (`TableFeatures`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""

    def to_manifest(self) -> dict[str, Any]:
        """The definition as JSON."""

    def fingerprint(self) -> str:
        """sha256 of what decides the values."""


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: derived from what, unit and window, such as `orders_count_90d`.
        expression: how it is computed; see `features.expressions` for the windows' ends.
        unit: of the value, such as `orders`, `days`, `minor`, `share`.
        missing: what NaN means, or "never" where the value is always there.
        meaning: one sentence for people.
        group: what it is about, for the catalogue and for reasons.
        purposes: what it may be used for.
        version: raised whenever the same name means something new.
    """

    name: str
    expression: Expression
    unit: str
    missing: str
    meaning: str
    group: str
    purposes: tuple[str, ...] = ("churn",)
    version: int = 1

    def manifest(self) -> dict[str, Any]:
        """All that decides the values, as JSON."""
        return {
            "name": self.name,
            "expression": repr(self.expression),
            "dtype": "float64",
            "unit": self.unit,
            "missing": self.missing,
            "purposes": list(self.purposes),
            "version": self.version,
        }


@dataclass(frozen=True)
class FeatureSet:
    """Named features in a fixed order.

    Raises:
        ConfigurationError: two features have the same name, or a purpose is unknown.
    """

    name: str
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ConfigurationError(f"feature {min(twice)} is declared twice in {self.name}; rename one")
        for feature in self.features:
            unknown = set(feature.purposes) - set(PURPOSES)
            if unknown:
                raise ConfigurationError(f"feature {feature.name} has the unknown purpose {min(unknown)}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of the columns."""
        return tuple(feature.name for feature in self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)

    def to_manifest(self) -> dict[str, Any]:
        """The definition as JSON: names, order, expressions with their windows, dtypes and versions."""
        return {"name": self.name, "features": [feature.manifest() for feature in self.features]}

    def fingerprint(self) -> str:
        """sha256 of the manifest: two sets with one fingerprint compute the same table."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(self.to_manifest(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
