"""The one road of a slate, held to its promises in worlds made at random."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.instants import DAY_US
from serving.catalogue import Catalogue
from serving.exploration import ExplorationSettings, ItemBeliefs
from serving.recipe import Recipe, load_recipes
from serving.recommender import Recommender, RecommenderSettings
from serving.slate_rules import Boost, Diversity, Exclusions, Pin, SlateRules, Sponsored
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.popularity import PopularitySource
from serving.storefront import SlateRequest, Storefront
from tests.shop_events import day, view_of

AS_OF = day(30)
CATEGORIES = ("tea", "tools", None)


def shop(n_items=12, seed=0, out_of_stock=(), beliefs=False):
    rng = np.random.default_rng(seed)
    ids = [f"i{number}" for number in range(n_items)]
    table = pa.table(
        {
            "item_id": pa.array(ids, pa.string()),
            "title": pa.array([f"Item {number}" for number in range(n_items)], pa.string()),
            "category": pa.array([CATEGORIES[number % 3] for number in range(n_items)], pa.string()),
            "price_minor": pa.array([100 * number for number in range(n_items)], pa.int64()),
        }
    )
    catalogue = Catalogue.read(table, ids)
    recommender = Recommender(
        catalogue,
        (
            FactorSource(rng.normal(size=(n_items, 3)).astype(np.float32), alpha=20.0, regularization=1.0),
            PopularitySource(rng.integers(0, 5, n_items).astype(np.float32)),
            BuyAgainSource(np.full(n_items, 0.02), np.full(n_items, 20.0), prior_days=60.0, horizon_days=30.0),
        ),
        RecommenderSettings(),
        beliefs=ItemBeliefs(np.zeros(n_items, np.float32), np.ones(n_items, np.float32)) if beliefs else None,
    )
    return Storefront(recommender, catalogue.with_stock(out_of_stock))


def ids(slate):
    return [item.item_id for item in slate.items]


ITEM = st.integers(0, 14).map("i{}".format)
ROWS = st.lists(
    st.tuples(
        st.just("ann"),
        ITEM,
        st.integers(0, 299).map(lambda tenth: tenth / 10),
        st.sampled_from(["purchase", "view", "return", "impression"]),
    ),
    max_size=25,
)
FILTERS = {
    "": lambda number: True,
    "category = 'tea'": lambda number: number % 3 == 0,
    "price_minor < 500 and not category is missing": lambda number: number < 5 and number % 3 != 2,
    "item_id in ('i1', 'i2', 'elsewhere')": lambda number: number in (1, 2),
    "price_minor > 100000": lambda number: False,
}
RULES = st.builds(
    SlateRules,
    where=st.sampled_from(list(FILTERS)),
    boosts=st.sampled_from([(), (Boost("category = 'tools'", 3.0),)]),
    pinned=st.sampled_from([(), (Pin("i3", 1),), (Pin("i4", 2), Pin("elsewhere", 3))]),
    sponsored=st.sampled_from([Sponsored(), Sponsored(("i5", "i6"), 0.34)]),
    diversity=st.builds(Diversity, st.sampled_from([0.0, 0.5, 1.0])),
    min_relevance=st.sampled_from([0.0, 0.3]),
)
EXCLUDE = st.builds(Exclusions, st.booleans(), st.booleans(), st.sampled_from([0.0, 7.0]))


def test_a_placement_that_leaves_out_what_is_owned_asks_by_the_weights_for_new_items():
    made = shop()
    weighed = dataclasses.replace(made.recommender.settings, new={"popularity": 1.0})
    apart = Storefront(dataclasses.replace(made.recommender, settings=weighed), made.catalogue)
    recipe = Recipe("here", rules=SlateRules(exclude=Exclusions(owned=True)))
    history = view_of([("ann", "i3", 1, "purchase")])
    of_popularity = Storefront(made.recommender.with_blend({"popularity": 1.0}), made.catalogue)
    asked = SlateRequest(5)
    assert ids(apart.slate(history, AS_OF, asked, recipe)) == ids(of_popularity.slate(history, AS_OF, asked, recipe))
    plain = Recipe("here")
    assert ids(apart.slate(history, AS_OF, asked, plain)) == ids(made.slate(history, AS_OF, asked, plain))


@settings(max_examples=250, deadline=None)
@given(
    n_items=st.integers(0, 12),
    seed=st.integers(0, 3),
    rows=ROWS,
    rules=RULES,
    exclude=EXCLUDE,
    where=st.sampled_from(list(FILTERS)),
    limit=st.integers(1, 15),
    candidates=st.none() | st.lists(ITEM, min_size=1, max_size=8),
    seeds=st.just([]) | st.lists(ITEM, max_size=3),
    out_of_stock=st.lists(ITEM, max_size=4),
    explores=st.booleans(),
)
def test_no_list_holds_what_is_filtered_owned_out_of_stock_repeated_or_padded(
    n_items, seed, rows, rules, exclude, where, limit, candidates, seeds, out_of_stock, explores
):
    front = shop(n_items, seed, out_of_stock, beliefs=explores)
    recipe = Recipe("home", rules=rules, exploration=ExplorationSettings((2,) if explores else (), candidates=5))
    chosen = None if candidates is None else tuple(candidates)
    request = SlateRequest(limit, where, exclude=exclude, seed_items=tuple(seeds), candidates=chosen)
    slate = front.slate(view_of(rows), AS_OF, request, recipe, 0.5, recommendation_id="r-1")
    numbers = [int(item[1:]) for item in ids(slate)]
    bought = {item for _, item, when, kind in rows if kind == "purchase"}
    recent = {item for _, item, when, kind in rows if kind == "purchase" and when >= 23}
    seen = {item for _, item, when, kind in rows if kind == "view"}
    assert len(numbers) <= limit
    assert len(set(numbers)) == len(numbers)
    assert all(number < n_items for number in numbers)
    assert all(FILTERS[where](number) and FILTERS[rules.where](number) for number in numbers)
    shown = set(ids(slate))
    assert not shown & set(out_of_stock)
    assert not shown & {one for one in seeds if one in front.catalogue.item_ids}
    if candidates is not None:
        assert {item.item_id for item in slate.items if item.shown_as == "ranked"} <= set(candidates)
    assert not (exclude.owned and shown & bought)
    assert not (exclude.bought_within_days and shown & recent)
    assert not (exclude.seen and shown & seen)
    assert [item.position for item in slate.items] == list(range(1, len(numbers) + 1))
    assert all(np.isfinite(item.score) and item.reason for item in slate.items)
    assert slate.filtered_count == sum(slate.filtered.values())
    if slate.propensities is not None:
        assert len(slate.propensities) == len(numbers)
        assert all(0 < one <= 1 for one in slate.propensities)
    sponsored = np.cumsum([item.shown_as == "sponsored" for item in slate.items])
    assert all(count <= rules.sponsored.share * (place + 1) + 1e-9 for place, count in enumerate(sponsored))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 3), rows=ROWS, rules=RULES, size=st.integers(1, 5))
def test_pages_together_are_the_long_list(seed, rows, rules, size):
    front, recipe = shop(12, seed), Recipe("home", rules=rules)
    whole = front.slate(view_of(rows), AS_OF, SlateRequest(12), recipe)
    shown, more = [], True
    while more:
        page = front.slate(view_of(rows), AS_OF, SlateRequest(size, earlier=tuple(shown)), recipe)
        assert page.items or not shown or not page.more
        shown += ids(page)
        more = page.more
    assert shown == ids(whole)


def test_with_high_risk_the_list_turns_to_what_brings_the_customer_back():
    rows = [("ann", "i0", when, "purchase") for when in (0.0, 4.0, 8.0, 12.0)] + [("ann", "i5", 29.0, "view")]
    recipe = load_recipes()["email"]
    free = dataclasses.replace(recipe, rules=SlateRules())
    front = shop()
    staying = front.slate(view_of(rows), AS_OF, SlateRequest(12), free, 0.0)
    leaving = front.slate(view_of(rows), AS_OF, SlateRequest(12), free, 1.0)
    assert staying.objective["retention"] == 0.0
    assert leaving.objective == {"relevance": 1.0, "margin": 0.0, "discovery": 0.0, "retention": 0.5}
    share = {name: one.items[ids(one).index("i0")].score for name, one in (("s", staying), ("l", leaving))}
    assert share["l"] >= share["s"]


def test_a_slot_that_explores_draws_by_the_recommendations_id_and_tells_the_chance():
    front = shop(12, beliefs=True)
    recipe = Recipe("home", exploration=ExplorationSettings((3,), floor=0.05, candidates=6))
    slates = [
        front.slate(None, AS_OF, SlateRequest(4), recipe, recommendation_id=f"r-{number}") for number in range(60)
    ]
    assert all(one.propensities[:2] == (1.0, 1.0) for one in slates)
    drawn = {ids(one)[2]: one.propensities[2] for one in slates}
    assert len(drawn) >= 4  # of 6, each with a chance of about a sixth
    assert all(0.05 <= chance <= 0.95 for chance in drawn.values())
    again = front.slate(None, AS_OF, SlateRequest(4), recipe, recommendation_id="r-7")
    assert again == slates[7]
    quiet = front.slate(None, AS_OF, SlateRequest(4), recipe)
    assert quiet.propensities is None


def test_an_own_weight_of_a_source_changes_the_list_and_none_left_is_as_fitted():
    rows = [("ann", "i7", 1.0, "purchase")]
    popular = Recipe("home", sources={"als": _asking(0.0), "buy_again": _asking(0.0)})
    nothing = Recipe("home", sources={name: _asking(0.0) for name in ("als", "buy_again", "popularity")})
    front = shop()
    assert {item.source for item in front.slate(view_of(rows), AS_OF, SlateRequest(5), popular).items} == {"popularity"}
    as_fitted = front.slate(view_of(rows), AS_OF, SlateRequest(5), Recipe("home"))
    assert front.slate(view_of(rows), AS_OF, SlateRequest(5), nothing) == as_fitted


def _asking(weight):
    from serving.recipe import Asking

    return Asking(weight)


@pytest.mark.parametrize("name", sorted(load_recipes()))
def test_the_shipped_recipes_serve_a_visitor_and_a_customer(name):
    recipe, front = load_recipes()[name], shop()
    for history in (None, view_of([("ann", "i1", 1.0, "purchase"), ("ann", "i2", 29.0, "view")])):
        assert front.slate(history, AS_OF + 40 * DAY_US, SlateRequest(), recipe).items


def test_while_the_customer_is_here_the_weights_of_the_session_count():
    front = shop()
    settings = dataclasses.replace(front.recommender.settings, session={"popularity": 1.0})
    here = Storefront(dataclasses.replace(front.recommender, settings=settings), front.catalogue)
    rows = [("ann", "i7", 1.0, "purchase"), ("ann", "i2", 29.99, "view")]  # 14.4 minutes before
    now = here.slate(view_of(rows), AS_OF, SlateRequest(5), Recipe("home"))
    assert {item.source for item in now.items} == {"popularity"}
    later = here.slate(view_of(rows), AS_OF + DAY_US, SlateRequest(5), Recipe("home"))
    assert "als" in {item.source for item in later.items}
    seeds = here.slate(view_of(rows), AS_OF, SlateRequest(5, seed_items=("i1",)), Recipe("home"))
    assert {item.source for item in seeds.items} == {"als"}
