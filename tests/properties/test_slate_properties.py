"""Of thousands of random shops, filters and rules: no slate ever holds what it must not, and pages never repeat."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.slate_worlds import check_pages, check_slate, random_world

SEEDS = st.integers(0, 2**48)


@settings(max_examples=700, deadline=None)
@given(seed=SEEDS)
def test_no_slate_holds_a_filtered_owned_out_of_stock_repeated_or_padded_item(seed):
    world = random_world(seed, n_catalogues=100)
    check_slate(world, world.arranged())


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS)
def test_pages_never_repeat_and_together_are_one_long_list(seed):
    check_pages(random_world(seed, n_catalogues=100), 3)


@pytest.mark.slow
@settings(max_examples=8_000, deadline=None)
@given(seed=SEEDS)
def test_no_slate_of_many_more_shops_breaks_a_rule(seed):
    world = random_world(seed)
    check_slate(world, world.arranged())
    check_pages(world, 3)
