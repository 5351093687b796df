"""Why an item is shown: a code, what of the customer's own history speaks for it, and the words in each language.

The words are read from `slate_words.toml`, whose head says what each key means.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from serving.catalogue import Catalogue
from serving.languages import Language
from serving.sources.histories import PURCHASE, Histories
from serving.sources.source import CandidateSource, Explaining, Ints

__all__ = ["Because", "because", "said"]

_FILE = "slate_words.toml"
_TITLE, _CATEGORY = "title", "category"

_BY_SOURCE: Mapping[str, str] = {
    "popularity": "popular",
    "category_popularity": "popular_in",
    "als": "taste",
    "content": "alike",
    "next_basket": "habit",
    "recent": "still_wanted",
}
"""What a source says of an item; the others tell what goes with what."""


@dataclass(frozen=True)
class Because:
    """Why an item is shown.

    Attributes:
        code: a section of the words.
        item: catalogue position of the item of the history that speaks most for it; -1 where none does.
    """

    code: str
    item: int = -1


def because(
    source: CandidateSource, histories: Histories, row: int, places: Ints, due: Mapping[int, float]
) -> list[Because]:
    """What a source says for items (catalogue positions, int64 (m,)) that it put on a customer's slate.

    `due` says how due the items are that the customer bought before; 1 is due.
    """
    if source.name == "buy_again":
        return [Because("due_again" if due.get(place, 0.0) >= 1 else "bought_before") for place in places.tolist()]
    leading = source.leading(histories, row, places) if isinstance(source, Explaining) else np.full(len(places), -1)
    code = _BY_SOURCE.get(source.name)
    if code is not None:
        return [Because(code, item) for item in leading.tolist()]
    steps = slice(histories.steps.offsets[row], histories.steps.offsets[row + 1])
    bought = set(histories.steps.items[steps][histories.steps.kinds[steps] == PURCHASE].tolist())
    return [
        Because("goes_with_yours" if item < 0 else "bought_together" if item in bought else "looked_at", item)
        for item in leading.tolist()
    ]


def said(one: Because, place: int, catalogue: Catalogue, language: Language) -> str:
    """The words for the item at `place` of the catalogue.

    >>> said(Because("looked_at", 0), 1, Catalogue.nothing_said(["cup", "pot"]), "en")
    'goes with what you looked at or bought'
    """
    words = _words()
    item = catalogue.texts[_TITLE].text(one.item) if one.item >= 0 else None
    category = catalogue.texts[_CATEGORY].text(place)
    known = {name: text for name, text in (("item", item), ("category", category)) if text is not None}
    code = one.code
    while True:
        try:
            return words[code][language].format(**known)
        except KeyError:
            code = words[code]["otherwise"]


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(resources.files("serving").joinpath(_FILE).read_text(encoding="utf-8"))
