"""The catalogue of reasons: which features say the same thing, what they say in each language, and what fits it.

Everything is read from `reason_catalogue.toml`, whose head says what each key means. A feature without an entry, as of
a table of contracts, is a reason of its own and is told by its name.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any, Literal, cast

from features.errors import ConfigurationError
from serving.languages import LANGUAGES, Language

__all__ = ["Catalogue", "FeatureWords", "Limit", "ReasonKind", "Role", "Unit", "catalogue", "read_catalogue"]

Role = Literal["cause", "symptom", "context"]
Phrases = Mapping[str, str]
"""Texts by name, such as `text`, `zero`, `own`; the file's head says when each is used."""
Rule = str | float | Mapping[str, str]
"""The customer's own usual, as written: a feature, a number, or `{ rate_of = ... }` or `{ gap_of = ... }`."""

_FILE = "reason_catalogue.toml"
_WINDOW = r"(?:\d+d|all)"
_WINDOW_OF = re.compile(r"_(\d+d|all)(?=_|$)")
_ROLES = ("cause", "symptom", "context")
_UNIT_KINDS = {"number", "whole", "percent", "money", "hours", "minutes", "tenure", "trend"}
_SAID = {"value", "value_n", "usual", "usual_n", "window", "days", "twice", "what", "name"}
_COMPARED = {"usual", "usual_n"}
_PHRASES = {"text", "zero", "one", "negative", "missing", "own", "own_one", "others", "what"}
_REASON_KEYS = {"code", "role", "controllable", "actions", "resolved", "feature"}
_FEATURE_KEYS = {"name", "unit", "usual", "trouble", "resolved", "as", *LANGUAGES}
_LIMITS = {"trouble": {"above", "at_most"}, "resolved": {"set", "at_most", "at_least"}}
_LIMIT_WORDS = {"usual", "typical"}


@dataclass(frozen=True)
class ReasonKind:
    """A kind of reason. `actions` fit it, best first; `resolved` says, by language, what the what-if supposes."""

    code: str
    role: Role
    controllable: bool
    actions: tuple[str, ...]
    resolved: Phrases = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """How a value is shown: its kind, singular and plural in English, the measure word in Chinese."""

    kind: str
    en: tuple[str, str]
    zh: str


@dataclass(frozen=True)
class Limit:
    """A limit of a value. kind: `above`, `at_most`, `at_least`, or `set`; `to`: a number, `usual` or `typical`."""

    kind: str
    to: float | str


@dataclass(frozen=True)
class FeatureWords:
    """What one feature says, its window put in.

    unit: None where the feature has no entry. usual: the rule of the customer's own usual. trouble: where a cause
    shows.
    resolved: what the what-if makes of the value, None to keep it. told_as: the feature whose texts are used.
    window_days: None for none or all. phrases: by language.
    """

    name: str
    kind: ReasonKind
    unit: Unit | None
    usual: Rule | None
    trouble: Limit | None
    resolved: Limit | None
    told_as: str
    window_days: int | None
    phrases: Mapping[Language, Phrases]


@dataclass(frozen=True)
class Catalogue:
    """The whole file, checked. `kinds` in its order; `shared`: the texts that belong to no feature, by section."""

    kinds: tuple[ReasonKind, ...]
    units: Mapping[str, Unit]
    shared: Mapping[str, Mapping[Language, Any]]
    _entries: tuple[tuple[re.Pattern[str], ReasonKind, Mapping[str, Any]], ...] = field(repr=False)

    def words(self, feature: str) -> FeatureWords:
        """What a feature says; where no entry fits, it is told by its name and is a reason of its own."""
        for pattern, kind, entry in self._entries:
            if pattern.fullmatch(feature):
                return self._of_entry(feature, kind, entry)
        kind = ReasonKind("_".join(feature.split()), "context", controllable=False, actions=())
        phrases = {language: self._plain(language, feature) for language in LANGUAGES}
        return FeatureWords(feature, kind, None, None, None, None, feature, None, phrases)

    def _plain(self, language: Language, feature: str) -> dict[str, str]:
        name = feature.replace("{", "{{").replace("}", "}}")
        return {phrase: text.replace("{name}", name) for phrase, text in self.shared["plain"][language].items()}

    def _of_entry(self, feature: str, kind: ReasonKind, entry: Mapping[str, Any]) -> FeatureWords:
        found = _WINDOW_OF.search(feature)
        window = found[1] if found else None
        told_as = entry.get("as", feature)
        days = int(window[:-1]) if window and window != "all" else None
        resolved, trouble = _limit(entry.get("resolved")), _limit(entry.get("trouble"))
        if told_as != feature:
            told = self.words(told_as)
            return FeatureWords(feature, kind, told.unit, None, trouble, resolved, told_as, days, told.phrases)
        return FeatureWords(
            name=feature,
            kind=kind,
            unit=self.units[entry["unit"]],
            usual=entry.get("usual"),
            trouble=trouble,
            resolved=resolved,
            told_as=feature,
            window_days=days,
            phrases={language: self._phrases(language, feature, entry[language], window) for language in LANGUAGES},
        )

    def _phrases(self, language: Language, feature: str, given: Phrases, window: str | None) -> Phrases:
        shared = {name: section[language] for name, section in self.shared.items()}
        if "what" in given:
            own = {name: text.replace("{what}", given["what"]) for name, text in shared["trend"].items()}
        else:
            own = {"missing": self._plain(language, feature)["missing"], **shared["compare"], **given}
        if window is None:
            return own
        days = window.removesuffix("d")
        said = shared["window"]["all" if window == "all" else "days"].replace("{days}", days)
        twice = str(2 * int(days)) if days.isdigit() else ""
        put = {"{window}": said, "{days}": days, "{twice}": twice}
        for placeholder, words in put.items():
            own = {name: text.replace(placeholder, words) for name, text in own.items()}
        return own


def _limit(written: Any) -> Limit | None:
    if written is None:
        return None
    kind, to = next(iter(written.items())) if isinstance(written, dict) else ("set", written)
    return Limit(kind, math.nan if to == "none" else to if isinstance(to, str) else float(to))


@cache
def catalogue() -> Catalogue:
    """The catalogue of the package, read once."""
    return read_catalogue(resources.files("serving").joinpath(_FILE).read_text(encoding="utf-8"))


def read_catalogue(text: str) -> Catalogue:
    """A catalogue from the text of its file.

    Raises:
        ConfigurationError: it is not TOML, a key or placeholder is unknown, or a text is missing in a language.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{_FILE} is not TOML: {error}") from None
    units = {
        name: Unit(unit["kind"], (unit["en"][0], unit["en"][1]), unit["zh"]) for name, unit in content["unit"].items()
    }
    unknown = {name for name, unit in units.items() if unit.kind not in _UNIT_KINDS}
    if unknown:
        raise ConfigurationError(f"{_FILE}: unit {min(unknown)} is of a kind that nothing shows")
    kinds, entries = [], []
    for reason in content["reason"]:
        kind = _reason_kind(reason)
        kinds.append(kind)
        for entry in reason["feature"]:
            _check_entry(entry, units)
            pattern = re.escape(entry["name"]).replace(re.escape("{window}"), _WINDOW)
            entries.append((re.compile(pattern), kind, entry))
    shared = {name: section for name, section in content.items() if name not in ("unit", "reason")}
    for name, section in shared.items():
        if set(section) != set(LANGUAGES):
            raise ConfigurationError(f"{_FILE}: [{name}] needs exactly the languages {', '.join(LANGUAGES)}")
    return Catalogue(tuple(kinds), units, cast("Mapping[str, Mapping[Language, Any]]", shared), tuple(entries))


def _reason_kind(reason: Mapping[str, Any]) -> ReasonKind:
    code = str(reason.get("code"))
    _refuse_unknown(set(reason), _REASON_KEYS, f"reason {code}")
    if reason["role"] not in _ROLES:
        raise ConfigurationError(
            f"{_FILE}: reason {code} has the role {reason['role']}; write one of {', '.join(_ROLES)}"
        )
    resolved = reason.get("resolved", {})
    if reason["controllable"] and set(resolved) != set(LANGUAGES):
        raise ConfigurationError(f"{_FILE}: reason {code} is controllable; say in each language what resolved means")
    return ReasonKind(code, reason["role"], reason["controllable"], tuple(reason["actions"]), resolved)


def _check_entry(entry: Mapping[str, Any], units: Mapping[str, Unit]) -> None:
    """Refuse what no text could be made of: an unknown key, unit or placeholder, a language without its text."""
    name = str(entry.get("name"))
    _refuse_unknown(set(entry), _FEATURE_KEYS, f"feature {name}")
    for key, allowed in _LIMITS.items():
        limit = _limit(entry.get(key))
        if limit is not None and (
            limit.kind not in allowed or (isinstance(limit.to, str) and limit.to not in _LIMIT_WORDS)
        ):
            raise ConfigurationError(f"{_FILE}: {key} of feature {name} is no limit that is known; see the file's head")
    if "as" in entry:
        return
    if entry.get("unit") not in units:
        raise ConfigurationError(f"{_FILE}: feature {name} has no unit that is declared")
    for language in LANGUAGES:
        phrases = entry.get(language, {})
        if not phrases.get("text") and not phrases.get("what"):
            raise ConfigurationError(f"{_FILE}: feature {name} has no text in {language}")
        _refuse_unknown(set(phrases), _PHRASES, f"feature {name} in {language}")
        for phrase, text in phrases.items():
            known = _COMPARED if phrase in ("own", "own_one", "others") else _SAID
            _refuse_unknown(set(_placeholders(text)), known, f"text {phrase} of feature {name} in {language}")


def _placeholders(text: str) -> Iterator[str]:
    try:
        yield from (name for _, name, _, _ in Formatter().parse(text) if name is not None)
    except ValueError:
        raise ConfigurationError(f"{_FILE}: the braces of a text do not match: {text}") from None


def _refuse_unknown(given: set[str], known: set[str], what: str) -> None:
    if given - known:
        raise ConfigurationError(f"{_FILE}: {what} holds {min(given - known)}, which nothing reads")
