"""The languages in which people are answered, and which of them a request asks for."""

from __future__ import annotations

import re
from typing import Literal, get_args

__all__ = ["LANGUAGES", "Language", "chosen_language"]

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
"""Every language there are texts in; the first is the default."""

_QUALITY = re.compile(r"[qQ]\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


def chosen_language(accept_language: str | None) -> Language:
    """The language of an answer, by the `Accept-Language` header; the default where it is absent or none fits.

    A range counts for a language by its first subtag, so zh-CN and zh-Hans ask for zh; `*` for every language that is
    not named. The highest weight wins, then what is named first, then the default. What cannot be read is passed over.

    Source: RFC 9110, sections 12.4.2 and 12.5.4.

    >>> chosen_language("zh-CN,zh;q=0.9,en;q=0.8")
    'zh'
    >>> chosen_language("de, en;q=0.5, zh;q=0.4")
    'en'
    >>> chosen_language(None)
    'en'
    """
    weights: dict[str, float] = {}
    for part in (accept_language or "").split(","):
        wanted, _, parameter = part.strip().partition(";")
        weight = _weight(parameter)
        if wanted and weight is not None:
            primary = wanted.strip().lower().partition("-")[0]
            weights[primary] = max(weight, weights.get(primary, 0.0))
    named = [language for primary in weights for language in LANGUAGES if language == primary]
    asked = {language: weights[language] for language in named}
    if "*" in weights:
        asked |= {language: weights["*"] for language in LANGUAGES if language not in asked}
    best = max(asked.values(), default=0.0)
    return next((language for language, weight in asked.items() if weight == best > 0), LANGUAGES[0])


def _weight(parameter: str) -> float | None:
    """The weight of a range, 0 to 1; 1 where none is given, None where it cannot be read.

    >>> _weight(""), _weight("q=0.25"), _weight(" Q = 1.000 "), _weight("q=2"), _weight("level=1")
    (1.0, 0.25, 1.0, None, None)
    """
    if not parameter:
        return 1.0
    found = _QUALITY.fullmatch(parameter.strip())
    return float(found[1]) if found else None
