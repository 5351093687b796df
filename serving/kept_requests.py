"""What a call wanted of a slate, as its decision keeps it: so that another release can be asked the very same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from features.errors import ArtefactError, ConfigurationError
from features.settings import read_settings
from serving import strict_json
from serving.recipe import Recipe
from serving.storefront import SlateRequest

__all__ = ["kept_request", "request_again"]

_USUAL = SlateRequest()
_EXCLUDE = "exclude"


def kept_request(wanted: SlateRequest, exclude: Mapping[str, Any]) -> str | None:
    """What differs from a call that says nothing, as JSON; None where nothing does.

    Args:
        wanted: by the call; its own exclusions are not read.
        exclude: the exclusions that the call names, the others being those of the recipe.

    >>> kept_request(SlateRequest(8, seed_items=("cup",)), {"owned": True})
    '{"limit": 8, "seed_items": ["cup"], "exclude": {"owned": true}}'
    """
    said = {field.name: getattr(wanted, field.name) for field in fields(wanted) if field.name != _EXCLUDE}
    said = {name: value for name, value in said.items() if value != getattr(_USUAL, name)}
    if exclude:
        said[_EXCLUDE] = dict(exclude)
    return json.dumps(said, default=asdict) if said else None


def request_again(kept: str | None, recipe: Recipe) -> SlateRequest:
    """The call that `kept_request` kept, made of a recipe.

    Raises:
        ArtefactError: it is damaged, or of another version.
    """
    if kept is None:
        return _USUAL
    try:
        said = strict_json.read_object(kept.encode(), "request")
        if _EXCLUDE in said:
            said[_EXCLUDE] = asdict(recipe.rules.exclude) | said[_EXCLUDE]
        return read_settings(SlateRequest, said, "request")
    except (TypeError, ArtefactError, ConfigurationError):
        raise ArtefactError("a decision in the store keeps a request that cannot be read; restore the store") from None
