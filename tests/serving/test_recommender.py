from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ArtefactError, DataError
from serving.ranking import BlendWeights
from serving.recommender import Recommender, RecommenderSettings
from serving.recommender_files import ARRAYS_FILE, SETTINGS_FILE
from tests.shop_events import day, view_of

AS_OF = day(30)


def made(n_items=6, seed=0, blend=None, popularity=None):
    """A recommender of items i0, i1, ...; popularity falls with the number unless given."""
    rng = np.random.default_rng(seed)
    return Recommender(
        item_ids=tuple(f"i{number}" for number in range(n_items)),
        item_factors=rng.normal(size=(n_items, 3)).astype(np.float32),
        popularity=np.arange(n_items, 0, -1, dtype=np.float64) if popularity is None else np.array(popularity),
        rate_per_day=np.full(n_items, 0.02),
        gap_days=np.full(n_items, 20.0),
        settings=RecommenderSettings(blend=blend or BlendWeights()),
    )


def bought(*items, when=1.0):
    return view_of([("ann", item, when, "purchase") for item in items])


def ids(slate):
    return [item.item_id for item in slate.items]


def test_a_visitor_nobody_knows_gets_what_is_popular():
    slate = made().slate(None, AS_OF, 3)
    assert ids(slate) == ["i0", "i1", "i2"]
    assert (slate.strategy, slate.fallback) == ("popularity", True)
    assert {(item.source, item.reason) for item in slate.items} == {("popularity", "popular now")}
    assert [item.position for item in slate.items] == [1, 2, 3]


def test_a_cold_customer_gets_what_is_popular_even_where_popularity_has_no_weight():
    alone = made(blend=BlendWeights(als=1, popularity=0, buy_again=0))
    slate = alone.slate(view_of([("ann", "not in the catalogue", 1, "purchase")]), AS_OF, 2)
    assert ids(slate) == ["i0", "i1"]
    assert (slate.strategy, slate.fallback) == ("popularity", True)


def test_a_known_customer_gets_a_personal_slate():
    slate = made().slate(bought("i3"), AS_OF, 3)
    assert (slate.strategy, slate.fallback, slate.filtered_count) == ("personal", False, 0)


def test_items_of_no_popularity_are_not_shown_to_a_cold_customer():
    assert ids(made(popularity=[0, 2, 0, 1, 0, 0]).slate(None, AS_OF, 6)) == ["i1", "i3"]


def test_the_reason_says_whether_an_item_is_due():
    # gap = (0 own + 20 of the item) / 1 purchase = 20 days: bought 29 days ago is due, 9 days ago is not
    alone = made(blend=BlendWeights(als=0, popularity=0, buy_again=1))
    history = view_of([("ann", "i2", 1, "purchase"), ("ann", "i4", 21, "purchase")])
    slate = alone.slate(history, AS_OF, 6)
    assert [(item.item_id, item.source, item.reason) for item in slate.items] == [
        ("i2", "buy_again", "due again"),
        ("i4", "buy_again", "bought before"),
    ]


def test_an_event_at_as_of_or_recorded_later_changes_nothing():
    early = [("ann", "i3", 1, "purchase")]
    late = [("ann", "i4", 30, "purchase"), ("ann", "i5", 2, "purchase", 30)]
    recommender = made()
    assert recommender.slate(view_of(early + late), AS_OF, 6) == recommender.slate(view_of(early), AS_OF, 6)


def test_the_last_event_counts():
    recommender = made(blend=BlendWeights(als=1, popularity=0, buy_again=0))
    before = recommender.slate(bought("i3"), AS_OF, 6)
    after = recommender.slate(view_of([("ann", "i3", 1, "purchase"), ("ann", "i4", 29.9, "view")]), AS_OF, 6)
    assert [item.score for item in before.items] != [item.score for item in after.items]


def test_owned_items_are_excluded_and_counted():
    slate = made().slate(bought("i0", "i3"), AS_OF, 6, exclude_owned=True)
    assert sorted(ids(slate)) == ["i1", "i2", "i4", "i5"]
    assert slate.filtered_count == 2


def test_all_items_owned_gives_an_empty_slate():
    slate = made(2).slate(bought("i0", "i1"), AS_OF, 5, exclude_owned=True)
    assert (slate.items, slate.filtered_count, slate.strategy) == ((), 2, "personal")


def test_allowed_items_as_ids_and_as_a_mask_are_the_same():
    recommender = made()
    by_ids = recommender.slate(bought("i3"), AS_OF, 6, allowed={"i1", "i2", "elsewhere"})
    assert sorted(ids(by_ids)) == ["i1", "i2"]
    assert by_ids.filtered_count == 4
    assert recommender.slate(bought("i3"), AS_OF, 6, allowed=recommender.mask(["i1", "i2"])) == by_ids


def test_items_out_of_stock_are_never_shown():
    slate = made().slate(None, AS_OF, 3, excluded=["i0", "i2", "elsewhere"])
    assert ids(slate) == ["i1", "i3", "i4"]
    assert slate.filtered_count == 2


def test_given_candidates_alone_are_ranked_and_unknown_ones_counted():
    slate = made(popularity=[0, 2, 0, 1, 0, 0]).slate(None, AS_OF, 5, candidates=["i0", "x", "i3", "i1", "i3", "y"])
    assert ids(slate) == ["i1", "i3", "i0"]
    assert slate.unknown_count == 2


def test_filters_apply_to_given_candidates():
    slate = made().slate(None, AS_OF, 5, candidates=["i0", "i3"], excluded=["i0", "i5"])
    assert (ids(slate), slate.filtered_count) == (["i3"], 1)


def factors_of(*rows):
    base = made(len(rows))
    return Recommender(
        base.item_ids, np.array(rows, np.float32), base.popularity, base.rate_per_day, base.gap_days, base.settings
    )


def test_similar_items_follow_the_cosine():
    # cosines with i0: i1 1/sqrt(2) = .7071, i2 0, i3 .9487 (3/sqrt(10)), i4 -1: not similar
    recommender = factors_of([1, 0], [2, 2], [0, 5], [3, 1], [-1, 0])
    slate = recommender.similar("i0", 10)
    assert ids(slate) == ["i3", "i1"]
    assert slate.items[1].score == pytest.approx(1 / np.sqrt(2), abs=1e-9)
    assert (slate.strategy, slate.fallback, slate.items[0].source) == ("similar", False, "similar")


def test_an_unknown_item_has_no_similar_items():
    slate = made().similar("elsewhere", 3)
    assert (slate.items, slate.strategy, slate.fallback, slate.unknown_count) == ((), "none", True, 1)


def test_unknown_seed_items_fall_back_to_the_customers_own_slate():
    recommender = made()
    slate = recommender.slate(bought("i3"), AS_OF, 3, seed_items=["elsewhere"])
    assert ids(slate) == ids(recommender.slate(bought("i3"), AS_OF, 3))
    assert (slate.strategy, slate.fallback, slate.unknown_count) == ("personal", True, 1)


def test_an_empty_catalogue_gives_an_empty_slate():
    slate = made(0).slate(bought("i3"), AS_OF, 3)
    assert (slate.items, slate.strategy, slate.fallback, slate.filtered_count) == ((), "none", True, 0)


def test_one_item_is_a_slate_of_one():
    assert ids(made(1).slate(bought("i0"), AS_OF, 10)) == ["i0"]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(DataError, match="at least 1"):
        made().slate(None, AS_OF, k)


def test_two_customers_are_refused_by_slate():
    with pytest.raises(DataError, match="use slates"):
        made().slate(view_of([("ann", "i0", 1, "view"), ("ben", "i0", 1, "view")]), AS_OF, 1)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(DataError, match="mask"):
        made().slate(None, AS_OF, 1, allowed=np.ones(5, np.bool_))


EVENT = st.tuples(
    st.sampled_from(["ann", "ben", "cat"]),
    st.integers(0, 14).map("i{}".format),
    st.integers(0, 300).map(lambda tenth: tenth / 10),
    st.sampled_from(["purchase", "view", "return"]),
)
ITEMS = st.lists(st.integers(0, 14).map("i{}".format), max_size=8)
BLEND = st.sampled_from([BlendWeights(), BlendWeights(1, 0, 0), BlendWeights(0, 0, 1), BlendWeights(0.2, 0.8, 0)])


@settings(max_examples=150, deadline=None)
@given(
    n_items=st.integers(0, 12),
    seed=st.integers(0, 5),
    blend=BLEND,
    rows=st.lists(EVENT, max_size=25),
    k=st.integers(1, 15),
    owned=st.booleans(),
    candidates=st.none() | ITEMS,
    allowed=st.none() | ITEMS,
    excluded=ITEMS,
    seeds=st.just([]) | ITEMS,
)
def test_a_slate_keeps_every_promise(n_items, seed, blend, rows, k, owned, candidates, allowed, excluded, seeds):
    recommender = made(n_items, seed, blend)
    rows = [("ann", *rest) for _, *rest in rows]
    view = view_of(rows)
    slate = recommender.slate(
        view,
        AS_OF,
        k,
        exclude_owned=owned,
        candidates=candidates,
        allowed=allowed,
        excluded=excluded,
        seed_items=seeds,
    )
    shown = ids(slate)
    catalogue = set(recommender.item_ids)
    pool = catalogue if candidates is None else catalogue & set(candidates)
    purchased = {item for _, item, when, kind in rows if kind == "purchase" and when < 30}
    open_items = pool & (catalogue if allowed is None else set(allowed)) - set(excluded) - set(seeds)
    open_items -= purchased if owned else set()
    assert len(shown) <= k
    assert len(set(shown)) == len(shown)
    assert set(shown) <= open_items
    assert slate.filtered_count == len(pool) - len(open_items)
    assert all(np.isfinite(item.score) for item in slate.items)
    assert [item.score for item in slate.items] == sorted((item.score for item in slate.items), reverse=True)
    if candidates is not None:
        assert len(shown) == min(k, len(open_items))
    if not seeds and candidates is None:
        full = ids(recommender.slate(view, AS_OF, max(n_items, 1)))
        assert shown == [item for item in full if item in open_items][:k]  # a filter takes out, and moves nothing


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 5), blend=BLEND, rows=st.lists(EVENT, max_size=40), owned=st.booleans())
def test_many_customers_get_the_slates_they_would_get_alone(seed, blend, rows, owned):
    recommender = made(12, seed, blend)
    view = view_of(rows)
    many = list(recommender.slates(view, AS_OF, 5, exclude_owned=owned))
    assert len(many) == view.n_customers
    for row, slate in enumerate(many):
        assert recommender.slate(view.select([row]), AS_OF, 5, exclude_owned=owned) == slate
    places = recommender.rank(view, AS_OF, 5, exclude_owned=owned)
    assert [[recommender.item_ids[p] for p in row if p >= 0] for row in places] == [ids(slate) for slate in many]


def test_files_come_back_as_the_same_recommender():
    recommender = made(blend=BlendWeights(0.5, 0.25, 0.25))
    files = recommender.to_files()
    again = Recommender.from_files(files)
    assert again.settings == recommender.settings
    assert again.to_files() == files
    assert again.slate(bought("i3"), AS_OF, 6) == recommender.slate(bought("i3"), AS_OF, 6)


def rewritten(**changed):
    recommender = made()
    arrays = {name: getattr(recommender, name) for name in ("item_factors", "popularity", "rate_per_day", "gap_days")}
    return Recommender(recommender.item_ids, **{**arrays, **changed}, settings=recommender.settings).to_files()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"item_factors": np.zeros((5, 3), np.float32)}, "item_factors must be"),
        ({"item_factors": np.zeros((6, 3))}, "item_factors must be"),
        ({"item_factors": np.full((6, 3), np.nan, np.float32)}, "not finite"),
        ({"popularity": np.ones(7)}, "popularity must be"),
        ({"popularity": -np.ones(6)}, "too small"),
        ({"gap_days": np.zeros(6)}, "too small"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(changed, words):
    with pytest.raises(ArtefactError, match=words):
        Recommender.from_files(rewritten(**changed))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (ARRAYS_FILE, None, "no file"),
        (SETTINGS_FILE, None, "no file"),
        (ARRAYS_FILE, lambda b: b[: len(b) // 2], "truncated"),
        (ARRAYS_FILE, lambda _: b"", "truncated"),
        (SETTINGS_FILE, lambda b: b[:-5], "not JSON"),
        (SETTINGS_FILE, lambda _: b"[" * 100_000, "not JSON"),
        (SETTINGS_FILE, lambda b: b.replace(b'"alpha": ', b'"alpha": NaN, "was": '), "finite"),
        (SETTINGS_FILE, lambda b: b.replace(b'"i1"', b'"i0"'), "distinct"),
        (SETTINGS_FILE, lambda b: b.replace(b'"alpha"', b'"alhpa"'), "alhpa"),
        (SETTINGS_FILE, lambda b: b.replace(b'"regularization": 100.0', b'"regularization": 0.0'), "regularization"),
        (SETTINGS_FILE, lambda b: b.replace(b'"format": 1', b'"format": 2'), "format"),
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
    import io

    buffer = io.BytesIO()
    np.savez(buffer, item_factors=np.array([{}], object), popularity=[1.0], rate_per_day=[1.0], gap_days=[1.0])
    with pytest.raises(ArtefactError, match="not an array file"):
        Recommender.from_files({**made().to_files(), ARRAYS_FILE: buffer.getvalue()})
