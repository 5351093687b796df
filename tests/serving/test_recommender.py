from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ArtefactError, DataError
from serving.catalogue import Catalogue
from serving.recommender import Recommender, RecommenderSettings
from serving.recommender_files import SETTINGS_FILE, array_file
from serving.recommender_settings import USUAL_BLEND
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.popularity import PopularitySource
from tests.plain_slates import ids, plain_slate
from tests.shop_events import day, view_of

AS_OF = day(30)
ALS, POPULARITY, BUY_AGAIN = {"als": 1.0}, {"popularity": 1.0}, {"buy_again": 1.0}
FACTORS_FILE = array_file("als", "item_factors")


def made(n_items=6, seed=0, blend=None, popularity=None):
    """A recommender of items i0, i1, ...; popularity falls with the number unless given."""
    factors = np.random.default_rng(seed).normal(size=(n_items, 3)).astype(np.float32)
    return of_factors(factors, blend, range(n_items, 0, -1) if popularity is None else popularity)


def of_factors(factors, blend=None, popularity=None):
    n_items = len(factors)
    return Recommender(
        Catalogue.nothing_said([f"i{number}" for number in range(n_items)]),
        (
            FactorSource(
                np.array(factors, np.float32).reshape(n_items, -1 if n_items else 3), alpha=20.0, regularization=100.0
            ),
            PopularitySource(np.array(range(n_items, 0, -1) if popularity is None else popularity, np.float32)),
            BuyAgainSource(np.full(n_items, 0.02), np.full(n_items, 20.0), prior_days=60.0, horizon_days=30.0),
        ),
        RecommenderSettings(blend=blend or dict(USUAL_BLEND)),
    )


def bought(*items, when=1.0):
    return view_of([("ann", item, when, "purchase") for item in items])


def test_a_visitor_nobody_knows_gets_what_is_popular():
    slate = plain_slate(made(), None, AS_OF, 3)
    assert ids(slate) == ["i0", "i1", "i2"]
    assert (slate.strategy, slate.fallback) == ("popularity", True)
    assert {(item.source, item.reason) for item in slate.items} == {("popularity", "popular now")}
    assert [item.position for item in slate.items] == [1, 2, 3]


def test_a_cold_customer_gets_what_is_popular_even_where_popularity_has_no_weight():
    alone = made(blend=ALS)
    slate = plain_slate(alone, view_of([("ann", "not in the catalogue", 1, "purchase")]), AS_OF, 2)
    assert ids(slate) == ["i0", "i1"]
    assert (slate.strategy, slate.fallback) == ("popularity", True)


def test_a_known_customer_gets_a_personal_slate():
    slate = plain_slate(made(), bought("i3"), AS_OF, 3)
    assert (slate.strategy, slate.fallback, slate.filtered_count) == ("personal", False, 0)


def test_items_of_no_popularity_are_not_shown_to_a_cold_customer():
    assert ids(plain_slate(made(popularity=[0, 2, 0, 1, 0, 0]), None, AS_OF, 6)) == ["i1", "i3"]


def test_the_reason_says_whether_an_item_is_due():
    # gap = (0 own + 20 of the item) / 1 purchase = 20 days: bought 29 days ago is due, 9 days ago is not
    alone = made(blend=BUY_AGAIN)
    history = view_of([("ann", "i2", 1, "purchase"), ("ann", "i4", 21, "purchase")])
    slate = plain_slate(alone, history, AS_OF, 6)
    assert [(item.item_id, item.source, item.reason) for item in slate.items[:2]] == [
        ("i2", "buy_again", "due again"),
        ("i4", "buy_again", "bought before"),
    ]


def test_what_is_popular_stands_behind_all_else_where_the_sources_know_too_little():
    history = view_of([("ann", "i4", 21, "purchase")])
    slate = plain_slate(made(blend=BUY_AGAIN, popularity=[1, 3, 2, 0, 9, 0]), history, AS_OF, 5)
    assert [(item.item_id, item.source) for item in slate.items] == [
        ("i4", "buy_again"),
        ("i1", "popularity"),
        ("i2", "popularity"),
        ("i0", "popularity"),
    ]


def test_an_event_at_as_of_or_recorded_later_changes_nothing():
    early = [("ann", "i3", 1, "purchase")]
    late = [("ann", "i4", 30, "purchase"), ("ann", "i5", 2, "purchase", 30)]
    shop = made()
    assert plain_slate(shop, view_of(early + late), AS_OF, 6) == plain_slate(shop, view_of(early), AS_OF, 6)


def test_the_last_event_counts():
    shop = made(blend=ALS)
    before = plain_slate(shop, bought("i3"), AS_OF, 6)
    after = plain_slate(shop, view_of([("ann", "i3", 1, "purchase"), ("ann", "i4", 29.9, "view")]), AS_OF, 6)
    assert [item.score for item in before.items] != [item.score for item in after.items]


def test_owned_items_are_excluded_and_counted():
    slate = plain_slate(made(), bought("i0", "i3"), AS_OF, 6, owned=True)
    assert sorted(ids(slate)) == ["i1", "i2", "i4", "i5"]
    assert (slate.filtered_count, slate.filtered["owned"]) == (2, 2)


def test_lists_without_what_is_owned_have_weights_of_their_own():
    recommender = made(blend=ALS)
    settings = dataclasses.replace(recommender.settings, new=POPULARITY)
    apart = dataclasses.replace(recommender, settings=settings)
    history = bought("i2")
    assert ids(plain_slate(apart, history, AS_OF, 5)) == ids(plain_slate(recommender, history, AS_OF, 5))
    # popularity falls with the number; i2 is owned
    assert ids(plain_slate(apart, history, AS_OF, 5, owned=True)) == ["i0", "i1", "i3", "i4", "i5"]
    assert apart.rank(history, AS_OF, 5, exclude_owned=True).tolist() == [[0, 1, 3, 4, 5]]
    # one source judged alone is that one alone, whatever is excluded
    alone = apart.with_blend(ALS)
    assert ids(plain_slate(alone, history, AS_OF, 5, owned=True)) == ids(
        plain_slate(recommender, history, AS_OF, 5, owned=True)
    )
    # items like a given one are asked for by their own weights
    similar, expected = (
        plain_slate(one, history, AS_OF, 5, owned=True, seed_items=("i0",)) for one in (apart, recommender)
    )
    assert ids(similar) == ids(expected)


def test_all_items_owned_gives_an_empty_slate():
    slate = plain_slate(made(2), bought("i0", "i1"), AS_OF, 5, owned=True)
    assert (slate.items, slate.filtered_count, slate.strategy) == ((), 2, "personal")


def test_given_candidates_alone_are_ranked_and_unknown_ones_counted():
    given = ("i0", "x", "i3", "i1", "i3", "y")
    slate = plain_slate(made(popularity=[0, 2, 0, 1, 0, 0]), None, AS_OF, 5, candidates=given)
    assert ids(slate) == ["i1", "i3", "i0"]
    assert slate.unknown_count == 2


def test_stock_applies_to_given_candidates():
    slate = plain_slate(made(), None, AS_OF, 5, candidates=("i0", "i3"), out_of_stock=["i0", "i5", "elsewhere"])
    assert (ids(slate), slate.filtered_count) == (["i3"], 1)


def test_items_like_one_follow_its_direction():
    # YtY is diagonal, so who was drawn to i0 = (1, 0) alone has the vector (x, 0) with x > 0:
    # i3 has 3 x, i1 and i2 have 2 x, i4 has -x and is not like it
    shop = of_factors([[1, 0], [2, 2], [2, -2], [3, 0], [-1, 0]])
    slate = plain_slate(shop, None, AS_OF, 10, seed_items=("i0",))
    assert ids(slate) == ["i3", "i1", "i2"]
    assert slate.items[1].score == pytest.approx(2 / 3)
    assert (slate.strategy, slate.fallback, slate.items[0].source) == ("similar", False, "als")
    assert {item.reason for item in slate.items} == {"similar to what you are looking at"}


def test_unknown_seed_items_fall_back_to_the_customers_own_slate():
    slate = plain_slate(made(), bought("i3"), AS_OF, 3, seed_items=("elsewhere",))
    assert ids(slate) == ids(plain_slate(made(), bought("i3"), AS_OF, 3))
    assert (slate.strategy, slate.fallback, slate.unknown_count) == ("personal", True, 1)


def test_an_empty_catalogue_gives_an_empty_slate():
    slate = plain_slate(made(0), bought("i3"), AS_OF, 3)
    assert (slate.items, slate.strategy, slate.fallback, slate.filtered_count) == ((), "none", True, 0)


def test_one_item_is_a_slate_of_one():
    assert ids(plain_slate(made(1), bought("i0"), AS_OF, 10)) == ["i0"]


@pytest.mark.parametrize("k", [0, -1])
def test_a_limit_below_one_is_refused(k):
    with pytest.raises(DataError, match="at least 1"):
        plain_slate(made(), None, AS_OF, k)


def test_two_customers_at_once_are_refused():
    with pytest.raises(DataError, match="a slate is of one customer, not 2"):
        plain_slate(made(), view_of([("ann", "i0", 1, "view"), ("ben", "i0", 1, "view")]), AS_OF, 1)


EVENT = st.tuples(
    st.sampled_from(["ann", "ben", "cat"]),
    st.integers(0, 14).map("i{}".format),
    st.integers(0, 300).map(lambda tenth: tenth / 10),
    st.sampled_from(["purchase", "view", "return"]),
)
ITEMS = st.lists(st.integers(0, 14).map("i{}".format), max_size=8)
BLEND = st.sampled_from([dict(USUAL_BLEND), ALS, BUY_AGAIN, {"als": 0.2, "popularity": 0.8}])


@settings(max_examples=150, deadline=None)
@given(
    n_items=st.integers(0, 12),
    seed=st.integers(0, 5),
    blend=BLEND,
    rows=st.lists(EVENT, max_size=25),
    k=st.integers(1, 15),
    owned=st.booleans(),
    candidates=st.none() | ITEMS,
    excluded=ITEMS,
    seeds=st.just([]) | ITEMS,
)
def test_without_rules_what_is_taken_out_is_counted_and_moves_nothing(
    n_items, seed, blend, rows, k, owned, candidates, excluded, seeds
):
    recommender = made(n_items, seed, blend)
    rows = [("ann", *rest) for _, *rest in rows]
    view = view_of(rows)
    given_alone = None if candidates is None else tuple(candidates)
    slate = plain_slate(
        recommender,
        view,
        AS_OF,
        k,
        owned=owned,
        out_of_stock=excluded,
        candidates=given_alone,
        seed_items=tuple(seeds),
    )
    catalogue = set(recommender.item_ids)
    pool = catalogue if candidates is None else catalogue & set(candidates)
    purchased = {item for _, item, when, kind in rows if kind == "purchase" and when < 30}
    open_items = pool - set(excluded) - set(seeds) - (purchased if owned else set())
    assert slate.filtered_count == len(pool) - len(open_items)
    assert [item.score for item in slate.items] == sorted((item.score for item in slate.items), reverse=True)
    if candidates is not None:
        assert len(slate.items) == min(k, len(open_items))
    if not seeds and candidates is None:
        full = ids(plain_slate(recommender, view, AS_OF, max(n_items, 1)))
        assert ids(slate) == [item for item in full if item in open_items][:k]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 5), blend=BLEND, rows=st.lists(EVENT, max_size=40), owned=st.booleans())
def test_many_customers_are_ranked_as_each_is_shown_alone(seed, blend, rows, owned):
    recommender = made(12, seed, blend)
    view = view_of(rows)
    places = recommender.rank(view, AS_OF, 5, exclude_owned=owned)
    assert places.shape == (view.n_customers, 5)
    for row, ranked in enumerate(places):
        slate = plain_slate(recommender, view.select([row]), AS_OF, 5, owned=owned)
        assert [recommender.item_ids[place] for place in ranked if place >= 0] == ids(slate)


def test_files_come_back_as_the_same_recommender():
    recommender = made(blend={"als": 0.5, "popularity": 0.25, "buy_again": 0.25})
    files = recommender.to_files()
    again = Recommender.from_files(files)
    assert again.settings == recommender.settings
    assert again.to_files() == files
    assert plain_slate(again, bought("i3"), AS_OF, 6) == plain_slate(recommender, bought("i3"), AS_OF, 6)


def rewritten(**changed):
    recommender = made()
    als, popular, again = recommender.sources
    arrays = {
        "item_factors": als.item_factors,
        "popularity": popular.popularity,
        "gap_days": again.gap_days,
        **changed,
    }
    sources = (
        FactorSource(arrays["item_factors"], 20.0, 100.0),
        PopularitySource(arrays["popularity"]),
        BuyAgainSource(again.rate_per_day, arrays["gap_days"], 60.0, 30.0),
    )
    return Recommender(recommender.catalogue, sources, recommender.settings).to_files()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"item_factors": np.zeros((5, 3), np.float32)}, "als is of 5 items, the catalogue of 6"),
        ({"item_factors": np.zeros((6, 3))}, "item_factors must be"),
        ({"item_factors": np.full((6, 3), np.nan, np.float32)}, "not finite"),
        ({"popularity": np.ones(7, np.float32)}, "popularity is of 7 items"),
        ({"popularity": -np.ones(6, np.float32)}, "too small"),
        ({"gap_days": np.zeros(6)}, "too small"),
        ({"gap_days": np.ones(5)}, "of one length"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(changed, words):
    with pytest.raises(ArtefactError, match=words):
        Recommender.from_files(rewritten(**changed))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (FACTORS_FILE, None, "no file"),
        (SETTINGS_FILE, None, "no file"),
        ("catalogue.json", None, "no file"),
        (FACTORS_FILE, lambda b: b[: len(b) // 2], "truncated"),
        (FACTORS_FILE, lambda _: b"", "truncated"),
        (FACTORS_FILE, lambda b: b[:-1], "truncated"),
        (FACTORS_FILE, lambda b: b.replace(b"(6, 3)", b"(6,-3)"), "truncated"),
        (SETTINGS_FILE, lambda b: b[:-5], "not JSON"),
        (SETTINGS_FILE, lambda _: b"[" * 100_000, "not JSON"),
        (SETTINGS_FILE, lambda b: b.replace(b'"alpha": ', b'"alpha": NaN, "was": '), "finite"),
        (SETTINGS_FILE, lambda b: b.replace(b'"alpha"', b'"alhpa"'), "alpha"),
        (SETTINGS_FILE, lambda b: b.replace(b'"regularization": 100.0', b'"regularization": 0.0'), "regularization"),
        (SETTINGS_FILE, lambda b: b.replace(b'"kind": "factors"', b'"kind": "oracle"'), "oracle"),
        (SETTINGS_FILE, lambda b: b.replace(b'"name": "popularity"', b'"name": "als"'), "no file als.popularity.npy"),
        (SETTINGS_FILE, lambda b: b.replace(b'"candidates"', b'"candles"'), "candles"),
        (SETTINGS_FILE, lambda b: b.replace(b'"format": 2', b'"format": 1'), "format"),
    ],
)
def test_a_damaged_file_is_refused(name, content, words):
    files = made().to_files()
    if content is None:
        del files[name]
    else:
        files[name] = content(files[name])
    with pytest.raises(ArtefactError, match=words):
        Recommender.from_files(files)


def test_arrays_of_python_objects_are_refused():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ArtefactError, match="not an array of numbers"):
        Recommender.from_files({**made().to_files(), FACTORS_FILE: buffer.getvalue()})


def test_arrays_are_read_where_they_lie():
    files = made().to_files()
    (als, *_) = Recommender.from_files(files).sources
    assert np.shares_memory(als.item_factors, np.frombuffer(files[FACTORS_FILE], np.uint8))
