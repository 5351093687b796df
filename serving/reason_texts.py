"""A customer's value and their usual as a sentence, in a language: numbers, plurals, money and percent as people write.

Values are told column by column, so that many customers cost little more than the strings themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt

from features.importing.money import EXPONENTS
from serving.languages import Language
from serving.reason_catalogue import FeatureWords, Phrases, Unit, catalogue

__all__ = ["Shown", "percent", "shower", "tell"]

_ONE_DECIMAL_BELOW = 10.0
_HOURS_FROM_MINUTES = 120.0
_DAYS_FROM_HOURS = 72.0
_MONTHS_FROM_DAYS = 61.0
_YEARS_FROM_DAYS = 731.0
_DAYS_A_MONTH, _DAYS_A_YEAR = 30.4375, 365.25
_SAME_BELOW = 0.005


@dataclass(frozen=True)
class Shown:
    """A value as it is said: `text` with its unit, `number` alone (the text again where the unit is not fixed)."""

    text: str
    number: str


Shower = Callable[[float], Shown]


@cache
def shower(unit: Unit, language: Language, currency: str | None = None) -> Shower:
    """How values of a unit are shown. Money without a currency, or in an unknown one, has two decimals.

    >>> from serving.reason_catalogue import catalogue
    >>> shower(catalogue().units["orders"], "en")(1.0).text
    '1 order'
    >>> shower(catalogue().units["money"], "en", "GBP")(123450).text
    '£1,234.50'
    """
    units = catalogue().units
    if unit.kind == "money":
        return _money(currency, language)
    if unit.kind == "percent":
        return lambda value: _alone(percent(value))
    if unit.kind == "hours":
        days = _counted(units["days"], language, _whole)
        hours = _counted(unit, language, _number)
        return _scaled(lambda value: days(value / 24) if abs(value) >= _DAYS_FROM_HOURS else hours(value))
    if unit.kind == "minutes":
        longer, minutes = shower(units["hours"], language), _counted(unit, language, _whole)
        return _scaled(lambda value: longer(value / 60) if abs(value) >= _HOURS_FROM_MINUTES else minutes(value))
    if unit.kind == "tenure":
        return _tenure(unit, language)
    return _counted(unit, language, _whole if unit.kind == "whole" else _number)


def percent(share: float) -> str:
    """A share in percent, with a decimal below one percent.

    >>> percent(0.183), percent(0.0042), percent(0.0)
    ('18%', '0.4%', '0%')
    """
    hundredfold = 100.0 * share
    if 0.05 <= abs(hundredfold) < 0.95:
        return f"{hundredfold:.1f}%"
    return f"{_rounded(hundredfold):,.0f}%"


def _rounded(value: float) -> float:
    return round(value) + 0.0


def _whole(value: float) -> str:
    return f"{_rounded(value):,.0f}"


def _number(value: float) -> str:
    nearest = round(value, 1) + 0.0
    if abs(nearest) >= _ONE_DECIMAL_BELOW or nearest == round(nearest):
        return _whole(value if abs(nearest) >= _ONE_DECIMAL_BELOW else nearest)
    return f"{nearest:.1f}"


def _alone(text: str) -> Shown:
    return Shown(text, text)


def _scaled(shown: Shower) -> Shower:
    """The unit changes with the size, so the number is never said without it."""
    return lambda value: _alone(shown(value).text)


def _counted(unit: Unit, language: Language, number: Callable[[float], str]) -> Shower:
    nouns = (unit.zh, unit.zh) if language == "zh" else unit.en
    singular, plural = (f" {noun}" if noun else "" for noun in nouns)

    def shown(value: float) -> Shown:
        said = number(value)
        return Shown(said + (singular if said == "1" else plural), said)

    return shown


def _money(currency: str | None, language: Language) -> Shower:
    exponent = EXPONENTS.get(currency or "", 2)
    sign = catalogue().shared["currency"][language].get(currency or "", f"{currency} " if currency else "")
    return lambda value: _alone(f"{sign}{_rounded(value) / 10**exponent:,.{exponent}f}")


def _tenure(unit: Unit, language: Language) -> Shower:
    units = catalogue().units
    days, months = _counted(unit, language, _whole), _counted(units["months"], language, _whole)
    years = _counted(units["years"], language, _number)

    def shown(value: float) -> Shown:
        if value < _MONTHS_FROM_DAYS:
            return days(value)
        return months(value / _DAYS_A_MONTH) if value < _YEARS_FROM_DAYS else years(value / _DAYS_A_YEAR)

    return _scaled(shown)


def tell(
    words: FeatureWords,
    language: Language,
    values: npt.NDArray[np.float64],
    usuals: npt.NDArray[np.float64],
    own: npt.NDArray[np.bool_],
    *,
    currency: str | None = None,
    categories: Sequence[str] | None = None,
) -> list[str]:
    """A sentence for each of n customers about one feature.

    values, usuals: float64 (n,), NaN is missing; own: bool (n,), whether the usual is the customer's own; categories:
    the texts of the codes 0, 1, ... where the values are such.
    """
    phrases = words.phrases[language]
    if words.unit is not None and words.unit.kind == "trend":
        return [_trend(phrases, value) for value in values.tolist()]
    shown = _category(categories) if categories is not None else shower(words.unit or _PLAIN, language, currency)
    ends = _Ends(phrases, shown, cast("str", catalogue().shared["join"][language]))
    return [
        _sentence(phrases, shown, ends, value, usual, mine)
        for value, usual, mine in zip(values.tolist(), usuals.tolist(), own.tolist(), strict=True)
    ]


_PLAIN = Unit("number", ("", ""), "")


def _category(categories: Sequence[str]) -> Shower:
    def shown(value: float) -> Shown:
        place = int(value)
        return _alone(categories[place] if 0 <= place < len(categories) else "")

    return shown


def _sentence(phrases: Phrases, shown: Shower, ends: _Ends, value: float, usual: float, own: bool) -> str:
    if math.isnan(value):
        return phrases["missing"].format() + (ends.of(usual, own=True) if own else "")
    said = shown(value)
    as_zero = value == 0 or (said.number == "0" and "{value" in phrases["text"])  # else it does not show as 0
    if as_zero and "zero" in phrases:
        text = phrases["zero"]
    elif value < 0 and "negative" in phrases:
        text = phrases["negative"].format(value=shown(-value).text)
    else:
        chosen = phrases["one"] if said.number == "1" and "one" in phrases else phrases["text"]
        text = chosen.format(value=said.text, value_n=said.number)
    return text + ends.of(usual, own=own, value=said)


class _Ends:
    """What is said of the usual behind the sentence. Usuals of other customers are few: each is said once."""

    def __init__(self, phrases: Phrases, shown: Shower, join: str) -> None:
        self._phrases, self._shown, self._join = phrases, shown, join
        self._said: dict[tuple[float, bool], tuple[Shown, str]] = {}

    def of(self, usual: float, *, own: bool, value: Shown | None = None) -> str:
        """Nothing where there is no usual, or where it is that of others and shows as the value does."""
        if math.isnan(usual):
            return ""
        found = self._said.get((usual, own))
        if found is None:
            said = self._shown(usual)
            found = self._said[usual, own] = said, self._end(said, own=own)
        said, end = found
        return "" if value == said and not own else end

    def _end(self, said: Shown, *, own: bool) -> str:
        name = "own" if own else "others"
        if own and said.number in ("0", "1") and "own_one" in self._phrases:
            name = "own_one"
        phrase = self._phrases.get(name, "")
        return self._join + phrase.format(usual=said.text, usual_n=said.number) if phrase else ""


def _trend(phrases: Mapping[str, str], value: float) -> str:
    if math.isnan(value):
        return phrases["missing"]
    if value <= -1 or value >= 1:
        return phrases["stopped" if value < 0 else "new"]
    change = 2 * value / (1 - value)
    if abs(change) < _SAME_BELOW:
        return phrases["same"]
    return phrases["fell" if change < 0 else "rose"].format(value=percent(abs(change)))
