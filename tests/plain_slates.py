"""What a recommender shows where the placement has no rules: the storefront with a plain recipe."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from features.customer_view import CustomerView
from serving.recipe import Recipe
from serving.recommender import Recommender
from serving.slate import Slate
from serving.slate_rules import Exclusions
from serving.storefront import SlateRequest, Storefront

PLAIN = Recipe("plain")


def plain_slate(
    recommender: Recommender,
    history: CustomerView | None,
    as_of_us: int,
    limit: int,
    *,
    owned: bool = False,
    out_of_stock: Collection[str] = (),
    **wanted: Any,
) -> Slate:
    """The slate of one customer; `owned` leaves out what they bought, `wanted` are fields of SlateRequest."""
    request = SlateRequest(limit, exclude=Exclusions(owned=owned), **wanted)
    storefront = Storefront(recommender, recommender.catalogue.with_stock(out_of_stock))
    return storefront.slate(history, as_of_us, request, PLAIN)


def ids(slate: Slate) -> list[str]:
    """The items shown, best first."""
    return [item.item_id for item in slate.items]
