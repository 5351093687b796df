"""What a shop lays down for the slates of one placement: filter, boosts, pins, sponsored items, exclusions, diversity.

The rules are settings, read from TOML. `serving.rulebook` binds them to a catalogue and `serving.arranging` follows
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from features.errors import ConfigurationError, FilterError
from serving.filter_language import parse_filter

__all__ = [
    "LARGEST_FACTOR",
    "SMALLEST_FACTOR",
    "Boost",
    "Diversity",
    "Exclusions",
    "Pin",
    "Rotation",
    "SlateRules",
    "Sponsored",
]

SMALLEST_FACTOR = 0.1
LARGEST_FACTOR = 10.0
"""Bounds of a boost, and of all boosts of one item together."""

_LAST_POSITION = 1_000
_MOST_BOOSTS = 100
_MOST_SPONSORED = 1_000
_LONGEST_DAYS = 3_650.0


@dataclass(frozen=True)
class Boost:
    """The items that a filter lets through count `factor` times as much: above 1 more, below 1 less.

    `where` is read by the rules that hold the boost, or by who asks for it in a request.
    """

    where: str
    factor: float

    def __post_init__(self) -> None:
        _check_number("boosts.factor", self.factor, SMALLEST_FACTOR, LARGEST_FACTOR)


@dataclass(frozen=True)
class Pin:
    """One item at one position of the list, counted from 1 over all its pages."""

    item_id: str
    position: int

    def __post_init__(self) -> None:
        _check_number("pinned.position", self.position, 1, _LAST_POSITION)


@dataclass(frozen=True)
class Sponsored:
    """Items that somebody pays for.

    Attributes:
        items: ids; such an item is shown in a sponsored place or not at all.
        share: the first n places of a list hold at most `share * n` of them, for every n.
    """

    items: tuple[str, ...] = ()
    share: float = 0.0

    def __post_init__(self) -> None:
        _check_number("sponsored.share", self.share, 0.0, 1.0)
        if len(self.items) > _MOST_SPONSORED:
            raise _refused("sponsored.items", f"{len(self.items):,} long", f"at most {_MOST_SPONSORED:,} items")


@dataclass(frozen=True)
class Exclusions:
    """What the customer does not want to be shown again.

    Attributes:
        owned: leave out what they have ever bought.
        seen: leave out what they have looked at or put into a basket.
        bought_within_days: leave out what they bought within so many days, `[as_of - days, as_of)`; 0 leaves nothing
            out.
    """

    owned: bool = False
    seen: bool = False
    bought_within_days: float = 0.0

    def __post_init__(self) -> None:
        _check_number("exclude.bought_within_days", self.bought_within_days, 0.0, _LONGEST_DAYS)


@dataclass(frozen=True)
class Diversity:
    """How different from each other the items of a list are; see `serving.diversity`.

    Attributes:
        dial: 0 orders by score alone, 1 by difference alone.
        same_category: how much of the similarity of two items is that they share a category; the rest is the cosine of
            their vectors. Without vectors it is all.
    """

    dial: float = 0.0
    same_category: float = 0.5

    def __post_init__(self) -> None:
        _check_number("diversity.dial", self.dial, 0.0, 1.0)
        _check_number("diversity.same_category", self.same_category, 0.0, 1.0)


@dataclass(frozen=True)
class Rotation:
    """An item that was shown n times without a click lately counts `decay ** n` times as much.

    Attributes:
        decay: above 0; 1 changes nothing.
        within_days: impressions count within `[as_of - within_days, as_of)`, after the last click on the item.
    """

    decay: float = 1.0
    within_days: float = 7.0

    def __post_init__(self) -> None:
        _check_number("rotation.decay", self.decay, 0.01, 1.0)
        _check_number("rotation.within_days", self.within_days, 0.0, _LONGEST_DAYS)


@dataclass(frozen=True)
class SlateRules:
    """Everything between ranked candidates and the slate of a placement. Without settings it changes nothing.

    Attributes:
        where: a filter; what it does not let through is not shown, not even pinned or sponsored.
        boosts: factors on the score, stretched to [0, 1]; several of one item are multiplied and then held within
            [0.1, 10].
        pinned: items at fixed positions, where no exclusion takes them out.
        sponsored: paid items and their largest share.
        exclude: what the customer met before.
        diversity: how different the items are.
        rotation: how fast an item that nobody clicks gives way.
        min_relevance: an item whose score, stretched to [0, 1] before boosts, is below this share of the best one is
            not shown; pinned items are.

    Raises:
        ConfigurationError: a number is out of its range, a filter cannot be read, or items or positions repeat.
    """

    where: str = ""
    boosts: tuple[Boost, ...] = ()
    pinned: tuple[Pin, ...] = ()
    sponsored: Sponsored = field(default_factory=Sponsored)
    exclude: Exclusions = field(default_factory=Exclusions)
    diversity: Diversity = field(default_factory=Diversity)
    rotation: Rotation = field(default_factory=Rotation)
    min_relevance: float = 0.0

    def __post_init__(self) -> None:
        if self.where:
            _check_filter("where", self.where)
        for number, boost in enumerate(self.boosts):
            _check_filter(f"boosts[{number}].where", boost.where)
        _check_number("min_relevance", self.min_relevance, 0.0, 1.0)
        if len(self.boosts) > _MOST_BOOSTS:
            raise _refused("boosts", f"{len(self.boosts)} long", f"at most {_MOST_BOOSTS} of them")
        _check_distinct("position", [str(pin.position) for pin in self.pinned])
        _check_distinct("item", [pin.item_id for pin in self.pinned])
        if {pin.item_id for pin in self.pinned} & set(self.sponsored.items):
            raise _refused("pinned", "an item that is sponsored too", "it in one of the two lists")


def _check_distinct(what: str, values: list[str]) -> None:
    if len(set(values)) < len(values):
        raise _refused("pinned", f"twice the same {what}", f"every {what} once")


def _check_filter(name: str, text: str) -> None:
    try:
        parse_filter(text)
    except FilterError as error:
        raise ConfigurationError(f"slate rules: {name}: {error}") from None


def _check_number(name: str, number: float, low: float, high: float) -> None:
    if not (math.isfinite(number) and low <= number <= high):
        raise _refused(name, f"{number:g}", f"a number from {low:g} to {high:g}")


def _refused(name: str, value: str, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"slate rules: {name} is {value}; write {wanted}")
