from __future__ import annotations

import tomllib
from importlib import resources
from string import Formatter

import numpy as np
import pyarrow as pa
import pytest

from serving.catalogue import Catalogue
from serving.languages import LANGUAGES
from serving.slate_reasons import Because, because, said
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.histories import PURCHASE, Histories
from serving.sources.popularity import CategoryPopularitySource, PopularitySource

CATALOGUE = Catalogue.read(
    pa.table({"item_id": ["a", "b", "c"], "title": ["Cup", None, "Pot"], "category": ["Kitchen", "Garden", None]}),
    ["a", "b", "c"],
)
WORDS = tomllib.loads(resources.files("serving").joinpath("slate_words.toml").read_text(encoding="utf-8"))


class Together:
    """A source that always names the first item of the history."""

    name = "ease"

    def leading(self, histories, row, places):
        return np.full(len(places), histories.steps.items[histories.steps.offsets[row]])


def test_every_reason_has_words_in_every_language_and_an_end():
    for code, words in WORDS.items():
        asked = {name for language in LANGUAGES for _, name, *_ in Formatter().parse(words[language]) if name}
        assert asked <= {"item", "category"}, code
        assert bool(asked) == ("otherwise" in words), code
        if asked:
            end = WORDS[words["otherwise"]]
            assert "otherwise" not in end


def test_what_was_bought_goes_together_and_what_was_looked_at_is_named_so():
    bought = Histories.of_lists([[0]], 3)
    (found,) = because(Together(), bought, 0, np.array([2]), {})
    assert found == Because("bought_together", 0)
    assert said(found, 2, CATALOGUE, "en") == "often bought together with Cup"
    assert said(found, 2, CATALOGUE, "zh") == "常与“Cup”一起购买"
    steps = bought.steps
    seen = Histories(
        0,
        bought.offsets,
        bought.items,
        bought.weights,
        Histories.nobody(0).bought,
        bought.bought_offsets * 0,
        type(steps)(steps.offsets, steps.items, steps.times_us, (steps.kinds * 0).astype(np.int8)),
    )
    assert PURCHASE != 0
    assert because(Together(), seen, 0, np.array([2]), {}) == [Because("looked_at", 0)]


def test_without_a_title_or_a_category_the_reason_is_told_in_general():
    assert said(Because("looked_at", 1), 2, CATALOGUE, "en") == "goes with what you looked at or bought"
    assert said(Because("popular_in"), 0, CATALOGUE, "en") == "popular in Kitchen"
    assert said(Because("popular_in"), 2, CATALOGUE, "en") == "popular now"


def test_buying_again_is_due_or_not():
    source = BuyAgainSource(np.ones(3), np.ones(3), 1.0, 1.0)
    found = because(source, Histories.of_lists([[0, 2]], 3), 0, np.array([2, 0]), {2: 1.5, 0: 0.9})
    assert [one.code for one in found] == ["due_again", "bought_before"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (PopularitySource(np.ones(3, np.float32)), "popular"),
        (CategoryPopularitySource(np.ones(3, np.float32), np.zeros(3, np.int32)), "popular_in"),
    ],
)
def test_what_is_popular_names_no_item(source, code):
    assert because(source, Histories.of_lists([[0]], 3), 0, np.array([1]), {}) == [Because(code)]


def test_the_item_that_speaks_most_for_another_by_hand():
    # items 0 and 1 are orthogonal; item 2 lies with item 1, so item 1 speaks for it, and item 0 for none of its own
    factors = FactorSource(np.array([[1, 0], [0, 1], [0, 2]], np.float32), alpha=1.0, regularization=1.0)
    both = Histories.of_lists([[0, 1], []], 3)
    assert factors.leading(both, 0, np.array([2, 0])).tolist() == [1, -1]
    assert factors.leading(both, 1, np.array([2])).tolist() == [-1]
    assert because(factors, both, 0, np.array([2]), {}) == [Because("taste", 1)]
