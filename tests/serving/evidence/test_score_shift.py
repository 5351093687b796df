"""The stability index by hand, and a challenger's scores beside the champion's."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from features.errors import NotEnoughDataError
from serving.evidence.score_shift import Drift, psi, psi_by_chance, score_shift


def test_the_index_is_the_one_worked_out_by_hand():
    # shares .5/.3/.2 against .4/.3/.3, bins large enough that half a row does not show:
    # .1 ln(.5/.4) + 0 + .1 ln(.3/.2) = .0223144 + .0405465
    expected, actual = np.array([500_000, 300_000, 200_000]), np.array([400_000, 300_000, 300_000])
    assert psi(expected, actual) == pytest.approx(0.0628609, abs=1e-5)
    assert psi(actual, expected) == pytest.approx(psi(expected, actual), abs=1e-12)


def test_a_bin_that_was_empty_counts_half_a_row_and_the_index_stays_finite():
    # (99.5 + 1) rows become shares 99.5/100 and .5/100, against .5/100 and 99.5/100: 2 * .99 * ln 199
    assert psi(np.array([99, 0]), np.array([0, 99])) == pytest.approx(2 * 0.99 * math.log(199))


def test_a_sample_of_no_rows_is_refused():
    with pytest.raises(NotEnoughDataError, match="0 rows"):
        psi(np.array([0, 0]), np.array([1, 2]))


def test_a_small_sample_is_not_called_moved_by_chance():
    assert psi_by_chance(11, 10_000, 100) > 0.2
    assert Drift("x", 0.2, psi_by_chance(11, 10_000, 100), 0.0, 0.0).level == "steady"
    assert Drift("x", 0.2, psi_by_chance(11, 10_000, 10_000), 0.0, 0.0).level == "moved"


def test_what_chance_explains_is_the_quantile_of_chi_square():
    # 10 bins, 2,000 against 500 rows
    assert psi_by_chance(10, 2_000, 500) == pytest.approx(chi2.ppf(0.99, 9) * (1 / 2_000 + 1 / 500), rel=1e-9)


def test_scores_of_one_law_are_steady_and_scaled_ones_are_not():
    rng = np.random.default_rng(1)
    champion = rng.beta(2, 5, 20_000)
    assert score_shift(champion, rng.beta(2, 5, 5_000)).level == "steady"
    assert score_shift(champion, champion**2).level == "moved much"


def test_the_shift_of_a_normal_law_by_half_its_width_is_a_quarter():
    # the divergence J of N(0, 1) and N(d, 1) is d^2 = .25; ten bins see a little less of it
    rng = np.random.default_rng(2)
    champion = rng.normal(size=100_000)
    assert 0.22 < score_shift(champion, rng.normal(0.5, 1.0, 100_000)).psi < 0.25


@pytest.mark.parametrize("answer", [np.nan, 0.5])
def test_a_release_that_answers_nan_or_a_constant_has_moved_much(answer):
    champion = np.random.default_rng(3).random(1_000)
    found = score_shift(champion, np.full(200, answer))
    assert found.level == "moved much"
    assert (found.missing_before, found.missing_now) == (0.0, float(np.isnan(answer)))


def test_the_order_of_customers_changes_nothing():
    rng = np.random.default_rng(4)
    champion, challenger = rng.random(500), rng.random(400)
    assert score_shift(champion, challenger) == score_shift(rng.permutation(champion), rng.permutation(challenger))


def test_no_scores_are_no_evidence():
    for champion, challenger in [(np.empty(0), np.ones(5)), (np.ones(5), np.empty(0))]:
        with pytest.raises(NotEnoughDataError, match="0 rows"):
            score_shift(champion, challenger)
