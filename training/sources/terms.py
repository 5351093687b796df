"""Attributes and words of items as a matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from serving.catalogue import Catalogue

__all__ = ["terms_of", "tokens_of"]

_WORD = re.compile(r"\w+")
_MARKED = ("category", "brand")


def terms_of(tokens: Sequence[Sequence[str]]) -> tuple[csr_matrix, npt.NDArray[np.float64]]:
    """Items by terms, float32, 1 where the item has it; and float64 (n_terms,), how many items have each.

    Terms are in the order of their words; a word that an item has twice counts once.

    >>> terms, sizes = terms_of([["red", "cup"], ["cup", "cup"], []])
    >>> terms.toarray().tolist(), sizes.tolist()
    ([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], [2.0, 1.0])
    """
    words = sorted({word for own in tokens for word in own})
    place = {word: number for number, word in enumerate(words)}
    cells = [sorted({place[word] for word in own}) for own in tokens]
    offsets = np.concatenate(([0], np.cumsum([len(own) for own in cells]))).astype(np.int64)
    columns = np.array([column for own in cells for column in own], np.int64)
    shape = (len(tokens), len(words))
    terms = csr_matrix((np.ones(len(columns), np.float32), columns, offsets), shape=shape)
    return terms, np.bincount(columns, minlength=len(words)).astype(np.float64)


def tokens_of(catalogue: Catalogue) -> list[list[str]]:
    """What is said of each item: its category and its brand as wholes, and the words of its title in small letters."""
    marked = [(name, catalogue.texts[name]) for name in _MARKED]
    titles = catalogue.texts["title"]
    found = []
    for place in range(len(catalogue)):
        own = [f"{name}={text}" for name, attribute in marked if (text := attribute.text(place)) is not None]
        title = titles.text(place)
        found.append([*own, *(_WORD.findall(title.lower()) if title is not None else ())])
    return found
