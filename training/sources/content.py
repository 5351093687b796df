"""Fitting vectors of what is said about items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import diags

from features.errors import ConfigurationError, DataError
from serving.sources.content import ContentSource
from training.sources.settings import check_positive
from training.sources.terms import terms_of

__all__ = ["ContentSettings", "fit_content"]


@dataclass(frozen=True)
class ContentSettings:
    """Which words count.

    Attributes:
        most_share: a word that a larger share of the items have tells them apart too little; in (0, 1].

    Raises:
        ConfigurationError: the share is not in (0, 1].
    """

    most_share: float = 0.5

    def __post_init__(self) -> None:
        check_positive(self, "recommender.content")
        if self.most_share > 1:
            raise ConfigurationError(f"recommender.content.most_share is {self.most_share}; write a number in (0, 1]")


def fit_content(n_items: int, tokens: Sequence[Sequence[str]], settings: ContentSettings) -> ContentSource:
    """Vectors of length 1 of `log(n_items / items with the word)` for each word of an item.

    An item of which nothing is said, or only what is said of most, has no vector. A word that one item alone has leads
    nowhere, and still tells that item apart.

    Args:
        n_items: length of the catalogue.
        tokens: the words of each item: category, brand, words of the title.
        settings: see `ContentSettings`.

    Raises:
        DataError: there are words of more or fewer items than the catalogue has.

    Source: see `ContentSource`.
    """
    if len(tokens) != n_items:
        raise DataError(f"there are words of {len(tokens)} items, and the catalogue has {n_items}; give each its own")
    terms, sizes = terms_of(tokens)
    rarity = np.where(sizes <= settings.most_share * n_items, np.log(n_items / np.maximum(sizes, 1.0)), 0.0)
    weighed = (terms.astype(np.float64) @ diags(rarity)).tocsr()
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    found = (diags(1.0 / np.where(length > 0, length, 1.0)) @ weighed).tocsr()
    found.eliminate_zeros()
    found.sort_indices()
    return ContentSource(found.indptr.astype(np.int64), found.indices.astype(np.int32), found.data.astype(np.float32))
