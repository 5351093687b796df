from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from features.errors import ConfigurationError
from serving.sources.histories import Histories
from training.sources.next_basket import NextBasketSettings, fit_next_basket

FLAT = NextBasketSettings(group_size=1, within=1.0, between=1.0)
BASKETS = [[[2], [2, 1]], [[0]], [[0], [0], [3]], []]


def vectors(source):
    return [
        dict(zip(source.items[a:b].tolist(), source.weights[a:b].tolist(), strict=True))
        for a, b in zip(source.offsets[:-1], source.offsets[1:], strict=True)
    ]


def test_the_vectors_of_who_came_back_are_kept_in_an_order_of_their_own():
    source = fit_next_basket(Histories.of_baskets(BASKETS, 4), 4, FLAT)
    assert vectors(source) == [
        pytest.approx({0: 2 / 3, 3: 1 / 3}),
        pytest.approx({1: 0.5, 2: 1.0}),
    ]
    assert source.popularity.tolist() == pytest.approx([3 / 7, 1 / 7, 2 / 7, 1 / 7])
    turned = fit_next_basket(Histories.of_baskets(BASKETS[::-1], 4), 4, FLAT)
    assert vectors(turned) == vectors(source)


def test_no_more_customers_than_wanted_are_kept_and_none_where_nobody_is_asked():
    histories = Histories.of_baskets(BASKETS * 5, 4)
    assert len(vectors(fit_next_basket(histories, 4, dataclasses.replace(FLAT, most_customers=3)))) == 3
    assert vectors(fit_next_basket(histories, 4, dataclasses.replace(FLAT, neighbours=0))) == []


def test_a_customer_who_buys_the_same_every_time_is_shown_it_first():
    rng = np.random.default_rng(5)
    baskets = [[[own, int(rng.integers(4, 40))] for _ in range(5)] for own in (0, 1, 2, 3) * 10]
    source = fit_next_basket(Histories.of_baskets(baskets, 40), 40, NextBasketSettings())
    asked = Histories.of_baskets(baskets, 40)
    assert source.propose(asked, 1).places.ravel().tolist() == [0, 1, 2, 3] * 10


def test_nobody_is_no_error_and_a_share_above_one_is_one():
    assert vectors(fit_next_basket(Histories.nobody(0), 3, FLAT)) == []
    with pytest.raises(ConfigurationError, match="own_share"):
        NextBasketSettings(own_share=1.5)
    with pytest.raises(ConfigurationError, match=r"next_basket\.group_size"):
        NextBasketSettings(group_size=0)
