from __future__ import annotations

import numpy as np
import pytest

import serving.sources.next_basket as module
from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.next_basket import BasketDecay, NextBasketSource

# vectors of three customers: {0: 1}, {0: 1, 1: 1/2}, {2: 1}
VECTORS = {
    "offsets": np.array([0, 1, 3, 4]),
    "items": np.array([0, 0, 1, 2], np.int32),
    "weights": np.array([1.0, 1.0, 0.5, 1.0], np.float32),
    "popularity": np.array([0.5, 0.25, 0.25, 0.0]),
}
FLAT = BasketDecay(1, 1.0, 1.0)


def source(neighbours=2, own_share=0.25, decay=FLAT):
    return NextBasketSource(*VECTORS.values(), neighbours, own_share, decay)


EVERY = np.arange(4)[None]


def weights(decay, baskets, n_items=4):
    items, found = decay.of(Histories.of_baskets([baskets], n_items), 0)
    return dict(zip(items.tolist(), found.tolist(), strict=True))


def test_baskets_fade_within_their_group_and_groups_between_each_other():
    decay = BasketDecay(group_size=2, within=0.5, between=0.1)
    # from the last: {0}, {1} are a group; {0, 2} alone is the other. Two groups
    found = weights(decay, [[0, 2], [1], [0]])
    assert found == pytest.approx({0: 1 / 2 / 2 + 0.1 / 2, 1: 0.5 / 2 / 2, 2: 0.1 / 2})


def test_without_decay_a_weight_is_the_share_of_the_baskets_that_hold_the_item():
    assert weights(FLAT, [[0, 1], [0], [0, 2], [3]]) == {0: 0.75, 1: 0.25, 2: 0.25, 3: 0.25}


def test_only_the_last_baskets_are_read():
    assert weights(BasketDecay(1, 1.0, 1.0, last=1), [[0, 1], [2]]) == {2: 1.0}


def test_the_score_is_the_own_weight_and_the_mean_of_the_nearest():
    # who bought 0 once: the first vector is at 0, the second at 1/4, the third at 2
    found = source().scores(Histories.of_lists([[0]], 4), EVERY)[0]
    expected = [0.25 + 0.75 * (1 + 1) / 2, 0.75 * 0.5 / 2, np.nan, np.nan]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_neighbours_the_own_goods_alone_are_proposed_ties_by_popularity():
    found = source(neighbours=0, own_share=1.0).propose(Histories.of_baskets([[[3, 0, 1]]], 4), 4)
    assert found.places.tolist() == [[0, 1, 3, -1]]


def test_more_neighbours_than_customers_are_all_of_them_and_who_bought_nothing_gets_nothing():
    histories = Histories.of_lists([[0], []], 4)
    found = source(neighbours=50).scores(histories, np.tile(EVERY, (2, 1)))
    np.testing.assert_allclose(found[0, :3], [0.25 + 0.75 * 2 / 3, 0.75 * 0.5 / 3, 0.75 / 3], atol=1e-6)
    assert np.isnan(found[1]).all()


def test_files_that_do_not_go_together_are_refused():
    settings, arrays = source().to_parts()
    assert set(arrays) == set(VECTORS)  # no customer
    for part in ({"offsets": np.array([0, 1, 3])}, {"items": arrays["items"] + np.int32(2)}):
        with pytest.raises(ArtefactError):
            NextBasketSource.from_parts(settings, arrays | part)
    for wrong in ({"group_size": 0}, {"neighbours": -1}, {"own_share": 1.5}, {"name": 3}):
        with pytest.raises(ArtefactError, match="settings"):
            NextBasketSource.from_parts(settings | wrong, arrays)


def test_the_nearest_are_the_same_whether_all_customers_are_looked_at_or_those_met_alone(monkeypatch):
    rng = np.random.default_rng(4)
    n_customers, n_items = 60, 40
    sizes = rng.integers(0, 5, n_customers)
    rows = [np.sort(rng.choice(n_items, size, replace=False)) for size in sizes]
    weights = rng.choice([0.25, 0.5, 1.0], int(sizes.sum())).astype(np.float32)  # so that distances are often equal
    arrays = (np.concatenate(([0], np.cumsum(sizes))), np.concatenate(rows).astype(np.int32), weights)
    made = NextBasketSource(*arrays, np.zeros(n_items), 7, 0.5, FLAT)
    for _ in range(30):
        own = np.sort(rng.choice(n_items, 3, replace=False))
        found = []
        for least in (0, 10_000):
            monkeypatch.setattr(module, "_SPARSE", least)
            found.append(made._near(own, np.array([0.5, 1.0, 0.25])).tolist())
        assert found[0] == found[1]
        assert len(found[0]) == 7
