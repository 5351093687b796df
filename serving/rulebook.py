"""The rules of a slate bound to one catalogue: filters as masks, boosts as one factor an item, ids as places."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError, DataError, FilterError
from serving.catalogue import Catalogue
from serving.filter_language import parse_filter
from serving.filter_masks import mask_of
from serving.slate_rules import LARGEST_FACTOR, SMALLEST_FACTOR, SlateRules

__all__ = ["Rulebook"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rulebook:
    """What `arrange` looks up; made once for a placement and a catalogue, safe to share between threads.

    Attributes:
        rules: as written.
        n_items: of the catalogue.
        passes: bool (n_items,): what `rules.where` lets through; None where it asks for nothing.
        in_stock: bool (n_items,).
        factors: float64 (n_items,), boosts multiplied; None without boosts.
        categories: int32 (n_items,), codes, -1 where missing.
        vectors: float32 (n_items, n_factors) that say how alike items are; None where there are none.
        pinned: position -> place; pins that the catalogue does not hold are left out.
        sponsored: int64 (s,), places, distinct, in the order written; those the catalogue does not hold are left out.
        unknown_count: pinned and sponsored items that the catalogue does not hold.
    """

    rules: SlateRules
    n_items: int
    passes: Bools | None
    in_stock: Bools
    factors: Floats | None
    categories: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32] | None
    pinned: dict[int, int] = field(default_factory=dict)
    sponsored: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    unknown_count: int = 0

    @classmethod
    def of(cls, rules: SlateRules, catalogue: Catalogue, vectors: npt.NDArray[np.float32] | None = None) -> Rulebook:
        """Bind rules to a catalogue and, for diversity, to vectors (n_items, n_factors) of its items.

        Raises:
            ConfigurationError: a filter asks for what the catalogue does not have; the message names the setting.
            DataError: the vectors are of another number of items.
        """
        if vectors is not None and len(vectors) != len(catalogue):
            raise DataError(f"there are vectors of {len(vectors):,} items and {len(catalogue):,} items; give one each")
        factors = None
        for number, boost in enumerate(rules.boosts):
            factors = np.ones(len(catalogue)) if factors is None else factors
            factors[_mask(f"boosts[{number}].where", boost.where, catalogue)] *= boost.factor
        if factors is not None:
            np.clip(factors, SMALLEST_FACTOR, LARGEST_FACTOR, out=factors)
        pin_places = catalogue.index.positions_of([pin.item_id for pin in rules.pinned]).tolist()
        sponsored = catalogue.index.positions_of(list(dict.fromkeys(rules.sponsored.items)))
        return cls(
            rules,
            len(catalogue),
            _mask("where", rules.where, catalogue) if rules.where else None,
            catalogue.in_stock,
            factors,
            catalogue.texts["category"].codes,
            vectors,
            {pin.position: place for pin, place in zip(rules.pinned, pin_places, strict=True) if place >= 0},
            sponsored[sponsored >= 0],
            sum(place < 0 for place in pin_places) + int(np.sum(sponsored < 0)),
        )


def _mask(name: str, text: str, catalogue: Catalogue) -> Bools:
    try:
        return mask_of(parse_filter(text, catalogue.attributes), catalogue)
    except FilterError as error:
        raise ConfigurationError(f"slate rules: {name}: {error}") from None
