"""The rules of a slate, one by one, on shelves small enough for hand arithmetic."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.errors import ConfigurationError, DataError, FilterError
from features.instants import DAY_US
from features.settings import read_settings
from serving.arranging import REASONS, Shortlist, arrange, continued
from serving.catalogue import Catalogue
from serving.encounters import Encounters, Shown
from serving.filter_masks import FilterMasks
from serving.rulebook import Rulebook
from serving.slate_rules import Boost, Diversity, Exclusions, Pin, Rotation, SlateRules, Sponsored

NOW_US = 100 * DAY_US
IDS = tuple("abcdefgh")
SHOP = Catalogue.read(
    pa.table(
        {
            "item_id": IDS,
            "category": ["x", "x", "x", "y", "y", "z", None, None],
            "price_minor": [100, 200, 300, 400, 500, 600, 700, None],
        }
    ),
    IDS,
)
SCORES = {"a": 10.0, "b": 8.0, "c": 6.0, "d": 5.0, "e": 4.0, "f": 2.0, "g": 1.0, "h": 0.0}


def places(ids):
    return SHOP.index.positions_of(list(ids))


def given(scores):
    return Shortlist(places(scores), np.array(list(scores.values())))


def met(bought=(), days_ago=(), seen="", shown=None):
    last_us = np.array([NOW_US - days * DAY_US for days in days_ago], np.int64)
    times = Shown(places(shown or {}), np.array(list((shown or {}).values()), np.int64))
    return Encounters(places(bought), last_us, places(seen), times)


def slate(rules=None, k=4, scores=SCORES, encounters=None, vectors=None, catalogue=SHOP, **request):
    book = Rulebook.of(rules or SlateRules(), catalogue, vectors)
    return arrange(given(scores), book, encounters or met(), k, as_of_us=NOW_US, **request)


def shown(arranged):
    return "".join(IDS[place] for place in arranged.places)


def test_without_rules_the_best_are_shown_and_nothing_is_padded():
    arranged = slate(k=20)
    assert shown(arranged) == "abcdefgh"
    assert arranged.scores == pytest.approx([1, 0.8, 0.6, 0.5, 0.4, 0.2, 0.1, 0])
    assert arranged.filtered == dict.fromkeys(REASONS, 0)
    assert not arranged.more


def test_candidates_may_come_unsorted_twice_and_with_nobody():
    shortlist = Shortlist(np.array([3, -1, 0, 3, 1]), np.array([0.5, 9.0, 1.0, 2.0, np.nan]))
    arranged = arrange(shortlist, Rulebook.of(SlateRules(), SHOP), met(), 9, as_of_us=NOW_US)
    assert shown(arranged) == "da"
    assert arranged.scores.tolist() == [1.0, 0.5]


def test_negative_scores_are_stretched_too():
    assert slate(scores={"a": -1.0, "b": -3.0, "c": -5.0}).scores.tolist() == [1.0, 0.5, 0.0]
    assert slate(scores={"a": -2.0}).scores.tolist() == [1.0]


def test_boosts_multiply_and_are_held_within_their_bounds():
    rules = SlateRules(
        boosts=(Boost("price_minor >= 600", 10.0), Boost('category = "z"', 10.0), Boost("price_minor < 250", 0.5))
    )
    arranged = slate(rules, k=5)
    # f: .2 * min(100, 10) = 2; g: .1 * 10 = 1; c: .6; a: 1 * .5 = .5 before d, .5 too, by its own score
    assert shown(arranged) == "fgcad"
    assert arranged.scores == pytest.approx([2, 1, 0.6, 0.5, 0.5])
    assert arranged.boosts.tolist() == [10, 10, 1, 0.5, 1]


def test_a_pin_stands_where_asked_and_one_that_is_filtered_does_not():
    rules = SlateRules(where='category != "y"', pinned=(Pin("h", 2), Pin("f", 3), Pin("d", 1), Pin("unknown", 4)))
    assert shown(slate(replace(rules, where=""), k=5)) == "dhfab"
    arranged = slate(rules, k=5)  # d is of category y; h has no category, so the comparison leaves it out
    assert shown(arranged) == "abfc"
    assert arranged.shown_as == ("ranked", "ranked", "pinned", "ranked")
    assert arranged.filtered["filter"] == 4


def test_a_pin_need_not_be_a_candidate_and_moves_up_where_the_list_is_short():
    arranged = slate(SlateRules(pinned=(Pin("h", 9), Pin("g", 5))), scores={"a": 1.0})
    assert shown(arranged) == "agh"
    assert arranged.shown_as == ("ranked", "pinned", "pinned")
    assert arranged.scores.tolist() == [1, 0, 0]


def test_sponsored_items_come_where_their_share_allows_and_nowhere_else():
    rules = SlateRules(sponsored=Sponsored(("a", "h", "g"), 0.34))
    arranged = slate(rules, k=7)  # one of 3, two of 6; a is the best item and still waits for the third place
    assert shown(arranged) == "bcadegf"
    assert [kind == "sponsored" for kind in arranged.shown_as] == [False, False, True, False, False, True, False]
    assert shown(slate(replace(rules, sponsored=Sponsored(("a", "h"), 0.0)), k=9)) == "bcdefg"


def test_sponsored_items_alone_fill_only_their_share():
    assert shown(slate(SlateRules(sponsored=Sponsored(("a", "b"), 0.5)), scores={"a": 2.0, "b": 1.0})) == ""
    assert shown(slate(SlateRules(sponsored=Sponsored(("a", "b"), 1.0)), scores={"a": 2.0, "b": 1.0})) == "ab"


def test_exclusions_are_counted_under_the_first_that_holds():
    encounters = met(bought="ab", days_ago=(3, 30), seen="bc")
    rules = SlateRules(exclude=Exclusions(owned=False, seen=True, bought_within_days=3))
    arranged = slate(rules, encounters=encounters, seeds=places("d"))
    assert shown(arranged) == "efgh"
    counted = {reason: n for reason, n in arranged.filtered.items() if n}
    assert counted == {"seed": 1, "bought_recently": 1, "seen": 2}
    everything = slate(rules, encounters=encounters, exclude=Exclusions(owned=True))
    assert (shown(everything), everything.filtered["owned"]) == ("cdef", 2)


def test_out_of_stock_items_and_those_a_request_filters_are_not_shown():
    allowed = FilterMasks(SHOP).mask("price_minor > 100")
    arranged = slate(catalogue=SHOP.with_stock("b"), allowed=allowed)
    assert shown(arranged) == "cdef"
    assert (arranged.filtered["filter"], arranged.filtered["out_of_stock"]) == (2, 1)  # a and h; b


def test_all_items_owned_is_an_empty_list_that_says_why():
    arranged = slate(SlateRules(exclude=Exclusions(owned=True)), encounters=met(bought=IDS, days_ago=[9] * 8))
    assert (len(arranged.places), arranged.filtered["owned"], arranged.more) == (0, 8, False)


def test_a_filter_that_matches_nothing_is_an_empty_list():
    arranged = slate(SlateRules(where='category = "nothing"', pinned=(Pin("a", 1),)))
    assert (len(arranged.places), arranged.filtered["filter"]) == (0, 8)


def test_an_empty_catalogue_and_one_of_a_single_item():
    nothing = Rulebook.of(
        SlateRules(pinned=(Pin("a", 1),), boosts=(Boost("price_minor > 1", 2.0),)), Catalogue.nothing_said([])
    )
    none = Shortlist(np.empty(0, np.int64), np.empty(0))
    assert len(arrange(none, nothing, met(), 5, as_of_us=NOW_US).places) == 0
    one = Rulebook.of(
        SlateRules(diversity=Diversity(1.0)), Catalogue.nothing_said(["only"]), np.ones((1, 3), np.float32)
    )
    found = arrange(Shortlist(np.array([0]), np.array([-1.0])), one, met(), 5, as_of_us=NOW_US)
    assert (found.places.tolist(), found.scores.tolist()) == ([0], [1.0])


def test_what_was_shown_without_a_click_gives_way():
    # twice halved, a has a quarter of 1, and b once halved the half of .8
    arranged = slate(SlateRules(rotation=Rotation(0.5)), encounters=met(shown={"a": 2, "b": 1}), k=5)
    assert shown(arranged) == "cdbea"
    assert arranged.scores == pytest.approx([0.6, 0.5, 0.4, 0.4, 0.25])


def test_minimum_relevance_is_of_the_best_item_that_may_be_shown_and_boosts_do_not_help():
    rules = SlateRules(
        min_relevance=0.5, boosts=(Boost('category = "z"', 10.0),), where="price_minor > 100", pinned=(Pin("g", 1),)
    )
    arranged = slate(rules, k=9)  # b has 8, so c, d and e have at least half of it; f and g have not, but g is pinned
    assert shown(arranged) == "gbcde"
    assert arranged.filtered["low_relevance"] == 1


def test_diversity_takes_the_next_category_and_with_the_dial_at_0_the_score_alone():
    assert shown(slate(SlateRules(diversity=Diversity(0.0, 1.0)), k=6)) == "abcdef"
    # a; then d .25 against b .4 - .5: d .25, f .1, g .05, h 0, b -.1; then f, g, h, b, c, e
    assert shown(slate(SlateRules(diversity=Diversity(0.5, 1.0)), k=6)) == "adfghb"


def test_diversity_by_vectors_and_category_together():
    vectors = np.zeros((8, 2), np.float32)
    vectors[:3] = [[2, 0], [0, 3], [4, 0]]
    # likeness to a, halves of category and cosine: b .5 + 0, c .5 + .5; marginal b .7*.8 - .3*.5 = .41, c .42 - .3
    arranged = slate(SlateRules(diversity=Diversity(0.3, 0.5)), k=3, scores={"a": 10, "b": 8, "c": 6}, vectors=vectors)
    assert shown(arranged) == "abc"
    assert (
        shown(slate(SlateRules(diversity=Diversity(0.6, 0.0)), k=3, scores={"a": 10, "b": 2, "c": 9}, vectors=vectors))
        == "abc"
    )


def test_the_next_page_goes_on_where_the_last_ended():
    rules = SlateRules(pinned=(Pin("h", 6), Pin("g", 1)), sponsored=Sponsored(("f",), 0.25), diversity=Diversity(0.3))
    whole = slate(rules, k=8)
    first = slate(rules, k=3)
    second = slate(rules, k=3, earlier=first.places)
    third = slate(rules, k=3, earlier=continued(first.places, second))
    assert shown(first) + shown(second) + shown(third) == shown(whole)
    assert [page.first_position for page in (first, second, third)] == [1, 4, 7]
    assert [page.more for page in (first, second, third)] == [True, True, False]
    assert second.filtered["earlier_page"] == 3


def test_an_item_that_left_the_catalogue_still_fills_its_position():
    arranged = slate(SlateRules(pinned=(Pin("h", 3),)), earlier=[-1, 0])
    assert (shown(arranged), arranged.first_position) == ("hbcd", 3)


def test_ten_thousand_candidates():
    catalogue = Catalogue.nothing_said([str(number) for number in range(10_000)])
    dice = np.random.default_rng(5)
    vectors = dice.normal(size=(10_000, 8)).astype(np.float32)
    scores = dice.permutation(10_000).astype(np.float64)
    book = Rulebook.of(SlateRules(diversity=Diversity(0.4, 0.0), min_relevance=0.3), catalogue, vectors)
    arranged = arrange(Shortlist(np.arange(10_000), scores), book, met(), 20, as_of_us=NOW_US)
    assert len(set(arranged.places.tolist())) == 20
    assert arranged.filtered["low_relevance"] == 3_000  # scores 0 to 2,999 of at most 9,999; .3 * 9,999 = 2,999.7


@pytest.mark.parametrize(
    ("request_", "told"),
    [({"k": 0}, "at least 1"), ({"allowed": np.ones(3, bool)}, "mask is of 3"), ({"earlier": [99]}, "place 99")],
)
def test_impossible_requests_are_refused(request_, told):
    with pytest.raises(DataError, match=told):
        slate(**request_)


def test_rules_are_read_from_settings_and_unknown_keys_are_refused():
    rules = read_settings(
        SlateRules,
        {
            "where": "price_minor > 0",
            "boosts": [{"where": 'brand = "own"', "factor": 2}],
            "pinned": [{"item_id": "a", "position": 1}],
            "sponsored": {"items": ["b"], "share": 0.25},
            "exclude": {"owned": True, "bought_within_days": 30},
            "diversity": {"dial": 0.3},
            "rotation": {"decay": 0.8},
        },
    )
    assert rules.boosts == (Boost('brand = "own"', 2.0),)
    assert rules.exclude == Exclusions(owned=True, seen=False, bought_within_days=30.0)
    with pytest.raises(ConfigurationError, match=r"diversity\.dail"):
        read_settings(SlateRules, {"diversity": {"dail": 1}})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"where": "price <"}, "where: the filter cannot be read at character 8"),
        ({"boosts": [{"where": "in_stock = true", "factor": 11}]}, "boosts.factor is 11"),
        ({"boosts": [{"where": "", "factor": 2}]}, r"boosts\[0\]\.where"),
        ({"boosts": [{"where": "in_stock = true", "factor": 2}] * 101}, "at most 100"),
        ({"pinned": [{"item_id": "a", "position": 0}]}, "pinned.position is 0"),
        ({"pinned": [{"item_id": "a", "position": 1}, {"item_id": "b", "position": 1}]}, "twice the same position"),
        ({"pinned": [{"item_id": "a", "position": 1}, {"item_id": "a", "position": 2}]}, "twice the same item"),
        ({"pinned": [{"item_id": "a", "position": 1}], "sponsored": {"items": ["a"]}}, "sponsored too"),
        ({"sponsored": {"share": 1.1}}, "sponsored.share is 1.1"),
        ({"sponsored": {"items": [str(n) for n in range(1_001)]}}, "at most 1,000"),
        ({"exclude": {"bought_within_days": -1}}, "bought_within_days is -1"),
        ({"diversity": {"dial": float("nan")}}, "diversity.dial is nan"),
        ({"rotation": {"decay": 0}}, "rotation.decay is 0"),
        ({"min_relevance": 2}, "min_relevance is 2"),
    ],
)
def test_impossible_rules_are_refused_by_name(values, told):
    with pytest.raises(ConfigurationError, match=told):
        read_settings(SlateRules, values)


def test_a_filter_that_does_not_fit_the_catalogue_is_refused_by_the_name_of_its_setting():
    with pytest.raises(ConfigurationError, match=r"boosts\[0\]\.where.*known attributes: item_id"):
        Rulebook.of(SlateRules(boosts=(Boost("colour = 'red'", 2.0),)), SHOP)
    with pytest.raises(DataError, match="vectors of 3 items"):
        Rulebook.of(SlateRules(), SHOP, np.ones((3, 2), np.float32))
    with pytest.raises(FilterError):
        FilterMasks(SHOP).mask("colour = 'red'")
