from __future__ import annotations

import math

import numpy as np
import pytest

from serving.sources.histories import Histories
from training.slate_diversity_metrics import bought_shares, exposure_gini, novelty, personalisation


def test_shares_are_of_customer_item_pairs_and_an_unsold_item_counts_once():
    # pairs (0, a), (0, b), (1, a), (2, a): a 3 of 4, b 1 of 4; c was never bought. Buying again adds no pair.
    bought = Histories.of_lists([[0, 1, 0, 0], [0], [0]], 3).bought
    assert bought_shares(bought, 3).tolist() == [0.75, 0.25, 0.25]


def test_shares_without_any_purchase_give_no_information():
    assert novelty(np.array([[0, 1]]), bought_shares(Histories.of_lists([[]], 2).bought, 2)).tolist() == [0.0]


def test_novelty_by_hand():
    # 1/2 is one bit, 1/4 two bits, 1/16 four bits
    shares = np.array([1 / 2, 1 / 4, 1 / 16])
    found = novelty(np.array([[0, 1, 2], [2, 0, -1], [-1, -1, -1]]), shares)
    assert found[:2].tolist() == [7 / 3, 5 / 2]
    assert math.isnan(found[2])


def test_an_item_bought_half_as_often_is_one_bit_more_novel():
    slates = np.array([[0], [1]])
    common, rare = novelty(slates, np.array([0.2, 0.1]))
    assert rare - common == pytest.approx(1.0)


def test_gini_of_an_even_spread_is_nothing_and_of_one_item_is_all_but_its_share():
    assert exposure_gini(np.array([[0, 1], [2, 3]]), 4) == 0.0
    assert exposure_gini(np.array([[2], [2], [2]]), 4) == 1 - 1 / 4


def test_gini_by_hand():
    # counts 0, 1, 3: half of the mean absolute difference over the mean, (|0-1| + |0-3| + |1-3|) * 2 / 9 / (2 * 4 / 3)
    assert exposure_gini(np.array([[0, 1], [0, -1], [0, -1]]), 3) == pytest.approx((6 * 2 / 9) / (2 * 4 / 3))


def test_personalisation_is_the_mean_over_pairs():
    rng = np.random.default_rng(1)
    slates = np.stack([rng.permutation(12)[:4] for _ in range(9)])
    pairs = [1 - len(set(slates[i]) & set(slates[j])) / 4 for i in range(9) for j in range(i)]
    assert personalisation(slates) == pytest.approx(np.mean(pairs))


def test_the_same_slate_for_all_is_not_personal_and_slates_apart_are():
    assert personalisation(np.array([[0, 1], [1, 0], [0, 1]])) == 0.0
    assert personalisation(np.array([[0, 1], [2, 3]])) == 1.0


def test_short_slates_are_measured_by_what_they_show():
    # the same single item for both: nothing personal, however many places stay empty
    assert personalisation(np.array([[5, -1, -1], [5, -1, -1]])) == 0.0


def test_what_is_not_defined_is_missing():
    assert math.isnan(personalisation(np.array([[0, 1]])))
    assert math.isnan(personalisation(np.full((3, 2), -1)))
    assert math.isnan(exposure_gini(np.full((3, 2), -1), 4))
