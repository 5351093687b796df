"""Name behavioural segments in words from their centroids, in every language, each name once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from serving.segments import LANGUAGES, Language, segment_words

__all__ = ["name_segments", "plain_names"]

Array = npt.NDArray[np.float64]
_STANDS_OUT = 0.5
_AT_MOST = 3
_HEAD = ("frequency", "order_value")


def plain_names() -> dict[str, str]:
    """The name of a segment in which nothing stands out, by language."""
    plain = segment_words()["segment"]["plain"]
    return {language: plain[language] for language in LANGUAGES}


def name_segments(centroids: Array, measures: tuple[str, ...]) -> tuple[dict[str, str], ...]:
    """A name by language for each centroid, float64 (k, d) in standardised measures.

    A name says what stands out: the measures at least half a deviation from the mean, the three furthest at most.
    Where two segments would be called the same, both say one measure more, then another; if all are said, a number
    tells them apart.
    """
    said = [_outstanding(centroid) for centroid in centroids]
    while True:
        names = [_names(centroid, measures, chosen) for centroid, chosen in zip(centroids, said, strict=True)]
        counted = Counter(name["en"] for name in names)
        longer = [
            place
            for place, name in enumerate(names)
            if counted[name["en"]] > 1 and _more(centroids[place], said[place])
        ]
        if not longer:
            return _numbered(names)
        for place in longer:
            said[place] = (*said[place], _more(centroids[place], said[place])[0])


def _outstanding(centroid: Array) -> tuple[int, ...]:
    furthest = np.argsort(-np.abs(centroid), kind="stable")[:_AT_MOST]
    return tuple(int(place) for place in furthest if abs(centroid[place]) >= _STANDS_OUT)


def _more(centroid: Array, said: tuple[int, ...]) -> list[int]:
    """The measures not said yet, the furthest out first."""
    return [int(place) for place in np.argsort(-np.abs(centroid), kind="stable") if int(place) not in said]


def _names(centroid: Array, measures: tuple[str, ...], said: tuple[int, ...]) -> dict[str, str]:
    if not said:
        return plain_names()
    sides = {measures[place]: "high" if centroid[place] > 0 else "low" for place in said}
    return {language: _phrase(sides, language) for language in LANGUAGES}


def _phrase(sides: dict[str, str], language: Language) -> str:
    """`frequent big spenders, buy at full price`: adjective, noun, then clauses in the order of weight."""
    parts = segment_words()["part"]
    words = {name: parts[name][side][language] for name, side in sides.items()}
    noun = words.get("order_value", parts["noun"][language])
    adjective = words.get("frequency", "")
    head = f"{adjective} {noun}".strip() if language == "en" else f"{adjective}{noun}"
    clauses = [text for name, text in words.items() if name not in _HEAD]
    return (", " if language == "en" else "，").join([head, *clauses])


def _numbered(names: list[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """The names, with a number behind those that are still the same."""
    found: list[dict[str, str]] = []
    seen: Counter[str] = Counter()
    for name in names:
        seen[name["en"]] += 1
        count = seen[name["en"]]
        found.append(name if count == 1 else {language: f"{text} ({count})" for language, text in name.items()})
    return tuple(found)
