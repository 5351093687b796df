"""The storefront of each release that is served: made and warmed when the release is loaded, dropped with it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from serving.pacing import breathe
from serving.recipe import Recipe
from serving.recommender import Recommender
from serving.storefront import SlateRequest, Storefront

__all__ = ["Storefronts"]

_WARM = "warm"


class Storefronts:
    """One storefront a recommender, with the stock of today. Safe to share between threads."""

    def __init__(self, out_of_stock: Collection[str]) -> None:
        self.out_of_stock = out_of_stock
        self._made: dict[Recommender, Storefront] = {}
        self._lock = threading.Lock()

    def of(self, recommender: Recommender) -> Storefront:
        """The storefront of a recommender; the next call gets the same."""
        with self._lock:
            found = self._made.get(recommender)
            if found is None:
                catalogue = recommender.catalogue.with_stock(self.out_of_stock)
                found = self._made[recommender] = Storefront(recommender, catalogue)
        return found

    def warm(self, recommender: Recommender, recipes: Mapping[str, Recipe], as_of_us: int) -> None:
        """Let every recipe answer a visitor, and one who looks at an item: so that one that cannot never serves.

        Raises:
            HoldfastError: a recipe does not fit the catalogue.
        """
        storefront = self.of(recommender)
        for recipe in recipes.values():
            for seeds in ((), recommender.item_ids[:1]):
                storefront.slate(None, as_of_us, SlateRequest(seed_items=seeds), recipe, recommendation_id=_WARM)
                breathe()

    def keep(self, recommenders: Collection[Recommender]) -> None:
        """Drop the storefronts of all others, and with them what they hold in memory."""
        with self._lock:
            self._made = {one: made for one, made in self._made.items() if one in recommenders}
