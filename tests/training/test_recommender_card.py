from __future__ import annotations

import dataclasses

import pytest

from tests.shop_events import day, view_of
from training.fitted_sources import SourceSettings
from training.model_card import card_files
from training.recommender import RecommenderFitSettings
from training.recommender_card import recommender_card
from training.recommender_evaluation import EvaluationSettings, train_recommender
from training.sources.als import AlsSettings

FITTING = RecommenderFitSettings(
    sources=SourceSettings(("als", "popularity", "buy_again"), als=AlsSettings(factors=4, iterations=3)),
    blend={"popularity": 0.25, "buy_again": 0.75},
    new={"popularity": 1.0},
)
SHOP = [(f"c{c:02}", f"i{c % 5}", c + 10.0 * n, "purchase") for c in range(20) for n in range(6)]


@pytest.fixture(scope="module")
def trained():
    settings = EvaluationSettings(n_replicates=20, leave_last_out=True)
    return train_recommender(view_of([*SHOP, ("zoe", "i1", 60, "purchase")]), FITTING, settings)


def section(card, title):
    return next(one for one in card.sections if one.title == title)


def test_every_source_stands_beside_ours_and_ours_is_marked(trained):
    (table,) = section(recommender_card(trained, [], {}, {}), "Does it find what customers buy?").tables
    assert {"ours", "als", "popularity", "buy again", "buy again popularity"} == {row[0] for row in table.rows}
    assert {table.rows[place][0] for place in table.marked} == {"ours"}
    assert all((row[3] == "") == (row[0] == "ours") for row in table.rows)


def test_customers_who_came_without_a_history_are_told(trained):
    # zoe alone came for the first time in the test: 1 of 21
    assert trained.report.fallback_share == 1 / 21
    assert "4.8% of the customers" in section(recommender_card(trained, [], {}, {}), "For whom?").words[0]


def test_the_last_purchases_have_a_section_of_their_own_where_they_were_judged(trained):
    title = "And by the last purchase of each customer?"
    assert "service never can" in section(recommender_card(trained, [], {}, {}), title).words[0]
    without = recommender_card(dataclasses.replace(trained, last_out=None), [], {}, {})
    assert title not in {one.title for one in without.sections}


def test_both_mixtures_are_told(trained):
    (table,) = section(recommender_card(trained, [], {}, {"log version": "3"}), "What was it made of?").tables
    said = dict(table.rows)
    assert said["mixture of the sources"] == "popularity 25%, buy again 75%"
    assert said["mixture for lists that show nothing owned"] == "popularity 100%"
    assert said["log version"] == "3"


def test_the_card_is_a_page_with_its_pictures_inside(trained):
    card = recommender_card(trained, ["It ranks well."], {"gains.png": b"png"}, {})
    files = card_files(card)
    assert files["gains.png"] == b"png"
    assert b"It ranks well." in files["card.html"]
    assert trained.last_out is not None
    assert trained.last_out.as_of_us > day(60)
