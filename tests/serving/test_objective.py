"""What a slate is for: weights by risk, and what they do to the order of items."""

import numpy as np
import pytest

from features.errors import ConfigurationError
from features.settings import read_settings
from serving.objective import Facets, Objective, ObjectiveWeights, price_ranks, weighed

OBJECTIVE = Objective(ObjectiveWeights(margin=0.5, discovery=0.2), ObjectiveWeights(retention=0.8), 0.2, 0.6)


def facets(margin=0.0, novelty=0.0, due=0.0, taste=0.0, m=1) -> Facets:
    return Facets(
        *(np.full((1, m), one) if np.isscalar(one) else np.array([one]) for one in (margin, novelty, due, taste))
    )


def test_with_rising_risk_the_weights_move_from_margin_and_discovery_to_retention():
    found = OBJECTIVE.of_many(np.array([0.0, 0.2, 0.3, 0.4, 0.6, 1.0, np.nan]))
    staying, leaving = [0.5, 0.2, 0.0], [0.0, 0.0, 0.8]
    assert found.tolist() == [staying, staying, [0.375, 0.15, 0.2], [0.25, 0.1, 0.4], leaving, leaving, staying]


def test_no_probability_is_no_risk_and_the_answer_names_every_weight():
    assert OBJECTIVE.weights(None) == OBJECTIVE.staying
    expected = {"relevance": 1.0, "margin": 0.25, "discovery": 0.1, "retention": 0.4}
    assert OBJECTIVE.weights(0.4).named() == expected


def test_what_is_due_and_what_is_to_their_taste_bring_back_alike():
    found = facets(due=[0.7, 0.0, np.nan, np.nan], taste=[0.0, 0.4, 0.3, np.nan], m=4)
    assert found.winning_back.tolist() == [[0.7, 0.4, 0.3, 0.0]]


def test_what_an_item_gains_by_hand():
    found = facets(margin=0.6, novelty=0.5, due=0.5, taste=0.0).gain(np.array([[0.5, 0.2, 0.1]]))
    assert found == pytest.approx(0.3 + 0.1 + 0.05)


def test_the_margin_leads_for_who_stays_and_what_is_due_for_who_may_leave():
    dear_or_due = facets(margin=[1.0, 0.0], due=[0.0, 1.0], m=2)
    relevance = np.array([[0.8, 0.8]])
    orders = [np.argsort(-weighed(relevance, dear_or_due, OBJECTIVE.of_many(np.array([p]))))[0, 0] for p in (0.1, 0.9)]
    assert orders == [0, 1]


def test_what_nobody_wants_is_not_shown_for_its_margin():
    relevance = np.array([[0.5, 0.0, -0.3, np.nan]])
    found = weighed(relevance, facets(margin=[0.0, 1.0, 1.0, 1.0], m=4), np.array([[1.0, 0.0, 0.0]]))
    assert np.array_equal(found, relevance, equal_nan=True)


def test_without_weights_the_relevance_alone_decides():
    relevance = np.random.default_rng(0).random((1, 50))
    everything = facets(margin=1.0, novelty=1.0, due=1.0, taste=1.0, m=50)
    assert np.array_equal(weighed(relevance, everything, np.zeros((1, 3))), np.round(relevance, 9))


def test_what_is_not_known_of_an_item_counts_nothing():
    unknown = facets(margin=np.nan, novelty=np.nan, due=np.nan, taste=np.nan)
    assert unknown.gain(np.ones((1, 3))).tolist() == [[0.0]]


def test_prices_are_ranked_with_ties_in_the_middle():
    # of four prices: one below both 200s, and they halve themselves
    assert price_ranks(np.array([200.0, 100.0, 200.0, 900.0])).tolist() == [0.5, 0.125, 0.5, 0.875]
    assert np.isnan(price_ranks(np.array([np.nan, np.nan]))).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"staying": {"margin": -0.1}}, r"objective\.margin is -0.1"),
        ({"leaving": {"retention": float("nan")}}, r"objective\.retention is nan"),
        ({"from_probability": 0.9}, "from_probability and to_probability are 0.9 and 0.7"),
        ({"leaving": {"loyalty": 1.0}}, r"unknown setting objective\.leaving\.loyalty"),
    ],
)
def test_a_wrong_objective_is_refused_by_name(given, told):
    with pytest.raises(ConfigurationError, match=told):
        read_settings(Objective, given, "objective")
