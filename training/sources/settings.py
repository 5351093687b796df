"""The one check that the settings of sources share."""

from __future__ import annotations

import math
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol

from features.errors import ConfigurationError

__all__ = ["check_positive"]


class _Settings(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def check_positive(settings: _Settings, where: str, *, zero: tuple[str, ...] = ()) -> None:
    """Every number of a settings dataclass is finite and above 0; those named in `zero` may be 0.

    Raises:
        ConfigurationError: one is not.
    """
    for item in fields(settings):
        number = getattr(settings, item.name)
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if not (math.isfinite(number) and (number > 0 or (number == 0 and item.name in zero))):
            raise ConfigurationError(f"{where}.{item.name} is {number}; write a number above 0")
