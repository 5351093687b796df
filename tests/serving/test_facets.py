"""The facets of candidates, from what a customer did and what the shop sells."""

import numpy as np
import pytest

from serving.facets import facets_of
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.sources.popularity import PopularitySource

MARGIN = np.array([0.1, 0.2, 0.3, np.nan, 0.5])
EVERY = np.ones((1, 3))
SOURCES = {
    "popularity": PopularitySource(np.array([4.0, 3.0, 2.0, 1.0, 0.0], np.float32)),
    "buy_again": BuyAgainSource(np.full(5, 0.01), np.full(5, 10.0), 60.0, 30.0),
    "als": FactorSource(np.array([[1, 0], [3, 0], [0, 0], [1, 1], [-1, 0]], np.float32), alpha=1.0, regularization=1.0),
}
PLACES = np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, -1]])


@pytest.fixture
def histories() -> Histories:
    """One customer who bought item 0 twice and item 2 once, and one who is unknown."""
    return Histories.of_lists([[0, 2, 0], []], 5)


def found(histories, sources=SOURCES, places=PLACES):
    return facets_of(sources, histories, places, margin=MARGIN, weights=EVERY)


def test_what_was_met_is_not_new_and_the_rest_is_as_new_as_it_is_unpopular(histories):
    assert found(histories).novelty[0].tolist() == [0.0, 0.25, 0.0, 0.75, 1.0]
    assert found(histories).novelty[1, :4].tolist() == [0.25, 0.5, 0.75, 1.0]


def test_due_is_one_for_the_likeliest_repeat_and_nothing_for_what_was_never_bought(histories):
    due = found(histories).due
    assert due[0].max() == 1.0
    assert 0 < due[0].min(where=[True, False, True, False, False], initial=1) <= 1
    assert due[0, [1, 3, 4]].tolist() == [0.0, 0.0, 0.0]
    assert due[1].tolist() == [0.0] * 5


def test_taste_is_the_share_of_the_item_along_the_customers_taste_however_long_its_vector(histories):
    # items 0 and 2 were bought: item 0 alone has a vector, and it points along the first axis with item 3 half besides
    taste = found(histories).taste
    x, y = SOURCES["als"].vectors(histories)[0].astype(np.float64)
    length = x * x + y * y
    expected = [0.0, x * x / length, 0.0, (x + y) ** 2 / length / 2, 0.0]
    assert taste[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert taste[0, 1] > taste[0, 3] > 0
    assert not taste[1].any(), "of whom nothing is known, no taste is"


def test_what_was_bought_counts_by_being_due_alone(histories):
    both = found(histories)
    assert not (both.due * both.taste).any()


def test_margins_are_those_of_the_items(histories):
    assert np.array_equal(found(histories).margin[0], MARGIN, equal_nan=True)


def test_without_the_sources_nothing_is_due_or_to_their_taste_and_everything_unmet_is_new(histories):
    bare = found(histories, sources={})
    assert not bare.due.any()
    assert not bare.taste.any()
    assert bare.novelty[0].tolist() == [0.0, 1.0, 0.0, 1.0, 1.0]


def test_a_customer_alone_has_the_facets_they_have_among_others(histories):
    alone, among = found(histories.part(0, 1), places=PLACES[:1]), found(histories)
    for name in ("novelty", "due", "taste"):
        assert np.array_equal(getattr(alone, name)[0], getattr(among, name)[0])


def test_what_counts_for_nobody_is_not_worked_out(histories):
    weights = np.array([[1.0, 0.0, 0.5], [1.0, 0.0, 0.0]])
    some = facets_of(SOURCES, histories, PLACES, margin=MARGIN, weights=weights)
    assert not some.novelty.any()
    assert np.array_equal(some.due, found(histories).due)
