"""What the rules of a shop cost: filters over a catalogue, and ranked candidates arranged into a slate.

One thread, the fastest of several rounds; the first filter of a text reads and evaluates it, the same text again is a
look-up. The slate has 20 places; its vectors have 64 numbers an item. "Everything" is a filter, two boosts, a pin, 30
sponsored items, all exclusions, diversity by vectors and category, rotation and a minimum relevance.

Run: python -m benchmarks.bench_slate_rules [--items 50000 1000000]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa

from benchmarks.report import limit_words, print_and_keep, require_kept
from features.instants import DAY_US
from serving.arranging import Shortlist, arrange
from serving.catalogue import Catalogue
from serving.encounters import Encounters, Shown
from serving.filter_language import parse_filter
from serving.filter_masks import FilterMasks, mask_of
from serving.rulebook import Rulebook
from serving.slate_rules import Boost, Diversity, Exclusions, Pin, Rotation, SlateRules, Sponsored

FILTERS = {
    "one text": 'brand = "brand 77"',
    "one number": "price_minor < 2000",
    "seven texts": "brand in (" + ", ".join(f'"brand {n}"' for n in range(7)) + ")",
    "four tests": 'category = "shelf 5" and price_minor < 20000 and not brand in ("brand 1", "b") or is_new = true',
    "200 numbers": f"price_minor in ({', '.join(map(str, range(200)))})",
    "95 tests": " or ".join(f"price_minor = {n}" for n in range(95)),
}
K, NOW_US = 20, 1_000 * DAY_US
MOST_MS = 1.0
Row = dict[str, Any]


def catalogue(n_items: int, rng: np.random.Generator) -> Catalogue:
    ids = [f"i{number:07d}" for number in range(n_items)]
    columns = {
        "item_id": ids,
        "title": [f"title {number}" for number in rng.permutation(n_items)],
        "category": [f"shelf {number}" for number in rng.integers(0, 200, n_items)],
        "brand": [f"brand {number}" for number in rng.integers(0, 5_000, n_items)],
        "price_minor": pa.array(rng.integers(1, 1_000_000, n_items), mask=rng.random(n_items) < 0.05),
        "in_stock": rng.random(n_items) < 0.97,
        "is_new": rng.random(n_items) < 0.1,
    }
    return Catalogue.read(pa.table(columns), ids)


def fastest_us(work: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found) * 1e6


def filter_rows(items: Catalogue, rng: np.random.Generator) -> list[Row]:
    rows, some = [], rng.choice(len(items), 300, replace=False)
    for name, text in FILTERS.items():
        masks = FilterMasks(items)
        chosen = parse_filter(text, items.attributes)
        rows.append(
            {
                "what": f"filter: {name}",
                "items": len(items),
                "first us": fastest_us(lambda text=text: FilterMasks(items).mask(text), 9),
                "of it reading us": fastest_us(lambda text=text: parse_filter(text, items.attributes), 20),
                "again us": fastest_us(lambda text=text, masks=masks: masks.mask(text), 50),
                "300 items alone us": fastest_us(lambda chosen=chosen: mask_of(chosen, items, some), 50),
            }
        )
    return rows


def rules_by_name(items: Catalogue) -> dict[str, SlateRules]:
    return {
        "no rules": SlateRules(),
        "diversity": SlateRules(diversity=Diversity(0.3)),
        "everything": SlateRules(
            where="price_minor > 100",
            boosts=(Boost('brand = "brand 7"', 2.0), Boost("price_minor < 5000", 0.5)),
            pinned=(Pin(items.item_ids[7], 3),),
            sponsored=Sponsored(items.item_ids[10:40], 0.2),
            exclude=Exclusions(owned=True, seen=True, bought_within_days=30.0),
            diversity=Diversity(0.3, 0.5),
            rotation=Rotation(0.8),
            min_relevance=0.01,
        ),
    }


def arrange_rows(items: Catalogue, rng: np.random.Generator) -> list[Row]:
    n_items = len(items)
    vectors = rng.normal(size=(n_items, 64)).astype(np.float32)
    bought, seen, shown = (np.sort(rng.choice(n_items, n, replace=False)) for n in (80, 150, 60))
    met = Encounters(bought, NOW_US - rng.integers(1, 300, 80) * DAY_US, seen, Shown(shown, rng.integers(1, 5, 60)))
    rows = []
    for n_candidates, earlier in ((300, 0), (300, 20), (10_000, 0)):
        shortlist = Shortlist(rng.choice(n_items, n_candidates, replace=False), -np.sort(-rng.random(n_candidates)))
        for name, rules in rules_by_name(items).items():
            book = Rulebook.of(rules, items, vectors)
            before = shortlist.places[:earlier]

            def once(book: Rulebook = book, shortlist: Shortlist = shortlist, before: Any = before) -> object:
                return arrange(shortlist, book, met, K, as_of_us=NOW_US, earlier=before)

            page = f", page {1 + earlier // K}" if earlier else ""
            rows.append(
                {
                    "what": f"slate of {K}: {name}{page}",
                    "items": n_items,
                    "candidates": n_candidates,
                    "us": fastest_us(once, 300 if n_candidates < 1_000 else 50),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    filters: list[Row] = []
    slates: list[Row] = []
    for n_items in options.items:
        items = catalogue(n_items, rng)
        filters += filter_rows(items, rng)
        slates += arrange_rows(items, rng)
    print_and_keep("slate_rules_filters", "Filters over a catalogue, microseconds", filters)
    slowest = max(row["us"] for row in slates if row["candidates"] == 300) / 1_000
    held = {f"300 candidates arranged in {slowest:.2f} ms at most (below {MOST_MS:g} wanted)": slowest < MOST_MS}
    print_and_keep("slate_rules", "A shortlist arranged into a slate, microseconds", slates, limit_words(held))
    require_kept("the rules of slates", held)


if __name__ == "__main__":
    main()
