"""Random small shops for the rules of a slate, and what must hold of every slate that is made of them."""

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from features.instants import DAY_US
from serving.arranging import REASONS, Arranged, Shortlist, arrange
from serving.catalogue import Catalogue
from serving.encounters import Encounters, Shown
from serving.filter_language import parse_filter
from serving.filter_masks import mask_of
from serving.rulebook import Rulebook
from serving.slate_rules import Boost, Diversity, Exclusions, Pin, Rotation, SlateRules, Sponsored

NOW_US = 1_000 * DAY_US
WORDS = ["a", "b", "c", None]
FILTERS = [
    "",
    "",
    "",
    "",
    "price_minor < 50",
    "price_minor is missing or price_minor >= 20",
    'category in ("a", "b")',
    'not category = "a" and brand is not missing',
    'brand != "c"',
    'category = "nothing"',
]


@dataclass
class World:
    """A catalogue, rules, one customer, and their shortlist; `request` are the other arguments of `arrange`."""

    catalogue: Catalogue
    rules: SlateRules
    book: Rulebook
    encounters: Encounters
    shortlist: Shortlist
    k: int
    request: dict

    def arranged(self, k=None, **changes) -> Arranged:
        wanted = self.k if k is None else k
        return arrange(self.shortlist, self.book, self.encounters, wanted, as_of_us=NOW_US, **self.request | changes)


def random_world(seed: int, n_catalogues: int = 2**31) -> World:
    """One of many worlds, over one of `n_catalogues` catalogues."""
    dice = random.Random(seed)
    catalogue = random_catalogue(seed % n_catalogues)
    n_items = len(catalogue)
    rules = random_rules(dice, catalogue)
    vectors = np.array([[dice.choice([-1, 0, 1, 2]) for _ in range(3)] for _ in range(n_items)], np.float32)
    book = Rulebook.of(rules, catalogue, dice.choice([None, vectors.reshape(n_items, 3)]))
    n = dice.randint(n_items // 2, 2 * n_items)
    places = [dice.randrange(-1, n_items) for _ in range(n)]  # some come twice, some are nobody
    scores = [dice.choice([float("nan"), -2.0, 0.0, 0.5, 1.0, dice.random(), 7.0]) for _ in range(n)]
    request = {}
    if dice.random() < 0.25:
        request["allowed"] = mask_of(parse_filter(dice.choice(FILTERS[4:])), catalogue)
    if dice.random() < 0.3:
        request["exclude"] = Exclusions(owned=dice.random() < 0.5, seen=dice.random() < 0.5)
    if dice.random() < 0.3:
        request["seeds"] = some(dice, n_items)
    shortlist = Shortlist(np.array(places, np.int64), np.array(scores, np.float64))
    return World(catalogue, rules, book, random_encounters(dice, n_items), shortlist, dice.randint(1, 15), request)


@lru_cache(maxsize=100)
def random_catalogue(seed):
    dice = random.Random(seed)
    n_items = dice.choice([0, 1, 2, 5, 12, 12, 30, 30, 30])
    columns = {
        "item_id": pa.array([f"i{place}" for place in range(n_items)], pa.string()),
        "category": pa.array([dice.choice(WORDS) for _ in range(n_items)], pa.string()),
        "brand": pa.array([dice.choice(WORDS) for _ in range(n_items)], pa.string()),
        "price_minor": pa.array([dice.choice([None, 10, 30, 70]) for _ in range(n_items)], pa.int64()),
        "in_stock": pa.array([dice.choice([None, True, True, True, False]) for _ in range(n_items)], pa.bool_()),
    }
    return Catalogue.read(pa.table(columns), columns["item_id"].to_pylist())


def random_rules(dice, catalogue):
    ids = [*catalogue.item_ids, "unknown"]
    dice.shuffle(ids)
    pins, paid = ids[: dice.choice([0, 0, 1, 3])], ids[3 : 3 + dice.choice([0, 0, 2, 6])]
    positions = dice.sample(range(1, 12), len(pins))
    return SlateRules(
        where=dice.choice(FILTERS),
        boosts=tuple(
            Boost(dice.choice(FILTERS[4:]), dice.choice([0.1, 0.5, 3.0, 10.0])) for _ in range(dice.choice([0, 0, 2]))
        ),
        pinned=tuple(Pin(item_id, position) for item_id, position in zip(pins, positions, strict=True)),
        sponsored=Sponsored(tuple(paid), dice.choice([0.0, 0.1, 0.29, 0.5, 1.0])),
        exclude=Exclusions(dice.random() < 0.3, dice.random() < 0.3, dice.choice([0.0, 0.0, 10.0])),
        diversity=Diversity(dice.choice([0.0, 0.0, 0.3, 1.0]), dice.choice([0.0, 0.5, 1.0])),
        rotation=Rotation(dice.choice([1.0, 0.5])),
        min_relevance=dice.choice([0.0, 0.0, 0.3, 1.0]),
    )


def random_encounters(dice, n_items):
    bought = some(dice, n_items)
    last_us = np.array([NOW_US - dice.choice([1, 10, 11, 300]) * DAY_US for _ in bought], np.int64)
    shown = some(dice, n_items)
    times = np.array([dice.randint(1, 9) for _ in shown], np.int64)
    return Encounters(bought, last_us, some(dice, n_items), Shown(shown, times))


def some(dice, n_items):
    return np.array(dice.sample(range(n_items), dice.randint(0, n_items // 2 + (n_items > 0))), np.int64)


def check_slate(world: World, slate: Arranged, earlier=()) -> None:
    """Everything that no rule may break, by plain lists and sets."""
    shown, k = slate.places.tolist(), len(slate.places)
    assert k <= world.k
    assert len(set(shown) | set(earlier)) == k + len(earlier), "an item twice"
    assert len(slate.scores) == len(slate.shown_as) == len(slate.boosts) == k
    assert slate.first_position == len(earlier) + 1
    scored = dict(zip(world.shortlist.places.tolist(), world.shortlist.scores.tolist(), strict=True))
    proposed = {place for place in scored if place >= 0}
    struck = why_struck(world)
    assert not [place for place in shown if place in struck], "an item that is excluded"
    for place, kind in zip(shown, slate.shown_as, strict=True):
        item_id = world.catalogue.item_ids[place]
        assert (kind == "sponsored") == (item_id in world.rules.sponsored.items)
        assert kind != "pinned" or item_id in {pin.item_id for pin in world.rules.pinned}
        assert kind != "ranked" or place in proposed, "padding"
    check_share(world, slate, earlier)
    check_pins(world, slate, earlier, struck)
    assert set(slate.filtered) == set(REASONS)


def why_struck(world: World) -> set[int]:
    """Places that may not be shown, whatever else."""
    catalogue, met = world.catalogue, world.encounters
    exclude = world.request.get("exclude", world.rules.exclude)
    allowed = world.request.get("allowed", np.ones(len(catalogue), bool))
    passes = mask_of(parse_filter(world.rules.where), catalogue) if world.rules.where else np.ones(len(catalogue), bool)
    struck = set(np.flatnonzero(~(allowed & passes & catalogue.in_stock)).tolist())
    struck |= set(np.asarray(world.request.get("seeds", ()), np.int64).tolist())
    if exclude.owned:
        struck |= set(met.bought.tolist())
    if exclude.seen:
        struck |= set(met.seen.tolist())
    if exclude.bought_within_days:
        since = NOW_US - exclude.bought_within_days * DAY_US
        struck |= {p for p, us in zip(met.bought.tolist(), met.last_bought_us.tolist(), strict=True) if us >= since}
    return struck


def check_share(world, slate, earlier):
    paid = [world.catalogue.item_ids[place] in world.rules.sponsored.items for place in [*earlier, *slate.places]]
    for n in range(1, len(paid) + 1):
        assert sum(paid[:n]) <= world.rules.sponsored.share * n + 1e-9, "more sponsored items than their share"


def check_pins(world, slate, earlier, struck):
    last = len(earlier) + len(slate.places)
    for pin in world.rules.pinned:
        place = world.catalogue.index.positions.get(pin.item_id, -1)
        if len(earlier) < pin.position <= last and place >= 0 and place not in {*struck, *earlier}:
            at = slate.places.tolist().index(place)
            assert slate.shown_as[at] == "pinned"
            later = slate.shown_as[at + 1 :]
            moved_up = at + len(earlier) + 1 < pin.position and "ranked" not in slate.shown_as[at:]
            assert at + len(earlier) + 1 == pin.position or moved_up, (at, pin, later)


def check_pages(world: World, n_pages: int) -> None:
    """Pages never repeat, and hold together what one long list holds."""
    whole = world.arranged(k=world.k * n_pages)
    shown, kinds, more = [], [], True
    for _ in range(n_pages):
        page = world.arranged(earlier=shown)
        check_slate(world, page, tuple(shown))
        assert bool(len(page.places)) == more or not shown
        shown, kinds, more = [*shown, *page.places.tolist()], [*kinds, *page.shown_as], page.more
    assert shown == whole.places.tolist()
    assert kinds == list(whole.shown_as)
    assert more == whole.more
