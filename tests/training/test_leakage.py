import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.workspace import Workspace
from tests.churn_worlds import NAMES, known_law, labelled
from training.churn_settings import ChurnSettings
from training.cutoffs import rolling_cutoffs
from training.jobs import read_log
from training.leakage import constant_columns, find_leaks
from training.training_set import build_training_set

SETTINGS = ChurnSettings()
SPOILT = NAMES[8]


@pytest.fixture
def rows():
    """4,000 rows of an ordinary law, 2,000 customers at two cut-offs; recency alone has an AUC of about .8."""
    return known_law(np.random.default_rng(3), 2_000, (0, 90))


def spoil(rows, column):
    rows.values[:, NAMES.index(SPOILT)] = column
    return rows


def alarms(rows, **more):
    return [leak.column for leak in find_leaks(rows, 1, **more)]


def test_ordinary_columns_raise_no_alarm(rows):
    assert alarms(rows) == []


def test_a_copy_of_the_label_is_named(rows):
    (leak,) = find_leaks(spoil(rows, rows.labels), 1)
    assert leak.column == SPOILT
    assert leak.auc == 1.0
    assert f"column {SPOILT} tells who churned nearly perfectly by itself (AUC 1.000)" in leak.sentence()
    assert "churn.trusted_columns" in leak.sentence()


def test_a_noisy_copy_of_the_label_is_named_in_either_direction(rows):
    noise = np.random.default_rng(4).normal(scale=0.2, size=rows.n_rows)
    assert alarms(spoil(rows, rows.labels + noise)) == [SPOILT]
    assert alarms(spoil(rows, noise - rows.labels)) == [SPOILT]


def test_a_leak_that_does_not_rise_with_churn_is_named(rows):
    # churned in the middle, stayed at both ends: no ranking by the value itself finds it
    sides = np.random.default_rng(5).choice([-3.0, 3.0], rows.n_rows)
    assert alarms(spoil(rows, np.where(rows.labels, 0.0, sides))) == [SPOILT]


def test_a_leak_by_what_is_missing_is_named(rows):
    assert alarms(spoil(rows, np.where(rows.labels, 5.0, np.nan))) == [SPOILT]


def test_a_value_known_only_for_some_of_the_churned_is_named_though_most_miss_it(rows):
    told = rows.labels & (np.random.default_rng(6).random(rows.n_rows) < 0.2)
    (leak,) = find_leaks(spoil(rows, np.where(told, 1.0, np.nan)), 1)
    assert (leak.known_for, leak.n_known) == ("churned", told.sum())
    assert leak.auc < 0.7  # too few are told for the column to rank well
    assert f"has a value ({told.sum()} rows) only for customers who churned" in leak.sentence()


def test_a_value_known_only_for_some_who_stayed_is_named(rows):
    told = ~rows.labels & (np.random.default_rng(6).random(rows.n_rows) < 0.2)
    (leak,) = find_leaks(spoil(rows, np.where(told, 1.0, np.nan)), 1)
    assert leak.known_for == "stayed"


def test_a_value_known_for_few_of_both_is_no_leak(rows):
    told = np.random.default_rng(6).random(rows.n_rows) < 0.1
    assert alarms(spoil(rows, np.where(told, 1.0, np.nan))) == []


def test_few_known_values_of_one_outcome_are_chance_where_that_outcome_is_common():
    # 95% churned; of 40 known values 2 should be of the others by chance, so that none is shows nothing
    n = 4_000
    labels = np.arange(n) % 20 > 0
    values = np.random.default_rng(7).normal(size=(n, len(NAMES)))
    values[:, 8] = np.nan
    values[np.flatnonzero(labels)[:40], 8] = 1.0
    assert alarms(labelled(values, labels, np.arange(n), np.zeros(n, np.int64))) == []


def test_a_strong_but_honest_column_raises_no_alarm():
    # log-odds 6 z: an AUC of about .96 by itself, the strongest seen on real data being .93
    rng = np.random.default_rng(8)
    values = rng.normal(size=(20_000, len(NAMES)))
    labels = rng.random(20_000) < 1 / (1 + np.exp(-6 * values[:, 8]))
    assert alarms(labelled(values, labels, np.arange(20_000), np.zeros(20_000, np.int64))) == []


def test_a_name_for_every_customer_is_no_leak_by_being_learnt_by_heart():
    # each customer has a value of their own and the outcome twice; on customers not learnt from it tells nothing
    rng = np.random.default_rng(9)
    values = rng.normal(size=(2_000, len(NAMES)))
    values[:, 8] = np.repeat(rng.permutation(1_000), 2)
    labels = np.repeat(rng.random(1_000) < 0.5, 2)
    assert alarms(labelled(values, labels, np.repeat(np.arange(1_000), 2), np.zeros(2_000, np.int64))) == []


def test_a_trusted_column_raises_no_alarm(rows):
    assert alarms(spoil(rows, rows.labels), trusted=(SPOILT,)) == []


def test_too_few_of_an_outcome_tell_nothing():
    labels = np.arange(100) < 20
    values = np.repeat(labels[:, None].astype(float), len(NAMES), axis=1)
    assert alarms(labelled(values, labels, np.arange(100), np.zeros(100, np.int64))) == []


def test_many_rows_are_drawn_from_and_the_leak_is_found():
    rows = known_law(np.random.default_rng(3), 25_000)
    assert alarms(spoil(rows, rows.labels)) == [SPOILT]


def test_a_constant_column_is_named_and_one_that_varies_late_is_not(rows):
    rows.values[:, 7] = 4.0
    rows.values[:, 8] = np.nan
    rows.values[:, 9] = 1.0
    rows.values[-1, 9] = 2.0
    rows.values[:, 10] = 1.0
    rows.values[5, 10] = np.nan
    assert constant_columns(rows) == (NAMES[7], NAMES[8])


def test_the_simulated_shop_raises_no_alarm(small_shop: Workspace):
    data = read_log(small_shop)
    cutoffs = rolling_cutoffs(data.first_us, data.end_us, SETTINGS)
    rows = build_training_set(data.view, CHURN_FEATURES, cutoffs, SETTINGS, observed_until_us=data.end_us)
    assert rows.n_rows > 1_000
    assert alarms(rows) == []
