from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from serving.catalogue import Catalogue
from serving.ranking import Candidates, gather
from serving.ranking_features import Context, ItemFacts, feature_names, fingerprint, pair_features
from serving.sources.buy_again import BuyAgainSource
from serving.sources.histories import Histories
from serving.sources.popularity import PopularitySource

NAN = float("nan")
CATALOGUE = Catalogue.read(
    pa.table(
        {
            "item_id": ["cup", "pot", "saw", "gift"],
            "category": ["kitchen", "kitchen", "tools", None],
            "brand": ["x", "y", "y", "x"],
            "price_minor": [100, 400, 800, None],
        }
    ),
    ("cup", "pot", "saw", "gift"),
)
SOURCES = (
    PopularitySource(np.array([2, 1, 1, 0], np.float32)),
    BuyAgainSource(np.full(4, 0.1), np.full(4, 20.0), prior_days=60.0, horizon_days=30.0),
)
FACTS = ItemFacts.of(CATALOGUE, SOURCES)
BOTH = ("popularity", "buy_again")
NAMES = feature_names(BOTH)
# two days ago a cup, yesterday a cup and a pot
ONE = Histories.of_baskets([[(0,), (0, 1)]], 4)


def features(histories, found, context=None):
    return pair_features(BOTH, found, np.zeros(found.places.shape), histories, FACTS, context)


def found_of(histories, limit=4):
    return gather(SOURCES, histories, limit)


def column(table, name):
    return table[0, :, NAMES.index(name)].tolist()


@pytest.fixture(scope="module")
def table():
    places = np.array([[-1, 0, 1, 2, 3]])
    scores = (np.array([[NAN, 2, 1, 1, NAN]], np.float32), np.array([[NAN, 0.5, 0.25, NAN, NAN]], np.float32))
    found = Candidates(places, scores, (np.array([2], np.float32), np.array([0.5], np.float32)))
    return pair_features(BOTH, found, np.array([[NAN, 0.9, 0.5, 0.4, 0.1]]), ONE, FACTS)[:, 1:]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("buy_again_score", [1, 0.5, NAN, NAN]),
        ("sources_share", [1, 1, 0.5, 0]),
        ("blend_score", [0.9, 0.5, 0.4, 0.1]),
        ("customer_items_count", [2] * 4),
        ("customer_steps_count", [3] * 4),
        ("customer_purchases_count", [3] * 4),
        ("customer_last_step_days", [1] * 4),
        ("pair_weight_share", [0.5, 0.5, 0, 0]),
        ("pair_steps_count", [2, 1, 0, 0]),
        ("pair_last_step_days", [1, 1, NAN, NAN]),
        ("pair_purchases_count", [2, 1, 0, 0]),
        ("pair_last_purchase_days", [1, 1, NAN, NAN]),
        # cup: one own gap of 1 day and the item's of 20, so (1 + 20) / 2 a gap; pot: 20 / 1
        ("pair_due", [1 / 10.5, 1 / 20, NAN, NAN]),
        ("pair_category_share", [1, 1, 0, NAN]),
        ("pair_brand_share", [0.5, 0.5, 0.5, 0.5]),
        # two cups at 100 and a pot at 400: usual is (100 * 100 * 400) ** (1 / 3)
        ("pair_price_log_ratio", [np.log(p / 4_000_000 ** (1 / 3)) for p in (100, 400, 800)] + [NAN]),
        ("placement", [NAN] * 4),
        ("churn_probability", [NAN] * 4),
    ],
)
def test_every_column_by_hand(table, name, expected):
    assert column(table, name) == pytest.approx(expected, nan_ok=True)


def test_every_column_is_named_and_a_place_of_nobody_has_none():
    found = Candidates(np.array([[-1]]), (np.full((1, 1), NAN, np.float32),) * 2, (np.zeros(1, np.float32),) * 2)
    table = features(ONE, found)
    assert table.shape == (1, 1, len(NAMES))
    assert np.isnan(table).all()


def test_nothing_tells_items_apart_whoever_asks():
    assert not any("popularity" in name for name in NAMES)
    nobody = Histories.nobody(0)
    table = features(nobody, found_of(nobody))[0]
    assert len(np.unique(np.nan_to_num(table, nan=-1.0), axis=0)) == 1


def test_the_context_is_told_where_it_is_known():
    table = features(ONE, found_of(ONE), Context(placement=3, churn_probability=np.array([0.25])))
    assert set(column(table, "placement")) == {3.0}
    assert set(column(table, "churn_probability")) == {0.25}


def customers(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return Histories.of_lists([rng.integers(0, 4, rng.integers(0, 6)).tolist() for _ in range(n)], 4)


def test_a_customer_alone_has_the_same_features_as_among_others():
    histories = customers()
    together, found = features(histories, found_of(histories)), found_of(histories)
    for row in range(histories.n_customers):
        one = histories.part(row, row + 1)
        places = found.places[row : row + 1]
        alone = features(
            one,
            Candidates(
                places, tuple(s[row : row + 1] for s in found.scores), tuple(b[row : row + 1] for b in found.best)
            ),
        )
        assert np.array_equal(alone[0], together[row], equal_nan=True)


def test_a_filter_takes_pairs_out_and_changes_none():
    histories = customers()
    allowed = np.array([True, False, True, True])
    whole, filtered = found_of(histories), gather(SOURCES, histories, 4, allowed)
    table, fewer = features(histories, whole), features(histories, filtered)
    for row in range(histories.n_customers):
        for place, own in zip(filtered.places[row], fewer[row], strict=True):
            if place >= 0:
                (same,) = table[row][whole.places[row] == place]
                assert np.array_equal(same, own, equal_nan=True)


def test_items_turned_down_count_against_and_draw_to_no_category():
    histories = dataclasses.replace(ONE, weights=np.array([3.0, -1.0]))
    table = features(histories, found_of(histories))
    assert column(table, "pair_weight_share")[:2] == [0.75, -0.25]
    assert column(table, "pair_brand_share")[:3] == [1.0, 0.0, 0.0]


def test_without_attributes_or_cycles_their_columns_are_missing():
    facts = ItemFacts.of(Catalogue.nothing_said(("cup", "pot", "saw", "gift")), ())
    found = found_of(ONE)
    table = pair_features(BOTH, found, np.zeros(found.places.shape), ONE, facts)
    for name in ("pair_due", "pair_category_share", "pair_brand_share"):
        assert np.isnan(column(table, name)).all()
    assert np.isnan(column(table, "pair_price_log_ratio")).all()


def test_the_fingerprint_tells_other_sources_and_another_order():
    prints = {fingerprint(one) for one in (("als",), ("als", "popularity"), ("popularity", "als"))}
    assert len(prints) == 3
    assert fingerprint(("als",)) in prints
