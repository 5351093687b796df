"""Settings are frozen dataclasses beside the code that uses them; this reads them from a mapping, once.

An unknown key is refused by name, a wrong type is refused with the key and the type that is wanted.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from features.errors import ConfigurationError

__all__ = ["read_settings", "read_toml"]

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigurationError: the file is missing or is not TOML; the message names it and the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {path.name}; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name} is not TOML: {error}") from None


def read_settings(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A settings dataclass from a mapping; nested dataclasses from nested mappings, lists become tuples.

    Raises:
        ConfigurationError: a key is unknown, missing or of another type; the message names it.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Window:
    ...     days: int = 90
    >>> read_settings(Window, {"days": 30})
    Window(days=30)
    >>> read_settings(Window, {"dais": 30}, "churn")
    Traceback (most recent call last):
    ...
    features.errors.ConfigurationError: unknown setting churn.dais; known here: days
    """
    if not (dataclasses.is_dataclass(kind) and isinstance(kind, type)):
        raise TypeError(f"{kind!r} is not a settings dataclass")
    known = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in known:
            raise ConfigurationError(f"unknown setting {prefix}{key}; known here: {', '.join(known)}")
    hints = typing.get_type_hints(kind)
    given = {key: _convert(hints[key], value, prefix + key) for key, value in values.items()}
    missing = [
        name
        for name, field in known.items()
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigurationError(f"missing setting {prefix}{missing[0]}; write a value for it")
    return kind(**given)


def _convert(hint: Any, value: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert(next(a for a in arguments if a is not type(None)), value, name)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"setting {name} must be a table")
        return read_settings(hint, value, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigurationError(f"setting {name} must be a list")
        return tuple(_convert(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"setting {name} must be a table")
        return {str(key): _convert(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    return _scalar(hint, value, name)


def _scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is Any:
        return value
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigurationError(f"setting {name} must be {hint.__name__}, not {type(value).__name__}")
    return value
