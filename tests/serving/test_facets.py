"""The facets of candidates, from what a customer did and what the shop sells."""

import numpy as np
import pytest

from serving.facets import facets_of
from serving.sources.buy_again import BuyAgainSource
from serving.sources.histories import Histories
from serving.sources.popularity import PopularitySource

CATEGORY = np.array([0, 0, 1, 1, -1], np.int32)
MARGIN = np.array([0.1, 0.2, 0.3, np.nan, 0.5])
EVERY = np.ones((1, 3))
SOURCES = {
    "popularity": PopularitySource(np.array([4.0, 3.0, 2.0, 1.0, 0.0], np.float32)),
    "buy_again": BuyAgainSource(np.full(5, 0.01), np.full(5, 10.0), 60.0, 30.0),
}
PLACES = np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, -1]])


@pytest.fixture
def histories() -> Histories:
    """One customer who bought item 0 twice and item 2 once, and one who is unknown."""
    return Histories.of_lists([[0, 2, 0], []], 5)


def found(histories, sources=SOURCES, places=PLACES):
    return facets_of(sources, histories, places, category=CATEGORY, margin=MARGIN, weights=EVERY)


def test_what_was_met_is_not_new_and_the_rest_is_as_new_as_it_is_unpopular(histories):
    assert found(histories).novelty[0].tolist() == [0.0, 0.25, 0.0, 0.75, 1.0]
    assert found(histories).novelty[1, :4].tolist() == [0.25, 0.5, 0.75, 1.0]


def test_due_is_one_for_the_likeliest_repeat_and_nothing_for_what_was_never_bought(histories):
    due = found(histories).due
    assert due[0].max() == 1.0
    assert 0 < due[0].min(where=[True, False, True, False, False], initial=1) <= 1
    assert due[0, [1, 3, 4]].tolist() == [0.0, 0.0, 0.0]
    assert due[1].tolist() == [0.0] * 5


def test_familiar_is_the_share_of_the_category_turned_to_most(histories):
    # items 0 and 2 weigh 1 each, of one category each
    assert found(histories).familiar[0].tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    once = Histories.of_lists([[0, 1, 2]], 5)
    assert found(once, places=PLACES[:1]).familiar[0].tolist() == [1.0, 1.0, 0.5, 0.5, 0.0]
    assert found(histories).familiar[1].tolist() == [0.0] * 5


def test_margins_are_those_of_the_items(histories):
    assert np.array_equal(found(histories).margin[0], MARGIN, equal_nan=True)


def test_without_the_sources_nothing_is_due_and_everything_unmet_is_new(histories):
    bare = found(histories, sources={})
    assert not bare.due.any()
    assert bare.novelty[0].tolist() == [0.0, 1.0, 0.0, 1.0, 1.0]


def test_a_customer_alone_has_the_facets_they_have_among_others(histories):
    alone, among = found(histories.part(0, 1), places=PLACES[:1]), found(histories)
    for name in ("novelty", "due", "familiar"):
        assert np.array_equal(getattr(alone, name)[0], getattr(among, name)[0])


def test_a_shop_without_categories_has_nothing_familiar(histories):
    none = facets_of(SOURCES, histories, PLACES, category=np.full(5, -1, np.int32), margin=MARGIN, weights=EVERY)
    assert not none.familiar.any()


def test_what_counts_for_nobody_is_not_worked_out(histories):
    weights = np.array([[1.0, 0.0, 0.5], [1.0, 0.0, 0.0]])
    some = facets_of(SOURCES, histories, PLACES, category=CATEGORY, margin=MARGIN, weights=weights)
    assert not some.novelty.any()
    assert np.array_equal(some.due, found(histories).due)
