"""A recipe: how the slates of one placement are made, from which sources, by which rules, to what end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from features.errors import ConfigurationError
from features.settings import read_settings, read_toml
from serving.exploration import ExplorationSettings
from serving.objective import Objective, ObjectiveWeights
from serving.slate_rules import SlateRules

__all__ = [
    "Asking",
    "Objective",
    "ObjectiveWeights",
    "Recipe",
    "load_recipe",
    "load_recipes",
    "read_recipes",
    "shipped_recipes",
]

_SUFFIX = ".toml"
_LONGEST = 1_000
_MOST_PROPOSED = 10_000
_LARGEST_WEIGHT = 100.0


@dataclass(frozen=True)
class Asking:
    """How a candidate source is asked.

    Attributes:
        weight: multiplies the weight chosen in training; 0 leaves the source out.
        limit: items it proposes, or None for as many as the recommender's settings say.
    """

    weight: float = 1.0
    limit: int | None = None

    def __post_init__(self) -> None:
        _check("sources.weight", self.weight, 0.0, _LARGEST_WEIGHT)
        if self.limit is not None:
            _check("sources.limit", self.limit, 1, _MOST_PROPOSED)


@dataclass(frozen=True)
class Recipe:
    """How the slates of one placement are made.

    Attributes:
        name: of the placement; that of its file.
        k: items of a list where the request does not say.
        sources: changes to how sources are asked, by name; one that is not named is asked as it was fitted.
        rules: between ranked candidates and the list; what is left out for being owned, seen or bought lately too.
        objective: what counts beside relevance.
        exploration: positions at which an item is drawn, so that something is learnt; none unless named.

    Raises:
        ConfigurationError: a number is out of its range, or the rules cannot be followed.
    """

    name: str
    k: int = 20
    sources: Mapping[str, Asking] = field(default_factory=dict)
    rules: SlateRules = field(default_factory=SlateRules)
    objective: Objective = field(default_factory=Objective)
    exploration: ExplorationSettings = field(default_factory=ExplorationSettings)

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigurationError("recipe: the name is no plain word; call the file by letters, digits and _")
        _check("k", self.k, 1, _LONGEST)

    def to_manifest(self) -> dict[str, Any]:
        """As JSON can hold it; what is None is left out, as in a file."""
        written: dict[str, Any] = asdict(
            self, dict_factory=lambda pairs: {k: one for k, one in pairs if one is not None}
        )
        return written

    def asking(self, source: str) -> Asking:
        """How a source is asked."""
        return self.sources.get(source, Asking())


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with Holdfast."""
    names = (entry.name for entry in (resources.files("serving") / "recipes").iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def load_recipe(name: str, folder: Path | None = None) -> Recipe:
    """The recipe of a placement: the project's own file `<folder>/<name>.toml` where there is one, else the shipped.

    Raises:
        ConfigurationError: there is neither, it is not TOML, or a key is unknown or wrong; the message names it.
    """
    own = {} if folder is None else _files(folder)
    if name in own:
        return _read(own[name])
    if name in shipped_recipes():
        with resources.as_file(resources.files("serving") / "recipes" / f"{name}{_SUFFIX}") as path:
            return _read(path)
    known = ", ".join(sorted({*shipped_recipes(), *own}))
    raise ConfigurationError(f"there is no recipe of that name; known: {known}, or put one into the recipes folder")


def load_recipes(folder: Path | None = None) -> dict[str, Recipe]:
    """Every recipe, shipped and of the project, by name.

    Raises:
        ConfigurationError: as `load_recipe`.
    """
    own = {} if folder is None else _files(folder)
    return {name: load_recipe(name, folder) for name in sorted({*shipped_recipes(), *own})}


def read_recipes(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Recipe]:
    """The recipes of a manifest, by name, as `Recipe.to_manifest` wrote them.

    Raises:
        ConfigurationError: one is not a recipe; the message names it.
    """
    return {name: read_settings(Recipe, one, f"recipe {name}") for name, one in written.items()}


def _files(folder: Path) -> dict[str, Path]:
    """The recipes of a folder; one that is not there holds none."""
    return {path.stem: path for path in sorted(folder.glob(f"*{_SUFFIX}"))}


def _read(path: Path) -> Recipe:
    try:
        return read_settings(Recipe, {"name": path.stem, **read_toml(path)}, "recipe")
    except ConfigurationError as error:
        raise ConfigurationError(f"{path.name}: {error}") from None


def _check(name: str, number: float, low: float, high: float) -> None:
    if not (math.isfinite(number) and low <= number <= high):
        raise ConfigurationError(f"recipe: {name} is {number:g}; write a number from {low:g} to {high:g}")
