"""Read JSON of an artefact and trust nothing in it: wrong types and non-finite numbers are refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = [
    "flag",
    "nullable_numbers",
    "number",
    "numbers",
    "read_object",
    "section",
    "text",
    "texts",
    "whole",
    "wholes",
    "write_object",
]


def write_object(content: Mapping[str, object]) -> bytes:
    """The bytes of a JSON object: sorted keys, indented, UTF-8; equal content gives equal bytes."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ArtefactError: the bytes are not UTF-8 JSON, not an object, hold a key twice, or hold NaN or Infinity.
    """

    def refuse(constant: str) -> NoReturn:
        raise ArtefactError(f"{what} holds {constant}; every number must be finite")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ArtefactError(f"{what} holds a key twice")
        return found

    try:
        content = json.loads(data.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ArtefactError(f"{what} is not JSON; it is truncated or was altered") from None
    if not isinstance(content, dict):
        raise ArtefactError(f"{what} is not a JSON object")
    return content


def section(content: Mapping[str, Any], key: str, what: str) -> dict[str, Any]:
    """The object under `key`."""
    value = content.get(key)
    if not isinstance(value, dict):
        raise ArtefactError(f"{what} needs an object {key}")
    return value


def text(content: Mapping[str, Any], key: str, what: str) -> str:
    """The text under `key`, not empty."""
    value = content.get(key)
    if not isinstance(value, str) or not value:
        raise ArtefactError(f"{what} needs a text {key}")
    return value


def number(content: Mapping[str, Any], key: str, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    """The finite number under `key`, within `[low, high]`."""
    value = content.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ArtefactError(f"{what} needs a finite number {key}")
    if not low <= value <= high:
        raise ArtefactError(f"{what} has {key} = {value}; it must lie from {low} to {high}")
    return float(value)


def whole(content: Mapping[str, Any], key: str, what: str, low: int, high: int) -> int:
    """The whole number under `key`, within `[low, high]`."""
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ArtefactError(f"{what} needs a whole number {key} from {low} to {high}")
    return value


def wholes(content: Mapping[str, Any], key: str, what: str, low: int, high: int) -> tuple[int, ...]:
    """The list of whole numbers under `key`, each from `low` to `high`."""
    value = content.get(key)
    if not isinstance(value, list):
        raise ArtefactError(f"{what} needs a list of whole numbers {key}")
    return tuple(whole({key: item}, key, what, low, high) for item in value)


def flag(content: Mapping[str, Any], key: str, what: str) -> bool:
    """The true or false under `key`."""
    value = content.get(key)
    if not isinstance(value, bool):
        raise ArtefactError(f"{what} needs true or false in {key}")
    return value


def texts(content: Mapping[str, Any], key: str, what: str) -> tuple[str, ...]:
    """The list of texts under `key`."""
    value = content.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ArtefactError(f"{what} needs a list of texts {key}")
    return tuple(value)


def nullable_numbers(content: Mapping[str, Any], key: str, what: str) -> npt.NDArray[np.float64]:
    """The list of finite numbers under `key`, float64; null becomes NaN."""
    value = content.get(key)
    if not isinstance(value, list):
        raise ArtefactError(f"{what} needs a list of numbers {key}")
    for item in value:
        if item is not None and (not isinstance(item, int | float) or isinstance(item, bool)):
            raise ArtefactError(f"{what} has something else than a number in {key}")
    found = np.array([math.nan if item is None else float(item) for item in value], dtype=np.float64)
    if np.isinf(found).any():
        raise ArtefactError(f"{what} has an infinite number in {key}")
    return found


def numbers(content: Mapping[str, Any], key: str, what: str) -> npt.NDArray[np.float64]:
    """The list of finite numbers under `key`, float64; null is refused."""
    found = nullable_numbers(content, key, what)
    if np.isnan(found).any():
        raise ArtefactError(f"{what} has a missing number in {key}")
    return found
