import pytest

from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import DAY_US
from tests.churn_worlds import orders
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.cutoffs import observed_span, rolling_cutoffs, split_in_time

MONTH = ChurnProblem(horizons_days=(30,))
SETTINGS = ChurnSettings(problem=MONTH, min_history_days=60, step_days=10, max_train_cutoffs=4)


def in_days(cutoffs):
    return [cutoff / DAY_US for cutoff in cutoffs]


def test_the_latest_label_window_ends_at_the_logs_end():
    assert in_days(rolling_cutoffs(0, 100 * DAY_US, SETTINGS)) == [60, 70]
    assert in_days(rolling_cutoffs(0, 100 * DAY_US - 1, SETTINGS)) == [69]


def test_the_gap_moves_cutoffs_earlier():
    settings = ChurnSettings(problem=ChurnProblem(horizons_days=(30,), gap_days=7), min_history_days=60, step_days=10)
    assert in_days(rolling_cutoffs(0, 100 * DAY_US, settings)) == [63]


def test_a_short_log_is_refused_with_both_numbers():
    with pytest.raises(NotEnoughDataError, match=r"covers 89 days.*needs 90"):
        rolling_cutoffs(0, 89 * DAY_US, SETTINGS)


def test_slices_do_not_reach_into_the_next():
    split = split_in_time(0, 400 * DAY_US, SETTINGS)
    assert split.test == 370 * DAY_US
    assert split.calibration == 340 * DAY_US
    assert in_days(split.train) == [280, 290, 300, 310]
    assert split.calibration_by == "later_slice"
    window = SETTINGS.horizon_us
    assert max(split.train) + window <= split.calibration
    assert split.calibration + window <= split.test


def test_the_embargo_keeps_days_empty_between_slices():
    settings = ChurnSettings(problem=MONTH, min_history_days=60, step_days=10, embargo_days=5)
    split = split_in_time(0, 400 * DAY_US, settings)
    assert split.calibration == 335 * DAY_US
    assert max(split.train) == 300 * DAY_US


def test_a_short_log_calibrates_on_held_out_customers():
    # test 110, calibration 80; a later slice would leave training at 50, before 60 days of history
    split = split_in_time(0, 140 * DAY_US, SETTINGS)
    assert split.calibration_by == "held_out_customers"
    assert in_days(split.train) == [60, 70, 80]
    assert max(split.train) == split.calibration
    assert max(split.train) + SETTINGS.horizon_us <= split.test


def test_too_short_even_for_that_is_refused():
    with pytest.raises(NotEnoughDataError, match="leaves 59 days of history"):
        split_in_time(0, 119 * DAY_US, SETTINGS)


def test_a_split_for_release_calibrates_on_the_latest_labelled_slice():
    split = split_in_time(0, 400 * DAY_US, SETTINGS, judged=False)
    assert split.test is None
    assert split.calibration == 370 * DAY_US
    assert max(split.train) == 340 * DAY_US


def test_a_test_whose_window_is_not_observed_is_refused():
    with pytest.raises(NotEnoughDataError, match="no whole label window"):
        split_in_time(0, 400 * DAY_US, SETTINGS, test_us=371 * DAY_US)


def test_the_observed_span_ends_just_after_the_last_event():
    assert observed_span(orders({"a": [3, 5], "b": [4]})) == (3 * DAY_US, 5 * DAY_US + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_days": 0},
        {"calibration_share": 1.0},
        {"bootstrap_replicates": 0},
        {"min_train_cutoffs": 0},
        {"min_each_outcome": 0},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ChurnSettings(**wrong)
