from __future__ import annotations

import dataclasses
import json

import lightgbm as lgb
import numpy as np
import pytest

from features.errors import ArtefactError
from serving.ranker import NEW_RANKER_FILE, RANKER_FILE, Ranker
from serving.ranking_features import feature_names
from serving.recommender import Recommender
from serving.recommender_files import SETTINGS_FILE
from serving.trees import Trees
from tests import tiny_shop
from tests.plain_slates import ids, plain_slate
from tests.shop_events import day, view_of

SOURCES = ("als", "popularity", "buy_again")
WEIGHTS = (0.6, 0.1, 0.3)
NAMES = feature_names(SOURCES)


def trees_of(column, objective="lambdarank", sign=1.0, names=NAMES):
    """Trees that put items with more of one feature first, or last."""
    rng = np.random.default_rng(0)
    values = rng.random((2_000, len(names)))
    wanted = sign * values[:, names.index(column)]
    labels = np.digitize(wanted, np.quantile(wanted, (0.3, 0.6, 0.9))).astype(float)
    parameters = {"objective": objective, "num_leaves": 8, "verbosity": -1, "num_threads": 1}
    data = lgb.Dataset(values, labels, group=[20] * 100, feature_name=list(names))
    return Trees(names, lgb.train(parameters, data, 10).model_to_string(), objective)


@pytest.fixture(scope="module")
def contrary():
    """A ranker for which it is good that the customer never met the item."""
    return Ranker(SOURCES, WEIGHTS, trees_of("pair_steps_count", sign=-1.0), blend_scale=0.5)


@pytest.fixture(scope="module")
def shop(contrary):
    return dataclasses.replace(tiny_shop.recommender(), ranker=contrary)


HISTORY = view_of([("c", "apple", 1, "purchase"), ("c", "bread", 2, "view")])


def test_scores_are_what_trees_and_blend_add_up_to_cut_softly_at_0(contrary):
    values = np.random.default_rng(1).random((3, 4, len(NAMES)))
    blended = np.arange(12.0).reshape(3, 4)
    margins = contrary.trees.margins(values.reshape(12, -1)).reshape(3, 4)
    expected = np.log(1 + np.exp(margins + 0.5 * blended)) / 0.5
    np.testing.assert_allclose(contrary.scores(values, blended), expected, atol=1e-8)
    assert contrary.scores(np.empty((2, 0, len(NAMES))), np.empty((2, 0))).shape == (2, 0)


def test_a_pair_alone_scores_as_among_others(contrary):
    values, blended = (
        np.random.default_rng(2).random((1, 3_000, len(NAMES))),
        np.random.default_rng(3).random((1, 3_000)),
    )
    together = contrary.scores(values, blended)
    few = slice(100, 140)
    assert np.array_equal(contrary.scores(values[:, few], blended[:, few]), together[:, few])


def test_the_ranker_decides_and_the_blend_where_it_is_set_aside(shop):
    ranked = ids(plain_slate(shop, HISTORY, day(10), 5))
    blended = ids(plain_slate(shop.with_blend(shop.settings.blend), HISTORY, day(10), 5))
    assert blended == ids(plain_slate(tiny_shop.recommender(), HISTORY, day(10), 5))
    # the two that the customer was drawn to are last now
    assert set(blended[:2]) == set(ranked[-2:]) == {"apple", "bread"}
    assert set(ranked) == set(blended)


def test_cold_customers_and_similar_items_keep_the_blend(shop):
    plain = tiny_shop.recommender()
    assert plain_slate(shop, None, day(10), 5) == plain_slate(plain, None, day(10), 5)
    assert plain_slate(shop, HISTORY, day(10), 3, seed_items=("apple",)) == plain_slate(
        plain, HISTORY, day(10), 3, seed_items=("apple",)
    )


def test_a_placement_without_one_of_its_sources_keeps_the_blend(shop):
    histories, eligible = shop.histories(HISTORY, day(10)), np.ones(len(shop.item_ids), np.bool_)
    weights = {"als": 1.0, "popularity": 1.0}
    ranked, _ = shop.ranked(histories, eligible, 5, weights=weights)
    plain, _ = tiny_shop.recommender().ranked(histories, eligible, 5, weights=weights)
    assert np.array_equal(ranked.places, plain.places)
    assert np.array_equal(ranked.scores, plain.scores)


def test_a_ranker_of_all_items_does_not_order_new_ones_where_these_have_weights_of_their_own(shop):
    apart = dataclasses.replace(shop, settings=dataclasses.replace(shop.settings, new={"popularity": 1.0}))
    plain = apart.with_blend({"popularity": 1.0})
    assert plain_slate(apart, HISTORY, day(10), 4) == plain_slate(shop, HISTORY, day(10), 4)
    new = plain_slate(apart, HISTORY, day(10), 4, owned=True)
    assert new == plain_slate(plain, HISTORY, day(10), 4, owned=True)


def test_a_ranker_of_new_items_orders_the_lists_that_show_nothing_owned(shop, contrary):
    settings = dataclasses.replace(tiny_shop.recommender().settings, new=dict(zip(SOURCES, WEIGHTS, strict=True)))
    plain = dataclasses.replace(tiny_shop.recommender(), settings=settings)
    apart = dataclasses.replace(plain, new_ranker=contrary)
    assert plain_slate(apart, HISTORY, day(10), 5) == plain_slate(plain, HISTORY, day(10), 5)
    new = ids(plain_slate(apart, HISTORY, day(10), 4, owned=True))
    blended = ids(plain_slate(plain, HISTORY, day(10), 4, owned=True))
    # of what it does not own, the customer met the bread alone, which is last now
    assert blended[0] == new[-1] == "bread"
    files = apart.to_files()
    again = Recommender.from_files(files)
    assert again.ranker is None
    assert again.to_files() == files
    with pytest.raises(ArtefactError, match=r"no file new_ranker\.txt"):
        Recommender.from_files({name: data for name, data in files.items() if name != NEW_RANKER_FILE})


def test_a_source_without_weight_is_read_though_it_proposes_nothing():
    plain = dataclasses.replace(tiny_shop.recommender().with_blend({"popularity": 1.0}))
    reader = Ranker(SOURCES, (0.0, 1.0, 0.0), trees_of("buy_again_score"), blend_scale=0.01)
    shop = dataclasses.replace(plain, ranker=reader)
    ranked, asked = shop.ranked(shop.histories(HISTORY, day(10)), np.ones(len(shop.item_ids), np.bool_), 5)
    assert [source.name for source in asked.sources] == ["popularity"]
    before, shown = plain_slate(plain, HISTORY, day(10), 5), plain_slate(shop, HISTORY, day(10), 5)
    # the one item that was ever bought is first, and is shown as what proposed it
    assert shop.item_ids[ranked.places[0, 0]] == "apple"
    assert {item.source for item in shown.items} == {"popularity"}
    assert set(ids(shown)) == set(ids(before))


def test_many_are_ranked_as_each_is_shown_alone(shop):
    rows = [(f"c{n:02}", tiny_shop.ITEMS[n % 5], n % 7, "purchase") for n in range(20)]
    view = view_of([*rows, *[(f"c{n:02}", tiny_shop.ITEMS[(n * 3) % 5], 8, "view") for n in range(0, 20, 2)]])
    together = [[shop.item_ids[place] for place in row] for row in shop.rank(view, day(10), 3)]
    assert together == [ids(plain_slate(shop, view.select([row]), day(10), 3)) for row in range(view.n_customers)]


def test_files_come_back_without_code_and_with_the_same_bytes(shop):
    files = shop.to_files()
    again = Recommender.from_files(files)
    assert again.ranker is not None
    assert again.to_files() == files
    assert plain_slate(again, HISTORY, day(10), 5) == plain_slate(shop, HISTORY, day(10), 5)
    assert RANKER_FILE not in tiny_shop.recommender().to_files()


def changed(files, **values):
    document = json.loads(files[SETTINGS_FILE])
    document["ranker"] |= values
    return {**files, SETTINGS_FILE: json.dumps(document).encode()}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"features": "0" * 64}, "other features"),
        ({"sources": ["als", "popularity"]}, "other features"),
        ({"sources": "als"}, "name its sources"),
        ({"weights": [1.0, "x", 1.0]}, "must be numbers"),
        ({"weights": [1.0, 1.0]}, "a weight of at least 0 for each"),
        ({"weights": [1.0, -1.0, 1.0]}, "a weight of at least 0 for each"),
        ({"weights": [0.0, 0.0, 0.0]}, "a source with a weight above 0"),
        ({"blend_scale": 0}, "blend_scale"),
        ({"blend_scale": None}, "must be numbers"),
    ],
)
def test_a_ranker_made_for_something_else_is_refused(shop, values, words):
    with pytest.raises(ArtefactError, match=words):
        Recommender.from_files(changed(shop.to_files(), **values))


def test_missing_altered_and_foreign_files_are_refused(shop):
    files = shop.to_files()
    with pytest.raises(ArtefactError, match=r"no file ranker\.txt"):
        Recommender.from_files({name: data for name, data in files.items() if name != RANKER_FILE})
    with pytest.raises(ArtefactError):
        Recommender.from_files({**files, RANKER_FILE: files[RANKER_FILE][:-40]})
    document = json.loads(files[SETTINGS_FILE]) | {"ranker": [1]}
    with pytest.raises(ArtefactError, match="table or null"):
        Recommender.from_files({**files, SETTINGS_FILE: json.dumps(document).encode()})
    fewer = dataclasses.replace(shop, sources=shop.sources[:2]).to_files()
    with pytest.raises(ArtefactError, match="sources that the recommender does not have"):
        Recommender.from_files(fewer)


def test_trees_of_another_objective_are_refused():
    with pytest.raises(ArtefactError, match="other features"):
        Ranker(SOURCES, WEIGHTS, trees_of("als_score", "regression"), 1.0)
