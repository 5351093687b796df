"""The storefront of each release that is served, made when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Collection
from weakref import WeakKeyDictionary

from serving.recommender import Recommender
from serving.storefront import Storefront

__all__ = ["Storefronts"]


class Storefronts:
    """One storefront a recommender, with the stock of today. Safe to share between threads."""

    def __init__(self, out_of_stock: Collection[str]) -> None:
        self.out_of_stock = out_of_stock
        self._made: WeakKeyDictionary[Recommender, Storefront] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, recommender: Recommender) -> Storefront:
        """The storefront of a recommender; the next call gets the same."""
        with self._lock:
            found = self._made.get(recommender)
            if found is None:
                catalogue = recommender.catalogue.with_stock(self.out_of_stock)
                found = self._made[recommender] = Storefront(recommender, catalogue)
        return found
