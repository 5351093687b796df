"""What a call wanted is kept, and read again as the very same."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ArtefactError
from serving.kept_requests import kept_request, request_again
from serving.recipe import Recipe
from serving.slate_rules import Boost, Exclusions, SlateRules
from serving.storefront import SlateRequest

RECIPE = Recipe("home", rules=SlateRules(exclude=Exclusions(seen=True, bought_within_days=28.0)))
SOME = st.lists(st.text(max_size=5), max_size=3).map(tuple)
WANTED = st.builds(
    SlateRequest,
    limit=st.none() | st.integers(1, 500),
    where=st.sampled_from(["", "category = 'tea'"]),
    boosts=st.sampled_from([(), (Boost("price_minor < 500", 2.0), Boost("category = '茶'", 0.5))]),
    diversity=st.none() | st.floats(0.0, 1.0),
    seed_items=SOME,
    candidates=st.none() | SOME,
    earlier=SOME,
    language=st.sampled_from(["en", "zh"]),
)


@given(wanted=WANTED)
def test_a_call_is_read_again_as_it_was(wanted: SlateRequest) -> None:
    assert request_again(kept_request(wanted, {}), RECIPE) == wanted


def test_a_call_that_wants_nothing_more_takes_no_room() -> None:
    assert kept_request(SlateRequest(), {}) is None
    assert request_again(None, RECIPE) == SlateRequest()


def test_exclusions_that_a_call_did_not_name_are_those_of_the_recipe_that_answers() -> None:
    kept = kept_request(SlateRequest(5), {"owned": True, "seen": False})
    assert request_again(kept, RECIPE).exclude == Exclusions(owned=True, seen=False, bought_within_days=28.0)
    other = Recipe("home", rules=SlateRules(exclude=Exclusions(bought_within_days=3.0)))
    found = request_again(kept, other)
    assert found.exclude is not None
    assert asdict(found.exclude) == {"owned": True, "seen": False, "bought_within_days": 3.0}


@pytest.mark.parametrize(
    "kept", ["{", "[]", "7", '{"limt": 3}', '{"limit": "3"}', '{"exclude": []}', '{"exclude": {"owed": true}}', ""]
)
def test_a_damaged_one_is_refused_without_showing_it(kept: str) -> None:
    with pytest.raises(ArtefactError, match="keeps a request that cannot be read; restore the store"):
        request_again(kept, RECIPE)
