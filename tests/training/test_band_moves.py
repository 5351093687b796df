import numpy as np
import pytest

from features.errors import DataError, NotEnoughDataError
from serving.bands import Bands
from serving.calibration import BetaCalibrator
from training.band_moves import Side, band_moves, causes_of_change, log_odds_of

BEFORE = Side("r-old", np.array([0.1, 0.4, 0.5, 0.8]), Bands(0.3, 0.6))


def changes(after, parts=None, names=("late deliveries", "calibration")):
    n_changed = np.count_nonzero(BEFORE.codes != after.codes)
    return band_moves(BEFORE, after, np.zeros((n_changed, 2)) if parts is None else parts, names)


def test_the_table_counts_bands_before_and_after():
    found = changes(Side("r-new", np.array([0.2, 0.7, 0.55, 0.2]), Bands(0.3, 0.6)))
    # one stays low, one medium becomes high, one stays medium, one high becomes low
    np.testing.assert_array_equal(found.table, [[1, 0, 0], [0, 1, 1], [1, 0, 0]])
    assert [(t.before, t.after, t.n) for t in found.transitions] == [("medium", "high", 1), ("high", "low", 1)]
    np.testing.assert_allclose(found.rises, [0.1, 0.3, 0.05, -0.6])
    np.testing.assert_array_equal(found.changed, [False, True, False, True])


def test_a_release_compared_with_itself_moves_nobody():
    found = changes(Side("again", BEFORE.probabilities, BEFORE.bands))
    assert found.transitions == ()
    assert found.sentences[0].startswith("0 of 4 customers (0.0%) change band")


def test_a_change_that_only_the_cutoffs_made_is_told_apart():
    found = changes(Side("r-new", np.array([0.1, 0.4, 0.7, 0.8]), Bands(0.45, 0.6)))
    # the second falls to low by the cut-off alone, the third rises to high by its score
    np.testing.assert_array_equal(found.by_cutoffs, [False, True, False, False])
    assert {(t.before, t.after): t.by_cutoffs for t in found.transitions} == {
        ("medium", "low"): 1,
        ("medium", "high"): 0,
    }
    assert "1 of them only because the cut-offs differ" in found.sentences[0]


def test_what_moved_them_most_in_the_direction_they_went_is_the_cause():
    parts = np.array([[1.5, -0.2], [0.4, -3.0]])
    found = changes(Side("r-new", np.array([0.1, 0.7, 0.5, 0.2]), Bands(0.3, 0.6)), parts)
    assert [found.cause_names[i] for i in found.main_cause] == ["late deliveries", "calibration"]
    up, down = found.transitions
    assert [(cause.name, cause.moved) for cause in up.causes] == [("late deliveries", 1.5), ("calibration", -0.2)]
    assert [(cause.name, cause.moved) for cause in down.causes] == [("calibration", -3.0), ("late deliveries", 0.4)]
    assert (up.rise, down.rise) == pytest.approx((0.3, -0.6))


def test_the_parts_add_up_to_the_change_of_log_odds():
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(50, 5)), rng.normal(size=(50, 5))
    groups[1][7] = groups[0][7]  # a customer of whom both say the same, but for the level
    groups[0][:, 4], groups[1][:, 4] = -0.3, 0.2
    margins = [group.sum(axis=1) for group in groups]
    old, new = BetaCalibrator(1.3, 0.7, 0.1), BetaCalibrator(0.9, 1.1, -0.4)
    log_odds = old.log_odds(margins[0]), old.log_odds(margins[1]), new.log_odds(margins[1])
    parts = causes_of_change(groups, log_odds)
    assert parts.shape == (50, 5)
    np.testing.assert_allclose(parts.sum(axis=1), log_odds[2] - log_odds[0], atol=1e-12)
    np.testing.assert_array_equal(parts[7, :4], 0.0)


def test_with_one_calibration_the_parts_are_the_differences_of_the_contributions():
    same = BetaCalibrator(1.0, 1.0, 0.0)
    groups = np.array([[1.0, 2.0, -0.5]]), np.array([[3.0, 1.5, -0.2]])
    margins = [group.sum(axis=1) for group in groups]
    log_odds = same.log_odds(margins[0]), same.log_odds(margins[1]), same.log_odds(margins[1])
    np.testing.assert_allclose(causes_of_change(groups, log_odds), [[2.0, -0.5, 0.3]], atol=1e-12)


def test_what_the_same_margin_means_otherwise_is_the_level_for_all():
    old, new = BetaCalibrator(1.0, 1.0, 0.0), BetaCalibrator(1.0, 1.0, 0.7)
    groups = np.array([[1.0, 2.0, 0.0]]), np.array([[1.0, 2.5, 0.0]])
    log_odds = old.log_odds(np.array([3.0])), old.log_odds(np.array([3.5])), new.log_odds(np.array([3.5]))
    np.testing.assert_allclose(causes_of_change(groups, log_odds), [[0.0, 0.5, 0.7]], atol=1e-12)


def test_parts_of_a_margin_that_stayed_cancel_and_are_still_told():
    groups = np.array([[1.0, 2.0, 0.0]]), np.array([[2.0, 1.0, 0.0]])
    flat = np.array([3.0])
    np.testing.assert_allclose(causes_of_change(groups, (flat, flat, flat)), [[1.0, -1.0, 0.0]])


def test_certain_probabilities_have_finite_log_odds():
    assert np.isfinite(log_odds_of(np.array([0.0, 1.0]))).all()


def test_other_customers_or_none_are_refused():
    with pytest.raises(DataError, match="4 customers before and 3 after"):
        band_moves(BEFORE, Side("x", np.zeros(3), BEFORE.bands), np.empty((0, 1)), ("a",))
    with pytest.raises(DataError, match="1 customers change band"):
        changes(Side("x", np.array([0.1, 0.4, 0.5, 0.2]), BEFORE.bands), np.zeros((4, 2)))
    nobody = Side("x", np.empty(0), BEFORE.bands)
    with pytest.raises(NotEnoughDataError, match="0 customers"):
        band_moves(nobody, nobody, np.empty((0, 1)), ("a",))
    with pytest.raises(DataError, match="same customers"):
        causes_of_change((np.zeros((2, 3)), np.zeros((3, 3))), (np.zeros(2),) * 3)
