"""What the shop sells: categories, brands, price tiers, popularity, stock, and where each item lies in taste space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.schema import ITEMS
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.settings import SimulationSettings

__all__ = ["CATEGORIES", "CURRENCY", "Catalogue", "item_table", "make_catalogue"]

CURRENCY = "EUR"

# name, median price in minor units, consumable, month of the peak (0 is January), strength of the season
CATEGORIES: tuple[tuple[str, int, bool, int, float], ...] = (
    ("coffee", 1100, True, 11, 0.15),
    ("tea", 700, True, 11, 0.30),
    ("snacks", 450, True, 6, 0.10),
    ("skin care", 1600, True, 0, 0.15),
    ("hair care", 1200, True, 5, 0.10),
    ("cleaning", 650, True, 3, 0.20),
    ("pet food", 1900, True, 0, 0.00),
    ("baby care", 1500, True, 0, 0.00),
    ("stationery", 600, False, 8, 0.45),
    ("kitchen", 2800, False, 11, 0.35),
    ("lighting", 3500, False, 10, 0.45),
    ("garden", 3000, False, 4, 0.90),
    ("toys", 2200, False, 11, 0.80),
    ("bags", 4500, False, 8, 0.25),
    ("sportswear", 3900, False, 0, 0.35),
    ("electronics", 6900, False, 10, 0.55),
)
_ADJECTIVES = ("classic", "fresh", "soft", "bright", "simple", "bold", "gentle", "fine", "royal", "daily", "pure")
_N_NEIGHBOURS = 8
_N_COMPLEMENTS = 4


@dataclass(frozen=True)
class Catalogue:
    """Items as arrays over item rows, shape (n_items, ...)."""

    item_ids: list[str]
    titles: list[str]
    brands: list[str]
    category: Ints
    price_minor: Ints
    relative_price: Floats
    """log of price over its category's median."""
    factors: Floats
    """Unit vectors in taste space, (n_items, latent_dimensions)."""
    popularity: Floats
    """log weight, the same for everybody."""
    quality: Floats
    """Standard normal; poor quality disappoints."""
    repeat_days: Floats
    """Days after which a consumable is bought again; 0 for what lasts."""
    season: Floats
    """log weight of each item by month, (12, n_items)."""
    neighbours: Ints
    """Nearest items of the same category, (n_items, 8): what one looks at next."""
    complements: Ints
    """Items of other categories often bought together, (n_items, 4)."""
    in_stock: Flags
    """(days, n_items)."""


def make_catalogue(settings: SimulationSettings, rng: np.random.Generator) -> Catalogue:
    """A catalogue; it depends on the seed but not on the scale."""
    n, n_categories = settings.n_items, len(CATEGORIES)
    category = np.sort(rng.integers(0, n_categories, size=n))
    brand = (category * 5 + rng.integers(0, 8, size=n)) % settings.n_brands
    factors = _factors(category, brand, settings, rng)
    tier = rng.choice(3, size=n, p=(0.4, 0.4, 0.2))
    relative = np.asarray((-0.45, 0.05, 0.7))[tier] + rng.normal(0, 0.18, n)
    median = np.asarray([row[1] for row in CATEGORIES])[category]
    consumable = np.asarray([row[2] for row in CATEGORIES])[category]
    popularity = rng.normal(0, 1.0, n)
    adjectives = rng.integers(0, len(_ADJECTIVES), n)
    brands = [f"Brand {b + 1:02d}" for b in brand]
    return Catalogue(
        item_ids=[f"I{row + 1:05d}" for row in range(n)],
        titles=[
            f"{b} {_ADJECTIVES[a]} {CATEGORIES[c][0]} {r + 1}"
            for r, (b, a, c) in enumerate(zip(brands, adjectives, category, strict=True))
        ],
        brands=brands,
        category=category,
        price_minor=np.maximum(99, np.round(median * np.exp(relative) / 10) * 10 - 1).astype(np.int64),
        relative_price=relative,
        factors=factors,
        popularity=popularity,
        quality=rng.normal(0, 1, n),
        repeat_days=np.where(consumable, np.clip(rng.lognormal(np.log(32), 0.35, n), 14, 75), 0.0),
        season=_season(category),
        neighbours=_neighbours(factors, category),
        complements=_complements(factors, category, popularity),
        in_stock=_stock(settings.days, popularity, rng),
    )


def item_table(catalogue: Catalogue) -> pa.Table:
    """The item table as the shop exports it; `in_stock` is that of the last day."""
    columns = {
        "item_id": catalogue.item_ids,
        "title": catalogue.titles,
        "category": [CATEGORIES[c][0] for c in catalogue.category],
        "brand": catalogue.brands,
        "price_minor": catalogue.price_minor,
        "currency": [CURRENCY] * len(catalogue.item_ids),
        "in_stock": catalogue.in_stock[-1],
    }
    return pa.table(columns, schema=ITEMS.arrow)


def _factors(category: Ints, brand: Ints, settings: SimulationSettings, rng: np.random.Generator) -> Floats:
    k = settings.latent_dimensions
    of_category = rng.normal(0, 1, (len(CATEGORIES), k))
    of_brand = rng.normal(0, 0.5, (settings.n_brands, k))
    raw = of_category[category] + of_brand[brand] + rng.normal(0, 0.55, (len(category), k))
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), dtype=np.float64)


def _season(category: Ints) -> Floats:
    peak = np.asarray([row[3] for row in CATEGORIES])[category]
    strength = np.asarray([row[4] for row in CATEGORIES])[category]
    return np.asarray(strength * np.cos(2 * np.pi * (np.arange(12)[:, None] - peak) / 12), dtype=np.float64)


def _neighbours(factors: Floats, category: Ints) -> Ints:
    similar = factors @ factors.T
    similar[category[:, None] != category[None, :]] -= 4.0
    np.fill_diagonal(similar, -9.0)
    return np.argsort(-similar, axis=1, kind="stable")[:, :_N_NEIGHBOURS].astype(np.int64)


def _complements(factors: Floats, category: Ints, popularity: Floats) -> Ints:
    pull = factors @ factors.T + 0.15 * popularity
    pull[category[:, None] == category[None, :]] = -9.0
    return np.argsort(-pull, axis=1, kind="stable")[:, :_N_COMPLEMENTS].astype(np.int64)


def _stock(days: int, popularity: Floats, rng: np.random.Generator) -> Flags:
    """Runs out with a daily probability that grows with popularity, and comes back after ten days on average."""
    runs_out = 0.003 * np.exp(0.3 * popularity)
    in_stock = np.ones((days, len(popularity)), dtype=np.bool_)
    now = rng.random(len(popularity)) > 0.03
    for day in range(days):
        draw = rng.random(len(popularity))
        now = np.where(now, draw >= runs_out, draw < 0.10)
        in_stock[day] = now
    return in_stock
