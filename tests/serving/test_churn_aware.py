"""The order of candidates under an objective, from a recommender's own sources and catalogue."""

import numpy as np
import pyarrow as pa
import pytest

from serving.catalogue import Catalogue
from serving.churn_aware import aimed, margins, reordered
from serving.objective import Facets
from serving.ranking import Ranked
from serving.recommender import Recommender, RecommenderSettings
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.sources.popularity import PopularitySource

ITEMS = {"item_id": list("abcd"), "category": ["tea", "tea", "pots", "pots"], "price_minor": [100, 200, 300, 400]}
STAYING, LEAVING = np.array([[0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])


def catalogue(**more) -> Catalogue:
    return Catalogue.read(pa.table({**ITEMS, **more}), list("abcd"))


@pytest.fixture
def recommender() -> Recommender:
    sources = (
        PopularitySource(np.array([4.0, 4.0, 4.0, 4.0], np.float32)),
        BuyAgainSource(np.full(4, 0.01), np.full(4, 10.0), 60.0, 30.0),
        FactorSource(np.array([[2, 0], [9, 0], [0, 1], [0, 1]], np.float32), alpha=1.0, regularization=1.0),
    )
    return Recommender(catalogue(), sources, RecommenderSettings(blend={"popularity": 1.0}))


def ranked(recommender: Recommender, histories: Histories) -> Ranked:
    return recommender.ranked(histories, np.ones(4, np.bool_))[0]


def test_who_stays_sees_what_earns_and_who_may_leave_what_is_due_and_to_their_taste(recommender):
    tea_drinker = Histories.of_lists([[0, 0, 0]], 4)
    plain = ranked(recommender, tea_drinker)
    assert plain.places.tolist() == [[0, 1, 2, 3]], "equal scores, by place"
    assert aimed(recommender, tea_drinker, plain, STAYING).places.tolist() == [[3, 2, 1, 0]]
    assert aimed(recommender, tea_drinker, plain, LEAVING).places.tolist() == [[0, 1, 2, 3]]
    # all are of relevance 1; a is due, b lies along the same axis
    assert aimed(recommender, tea_drinker, plain, LEAVING).scores.tolist() == [[2.0, 2.0, 1.0, 1.0]]


def test_without_weights_nothing_is_touched(recommender):
    histories = Histories.of_lists([[1]], 4)
    plain = ranked(recommender, histories)
    assert aimed(recommender, histories, plain, np.zeros((1, 3))) is plain


def test_each_customer_has_weights_of_their_own(recommender):
    both = Histories.of_lists([[0, 0], [0, 0]], 4)
    found = aimed(recommender, both, ranked(recommender, both), np.concatenate([STAYING, LEAVING]))
    assert found.places.tolist() == [[3, 2, 1, 0], [0, 1, 2, 3]]


def test_scores_below_zero_are_raised_before_they_are_weighed_and_empty_places_stay_last():
    given = Ranked(np.array([[5, 6, 7, -1]]), np.array([[1.0, -1.0, -3.0, 9.0]]), np.array([[0, 1, 0, 0]]))
    margin = Facets(np.array([[0.0, 1.0, 1.0, 1.0]]), *(np.zeros((1, 4)) for _ in range(3)))
    found = reordered(given, margin, np.array([[1.0, 0.0, 0.0]]))
    # raised by 3 and over the best: 1, 0.5 and 0; the second gains 1, the third is not relevant at all
    assert found.scores.tolist() == [[1.5, 1.0, 0.0, 0.0]]
    assert found.places.tolist() == [[6, 5, 7, -1]]
    assert found.source[0, :3].tolist() == [1, 0, 0]


def test_a_shop_that_tells_its_margins_is_believed_over_its_prices():
    assert margins(catalogue()).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert margins(catalogue(margin_share=[0.4, 0.1, None, -0.2]))[[0, 1, 3]].tolist() == [1.0, 0.25, 0.0]
    assert np.isnan(margins(catalogue(margin_share=[0.4, 0.1, None, 0.2]))[2])


def test_nothing_ranked_stays_nothing(recommender):
    nothing = Ranked(np.empty((1, 0), np.int64), np.empty((1, 0)), np.empty((1, 0), np.int64))
    assert aimed(recommender, Histories.nobody(0), nothing, LEAVING) is nothing
